"""Converts the KuaiRand feed log into Nightfeed records: items.ndjson and one events file a UTC day.

    python scripts/kuairand.py --data DIR --out OUTDIR

DIR holds the three files named below, of the log by Gao et al. (KuaiRand, CIKM 2022). Times keep their hour
and move by whole days, so that the log ends yesterday. What becomes what:

* item ``v<video_id>``: category ``tag-<first tag>``; posted at 00:00 UTC of the upload day; social is how
  many users have it in ``like_seq``: likes from before the exposures.
* kind: the log does not say what is news, and all uploads are of three days, so a hash of the id decides: 3
  of 10 are timely, the same in every run and independent of what people did.
* user ``u<user_id>``: an exposure is an impression at ``time_ms``; ``is_click`` a click 1 ms on; ``is_like``
  a reaction; any of like, follow, comment and profile visit a conversion; ``is_hate`` a hide; play time above
  0 a dwell when the play ends. Videos play by themselves, so there are dwells without a click. Positions are
  not known.
"""

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import orjson

from scripts.sample import ndjson
from scripts.sample.clock import parse_now

EXPOSURES = "exposures_0425_0430.parquet"
VIDEOS = "video_features_basic_pure.csv"
SEQUENCES = "user_sequences.parquet"
DAY_MS = 86_400_000
NEEDED = ("user_id", "video_id", "time_ms", "is_click", "is_like", "is_hate", "play_time_ms")
INTEREST = ("is_like", "is_follow", "is_comment", "is_profile_enter")
TIMELY_OF_TEN = 3

Row = dict[str, Any]


def read_parquet(path: Path, columns: list[str] | None = None) -> Row:
    """Columns of a parquet file, name → list of values.

    Raises:
        SystemExit: pyarrow is not installed.
    """
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise SystemExit("pyarrow, which reads the log, is missing: pip install pyarrow") from None
    found: Row = parquet.read_table(path, columns=columns).to_pydict()
    return found


def read_exposures(path: Path) -> list[Row]:
    """The exposures without exact duplicates (all columns equal), by time.

    Raises:
        ValueError: the file has no rows, or lacks a column.
    """
    columns = read_parquet(path)
    if missing := [name for name in NEEDED if not columns.get(name)]:
        raise ValueError(f"{path} has no values in {', '.join(missing)}: is it the exposures file?")
    distinct = dict.fromkeys(zip(*columns.values(), strict=True))
    rows = [dict(zip(columns, values, strict=True)) for values in distinct]
    return sorted(rows, key=lambda row: (row["time_ms"], row["user_id"], row["video_id"]))


def keep_users(rows: list[Row], most: int | None) -> list[Row]:
    """The exposures of at most ``most`` users: those whose ids hash lowest, the same ones every time."""
    if most is None:
        return rows
    users = {row["user_id"] for row in rows}
    kept = set(sorted(users, key=lambda user: (_hash(f"user:{user}"), user))[:most])
    return [row for row in rows if row["user_id"] in kept]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def events_of(row: Row, shift_ms: int) -> Iterator[Row]:
    """The event records of one exposure, in the order of their times; ``shift_ms`` moves them."""
    ts = row["time_ms"] + shift_ms
    played = row["play_time_ms"]

    def event(name: str, at: int, **more: object) -> Row:
        return {"user": f"u{row['user_id']}", "event": name, "item": f"v{row['video_id']}", "ts": at} | more

    yield event("impression", ts)
    if row["is_click"]:
        yield event("click", ts + 1)
    if row["is_like"]:
        yield event("reaction", ts + 2, kind="like")
    if any(row[name] for name in INTEREST):
        yield event("conversion", ts + 3)
    if row["is_hate"]:
        yield event("hide", ts + 4)
    if played > 0:
        yield event("dwell", ts + max(played, 5), ms=played)


def item_record(video: Row, likes: int, shift_days: int) -> Row:
    """The item record of one row of the video table, posted ``shift_days`` later than it was."""
    tags = [tag.strip() for tag in str(video["tag"] or "unknown").split(",")]
    posted = date.fromisoformat(video["upload_dt"]) + timedelta(days=shift_days)
    number = video["video_id"]
    return {
        "id": f"v{number}",
        "category": f"tag-{tags[0]}",
        "kind": "timely" if _hash(f"kind:{number}") % 10 < TIMELY_OF_TEN else "evergreen",
        "posted_at": f"{posted.isoformat()}T00:00:00Z",
        "social": likes,
        "expires_at": None,
        "hidden": False,
        "data": {"title": f"Video {number}", "tags": tags, "author": str(video["author_id"])},
    }


def make_items(folder: Path, rows: list[Row], shift_days: int) -> list[Row]:
    """Every video of the table and every exposed one that the table lacks, by number."""
    with (folder / VIDEOS).open(newline="", encoding="utf-8") as file:
        videos = {int(video["video_id"]): video for video in csv.DictReader(file)}
    for row in rows:
        videos.setdefault(row["video_id"], row)
    sequences = read_parquet(folder / SEQUENCES, ["like_seq"])["like_seq"]
    likes = Counter(video for liked in sequences for video in set(liked or ()))
    return [item_record(videos[number], likes[number], shift_days) for number in sorted(videos)]


def shift_for(rows: list[Row], now: int) -> int:
    """Whole days that bring the last event to the day before ``now`` (Unix seconds)."""
    last: int = max(event["ts"] for row in rows for event in events_of(row, 0))
    return now * 1000 // DAY_MS - 1 - last // DAY_MS


def write_days(rows: list[Row], shift_days: int, folder: Path) -> dict[str, int]:
    """Writes one ``events-<day>.ndjson`` a UTC day, sorted by time, in place of those of an earlier run.

    Returns how many events each day holds.
    """
    for old in folder.glob("events-????-??-??.ndjson"):
        old.unlink()
    days: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        for event in events_of(row, shift_days * DAY_MS):
            days[event["ts"] // DAY_MS].append(event)
    counts = {}
    for number, events in sorted(days.items()):
        name = datetime.fromtimestamp(number * DAY_MS / 1000, UTC).date().isoformat()
        events.sort(key=lambda event: event["ts"])  # stable: a click stays behind its impression
        ndjson.save(folder / f"events-{name}.ndjson", events)
        counts[name] = len(events)
    return counts


def convert(folder: Path, out: Path, now: int, shift_days: int | None = None, most: int | None = None) -> Row:
    """Reads the log in ``folder``, writes the records into ``out`` and returns the summary that is printed.

    Raises:
        ValueError: the log holds no exposures, or lacks a column.
        OSError: a file is missing or cannot be written.
    """
    rows = read_exposures(folder / EXPOSURES)
    shift = shift_for(rows, now) if shift_days is None else shift_days
    rows = keep_users(rows, most)  # only now: the shift is that of the whole log
    items = make_items(folder, rows, shift)
    out.mkdir(parents=True, exist_ok=True)
    ndjson.save(out / "items.ndjson", items)
    counts = write_days(rows, shift, out)
    users = len({row["user_id"] for row in rows})
    repeats = len(rows) - len({(row["user_id"], row["video_id"]) for row in rows})
    sizes = {"items": len(items), "users": users, "exposures": len(rows), "repeats": repeats}
    return sizes | {"shift_days": shift, "events": sum(counts.values()), "days": counts}


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when done, 1 when a time or the log cannot be read, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(description="Convert the KuaiRand feed log into Nightfeed records.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of the log")
    parser.add_argument("--out", type=Path, required=True, metavar="OUTDIR", help="where the NDJSON files go")
    parser.add_argument("--now", help="the log ends the day before, e.g. 2026-11-21T10:00:00Z (default: now)")
    parser.add_argument("--shift-days", type=int, metavar="N", help="move times by exactly N days instead")
    parser.add_argument("--max-users", type=int, metavar="N", help="keep only N users, always the same")
    options = parser.parse_args(arguments)
    if options.max_users is not None and options.max_users < 1:
        parser.error("--max-users: at least 1")
    try:
        now = parse_now(options.now)
        summary = convert(options.data, options.out, now, options.shift_days, options.max_users)
    except (OSError, ValueError) as error:
        print(f"kuairand: {error}", file=sys.stderr)
        return 1
    print(orjson.dumps(summary).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
