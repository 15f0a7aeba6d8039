"""The KuaiRand converter, on a small log of the same shape made here."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "kuairand.py"
NOW = "2026-11-21T10:00:00Z"
MIDNIGHT = 1_650_844_800_000  # 2022-04-25T00:00:00Z
DAY_MS = 86_400_000
SHIFT = 1_670  # days from 2022-04-25 to 2026-11-20
ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}")

Record = dict[str, Any]
Convert = Callable[..., subprocess.CompletedProcess[str]]


def exposure(user: int, video: int, ts: int, **more: object) -> Record:
    """One row of the exposures file; nothing was done unless ``more`` says so."""
    zero = ("click", "like", "follow", "comment", "forward", "hate", "profile_enter")
    row = {"user_id": user, "video_id": video, "time_ms": ts, **{f"is_{name}": 0 for name in zero}}
    rest = {
        "play_time_ms": 0,
        "duration_ms": 9000,
        "tab": 1,
        "author_id": 5,
        "tag": "39,68",
        "upload_dt": "2022-04-10",
    }
    return row | rest | more


ROWS = [
    exposure(1, 10, MIDNIGHT + 100, is_click=1, play_time_ms=2500, is_like=1),
    exposure(1, 10, MIDNIGHT + 100, is_click=1, play_time_ms=2500, is_like=1),  # an exact duplicate
    exposure(2, 11, MIDNIGHT - 1, play_time_ms=10),  # the dwell falls on the next day
    exposure(2, 12, MIDNIGHT + 50, is_hate=1),
    exposure(3, 99, MIDNIGHT + 70, is_click=1, is_profile_enter=1),  # a video the table lacks
]
VIDEOS = [
    {"video_id": number, "author_id": 7, "upload_dt": "2022-04-11", "tag": tag}
    for number, tag in ((10, "39,68"), (11, "6"), (12, ""))
]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Writes the log and returns the command that converts it into ``tmp_path/out``."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    data = tmp_path / "data"
    data.mkdir()
    parquet.write_table(arrow.Table.from_pylist(ROWS), data / "exposures_0425_0430.parquet")
    likes = arrow.table({"user_id": [1, 2, 3], "like_seq": [[10, 10, 11], [10], []]})
    parquet.write_table(likes, data / "user_sequences.parquet")
    with (data / "video_features_basic_pure.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, VIDEOS[0])
        table.writeheader()
        table.writerows(VIDEOS)

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--data", str(data), "--out", str(tmp_path / "out")]
        command += ["--now", NOW, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)

    return run


def records(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_summary_counts_what_was_written(convert: Convert, tmp_path: Path) -> None:
    done = convert()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "items": 4, "users": 3, "exposures": 4, "repeats": 0, "shift_days": SHIFT, "events": 12,
        "days": {"2026-11-19": 1, "2026-11-20": 11},
    }  # fmt: skip
    files = {path.name: len(records(path)) for path in (tmp_path / "out").iterdir()}
    assert files == {"items.ndjson": 4, "events-2026-11-19.ndjson": 1, "events-2026-11-20.ndjson": 11}


def test_an_exposure_becomes_its_events_with_shifted_times(convert: Convert, tmp_path: Path) -> None:
    convert()
    moved = MIDNIGHT + SHIFT * DAY_MS
    day = records(tmp_path / "out" / "events-2026-11-20.ndjson")
    who = {"user": "u1", "item": "v10"}
    assert [event for event in day if event["user"] == "u1"] == [
        who | {"event": "impression", "ts": moved + 100},
        who | {"event": "click", "ts": moved + 101},
        who | {"event": "reaction", "ts": moved + 102, "kind": "like"},
        who | {"event": "conversion", "ts": moved + 103},
        who | {"event": "dwell", "ts": moved + 2600, "ms": 2500},
    ]
    assert [event["event"] for event in day if event["user"] == "u2"] == ["dwell", "impression", "hide"]
    assert [event["event"] for event in day if event["user"] == "u3"] == ["impression", "click", "conversion"]
    assert [event["ts"] for event in day] == sorted(event["ts"] for event in day)


def test_each_file_holds_the_events_of_its_utc_day(convert: Convert, tmp_path: Path) -> None:
    convert()
    for number, day in enumerate(("2026-11-19", "2026-11-20"), MIDNIGHT // DAY_MS + SHIFT - 1):
        assert {e["ts"] // DAY_MS for e in records(tmp_path / "out" / f"events-{day}.ndjson")} == {number}


def test_items_carry_first_tag_shifted_upload_day_and_likes(convert: Convert, tmp_path: Path) -> None:
    convert()
    items = {item["id"]: item for item in records(tmp_path / "out" / "items.ndjson")}
    found = {number: (item["category"], item["posted_at"], item["social"]) for number, item in items.items()}
    assert found == {
        "v10": ("tag-39", "2026-11-06T00:00:00Z", 2),
        "v11": ("tag-6", "2026-11-06T00:00:00Z", 1),
        "v12": ("tag-unknown", "2026-11-06T00:00:00Z", 0),
        "v99": ("tag-39", "2026-11-05T00:00:00Z", 0),
    }
    for item in items.values():
        assert ID.fullmatch(item["id"])
        assert item["kind"] in ("timely", "evergreen")
        assert item["expires_at"] is None
        assert item["hidden"] is False
        assert isinstance(item["data"], dict)


def test_a_given_shift_replaces_the_computed_one_and_old_days_go(convert: Convert, tmp_path: Path) -> None:
    convert()
    convert("--shift-days", 0)
    files = sorted(path.name for path in (tmp_path / "out").glob("events-*"))
    assert files == ["events-2022-04-24.ndjson", "events-2022-04-25.ndjson"]


def test_fewer_users_are_always_the_same_ones(convert: Convert, tmp_path: Path) -> None:
    kept = []
    for most in (1, 1, 2):
        convert("--max-users", most)
        events = [e for path in (tmp_path / "out").glob("events-*") for e in records(path)]
        kept.append({event["user"] for event in events})
    assert [len(users) for users in kept] == [1, 1, 2]
    assert kept[0] == kept[1]
    assert kept[0] < kept[2]


def test_a_missing_log_and_a_wrong_time_are_said(convert: Convert, tmp_path: Path) -> None:
    assert "is not a time" in convert("--now", "noon").stderr
    (tmp_path / "data" / "exposures_0425_0430.parquet").unlink()
    done = convert()
    assert done.returncode == 1
    assert "exposures_0425_0430.parquet" in done.stderr


def test_a_missing_pyarrow_is_named_with_its_remedy(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    done = convert(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "pip install pyarrow" in done.stderr
