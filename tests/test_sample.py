"""The sample data: valid by the contract's rules, fixed by its seed, with people who behave like people."""

import json
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts" / "sample"
NOW = "2026-11-21T10:00:00Z"
NOW_MS = 1_795_255_200_000
DAY_MS = 86_400_000
USERS = 450
ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
EVENT_KEYS = {
    "impression": {"position"}, "click": set(), "dwell": {"ms"}, "reaction": {"kind"}, "conversion": set(),
    "hide": set(),
}  # fmt: skip

Record = dict[str, Any]


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Runs one of the sample scripts and returns what it printed."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False)


def load(data: bytes) -> list[Record]:
    return [json.loads(line) for line in data.splitlines()]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass(frozen=True)
class Sample:
    """One generated catalogue, its pictures, and the log of its visitors."""

    folder: Path
    items: dict[str, Record]
    events: list[Record]
    people: list[Record]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    made = run(
        "catalogue.py", "--now", NOW, "--pictures", folder / "pictures", "--out", folder / "items.ndjson"
    )
    assert made.returncode == 0, made.stderr
    made = visit(folder, folder / "events.ndjson", "--people", folder / "people.json")
    assert made.returncode == 0, made.stderr
    items = load((folder / "items.ndjson").read_bytes())
    people = json.loads((folder / "people.json").read_bytes())["people"]
    return Sample(
        folder, {item["id"]: item for item in items}, load((folder / "events.ndjson").read_bytes()), people
    )


def visit(folder: Path, out: object, *more: object) -> subprocess.CompletedProcess[bytes]:
    catalogue = folder / "items.ndjson"
    return run("visitors.py", "--catalogue", catalogue, "--users", USERS, "--now", NOW, "--out", out, *more)


def of(sample: Sample, name: str) -> list[Record]:
    return [event for event in sample.events if event["event"] == name]


def test_the_same_seed_makes_the_same_files_and_another_seed_does_not(sample: Sample, tmp_path: Path) -> None:
    for seed, same in ((7, True), (8, False)):
        out = tmp_path / f"{seed}.ndjson"
        run("catalogue.py", "--now", NOW, "--seed", seed, "--pictures", tmp_path / "pictures", "--out", out)
        assert (out.read_bytes() == (sample.folder / "items.ndjson").read_bytes()) is same
        first, again = (folder / "pictures" / "cooking-001.svg" for folder in (sample.folder, tmp_path))
        assert (first.read_bytes() == again.read_bytes()) is same


def test_the_log_is_fixed_by_its_seed_and_goes_to_standard_output(sample: Sample) -> None:
    assert visit(sample.folder, "-").stdout == (sample.folder / "events.ndjson").read_bytes()
    assert visit(sample.folder, "-", "--seed", 8).stdout != (sample.folder / "events.ndjson").read_bytes()


def test_every_item_is_a_valid_record(sample: Sample) -> None:
    keys = {"id", "category", "kind", "posted_at", "social", "expires_at", "hidden", "data"}
    for item in sample.items.values():
        assert set(item) == keys
        assert ID.fullmatch(item["id"])
        assert item["kind"] in ("timely", "evergreen")
        assert isinstance(item["social"], int)
        assert item["social"] >= 0
        assert isinstance(item["hidden"], bool)
        assert 0 < NOW_MS - ms(item["posted_at"]) <= 90 * DAY_MS + 2000
        assert item["expires_at"] is None or ms(item["expires_at"]) > ms(item["posted_at"])
        assert set(item["data"]) == {"title", "url", "image"}


def test_the_catalogue_has_the_promised_spread(sample: Sample) -> None:
    items = list(sample.items.values())
    sizes = sorted(Counter(item["category"] for item in items).values())
    assert len(items) == 2400
    assert len(sizes) == 14
    assert sizes[-1] > 4 * sizes[0]
    timely = [item for item in items if item["kind"] == "timely"]
    assert 0.4 < len(timely) / len(items) < 0.6
    ages = [(NOW_MS - ms(item["posted_at"])) / DAY_MS for item in items]
    assert 30 <= sum(age < 1 for age in ages) <= 60
    assert 2 <= sum(age < 1 / 24 for age in ages) <= 8
    assert max(ages) > 88
    assert 0.2 < sum(item["expires_at"] is not None for item in timely) / len(timely) < 0.6
    assert 1 <= sum(item["hidden"] for item in items) <= 40


def test_social_counts_are_heavy_tailed(sample: Sample) -> None:
    counts = sorted((item["social"] for item in sample.items.values()), reverse=True)
    assert sum(counts[: len(counts) // 10]) > 0.4 * sum(counts)


def test_titles_do_not_repeat_and_have_no_open_slots(sample: Sample) -> None:
    titles = [item["data"]["title"] for item in sample.items.values()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if "{" in title or len(title) < 12 or title[0].islower()]


def test_every_picture_that_an_item_names_is_a_small_svg(sample: Sample) -> None:
    names = {item["data"]["image"] for item in sample.items.values()}
    assert {name.rsplit("/", 1)[0] for name in names} == {"/demo/pictures"}
    files = {path.name: path for path in (sample.folder / "pictures").iterdir()}
    assert {name.rsplit("/", 1)[1] for name in names} == set(files)
    assert max(path.stat().st_size for path in files.values()) < 3000
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in files.values())
    assert len({path.read_bytes() for path in files.values()}) == len(files)


def test_every_event_is_a_valid_record(sample: Sample) -> None:
    for event in sample.events:
        base = {"user", "event", "ts"}
        assert re.fullmatch(r"reader-\d{4}", event["user"])
        assert NOW_MS - 60 * DAY_MS < event["ts"] < NOW_MS - 60_000
        if event["event"] == "search":
            assert set(event) == base | {"query"}
            assert 0 < len(event["query"]) <= 60
            continue
        assert set(event) == base | {"item"} | EVENT_KEYS[event["event"]]
        assert event.get("position", 1) >= 1
        assert 0 < event.get("ms", 1) <= 1_200_000
        assert event.get("kind", "like") == "like"


def test_events_are_sorted_by_time_and_of_every_kind(sample: Sample) -> None:
    times = [event["ts"] for event in sample.events]
    assert times == sorted(times)
    assert {event["event"] for event in sample.events} == {*EVENT_KEYS, "search"}


def test_nothing_is_shown_before_it_was_posted_after_it_ended_or_hidden(sample: Sample) -> None:
    for event in sample.events:
        if event["event"] != "search":
            item = sample.items[event["item"]]
            assert event["ts"] >= ms(item["posted_at"])
            assert item["expires_at"] is None or event["ts"] < ms(item["expires_at"])
            assert not item["hidden"]


def test_nothing_is_recorded_of_an_item_that_ends_in_the_middle_of_a_visit(tmp_path: Path) -> None:
    """An item ends every six minutes, so that most visits live through such an end."""
    start = datetime.fromisoformat(NOW) - timedelta(days=3)
    ends = {f"a{n}": start + timedelta(minutes=6 * n) for n in range(1, 720)}
    fixed = {"category": "x", "kind": "timely", "posted_at": start.isoformat(), "hidden": False}
    rows = (fixed | {"id": item, "expires_at": end.isoformat()} for item, end in ends.items())
    (tmp_path / "items.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = visit(tmp_path, "-", "--days", 3)
    events = [event for event in load(made.stdout) if event["event"] != "search"]
    assert len(events) > 1000
    assert all(event["ts"] < ends[event["item"]].timestamp() * 1000 for event in events)


def test_nobody_is_shown_an_item_twice(sample: Sample) -> None:
    pairs = [(event["user"], event["item"]) for event in of(sample, "impression")]
    assert len(pairs) == len(set(pairs))


def test_what_a_person_does_follows_the_impression_of_that_item(sample: Sample) -> None:
    state: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in sample.events:
        if event["event"] == "search":
            continue
        before = state[event["user"], event["item"]]
        if event["event"] in ("click", "hide"):
            assert "impression" in before
        if event["event"] in ("dwell", "reaction", "conversion"):
            assert "click" in before
        before.add(event["event"])


def test_tastes_matter(sample: Sample) -> None:
    """The two categories that a person opens most in the first half of their log stay ahead in the second."""
    shown, opened = of(sample, "impression"), {(e["user"], e["item"]) for e in of(sample, "click")}
    by_user: dict[str, list[Record]] = defaultdict(list)
    for event in shown:
        by_user[event["user"]].append(event)
    clicks, impressions = Counter[bool](), Counter[bool]()
    for user, events in by_user.items():
        half = len(events) // 2
        early = Counter(_category(sample, e) for e in events[:half] if (user, e["item"]) in opened)
        favourites = {name for name, _ in early.most_common(2)}
        for event in events[half:]:
            liked = _category(sample, event) in favourites
            impressions[liked] += 1
            clicks[liked] += (user, event["item"]) in opened
    assert clicks[True] / impressions[True] > 1.5 * clicks[False] / impressions[False]


def _category(sample: Sample, event: Record) -> str:
    return str(sample.items[event["item"]]["category"])


def test_clicks_fall_with_position(sample: Sample) -> None:
    place = {(e["user"], e["item"]): e["position"] for e in of(sample, "impression")}
    bands = ((1, 2), (3, 8), (9, 20), (21, 60))
    opened = Counter(place[e["user"], e["item"]] for e in of(sample, "click"))
    shown = Counter(place.values())
    rates = [
        sum(opened[p] for p in range(a, b + 1)) / sum(shown[p] for p in range(a, b + 1)) for a, b in bands
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2 * rates[-1]


def test_dwells_are_log_normal_rather_than_normal(sample: Sample) -> None:
    times = sorted(event["ms"] for event in of(sample, "dwell"))
    median, mean = times[len(times) // 2], sum(times) / len(times)
    assert 1.2 < mean / median < 2.5
    assert abs(sum(math.log(time / median) for time in times) / len(times)) < 0.2


def test_activity_is_heavy_tailed_and_rhythms_differ(sample: Sample) -> None:
    days: dict[str, set[int]] = defaultdict(set)
    for event in of(sample, "impression"):
        days[event["user"]].add(event["ts"] // DAY_MS)
    counts = [len(found) for found in days.values()]
    last = [NOW_MS // DAY_MS - max(found) for found in days.values()]
    assert sum(count == 1 for count in counts) > 0.25 * len(counts)
    assert sum(count >= 35 for count in counts) >= 0.01 * len(counts)
    assert any(count >= 4 and away >= 21 for count, away in zip(counts, last, strict=True))
    regular = [found for found in days.values() if 8 <= len(found) <= 20]
    weekend = [sum((day + 3) % 7 >= 5 for day in found) / len(found) for found in regular]
    assert max(weekend) > 0.85
    assert min(weekend) < 0.2


def test_sample_people_visited_when_their_label_says(sample: Sample) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    for event in of(sample, "impression"):
        seen[event["user"]].append(event["ts"])
    away = {p["label"]: (NOW_MS - max(seen[p["user"]])) / DAY_MS for p in sample.people}
    days = {p["label"]: len({ts // DAY_MS for ts in seen[p["user"]]}) for p in sample.people}
    assert 4 <= len(sample.people) <= 6
    assert away["comes every day"] <= 1.6
    assert days["comes every day"] >= 20
    assert 19 <= away["came back after three weeks"] <= 23.5
    for person in sample.people:
        assert len(seen[person["user"]]) == person["impressions"]
        assert ms(person["last_visit"]) // 1000 == max(seen[person["user"]]) // 1000


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--now", "yesterday"), b"is not a time"),
        (("--now", "2026-11-21T10:00:00"), b"no time zone"),
        (("--users", 0), b"at least 1"),
    ],
)
def test_wrong_arguments_are_named(sample: Sample, arguments: tuple[object, ...], part: bytes) -> None:
    made = run("visitors.py", "--catalogue", sample.folder / "items.ndjson", *arguments)
    assert made.returncode == 2
    assert part in made.stderr


def test_a_broken_catalogue_line_is_named_by_number(tmp_path: Path) -> None:
    broken = tmp_path / "items.ndjson"
    broken.write_bytes(b'{"id":"a1"}\n{oops\n')
    made = run("visitors.py", "--catalogue", broken)
    assert made.returncode == 2
    assert b"line 2: not JSON" in made.stderr
