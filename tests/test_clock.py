"""The run and the clock: days are UTC days in every time zone, and a run that was missed for three days makes up."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack_fixture import Stack
from worker import keyspace
from worker.nightly.plan import moment_of
from worker.packing import unpack_list, unpack_pool, unpack_stats

DAY = 86_400

# Half a day on each side of UTC (one of them has another date at any moment), in the form that needs no zone files;
# then zones whose clocks skip or repeat midnight, and one that once skipped a whole day.
FAR = ("<+14>-14", "<-12>12")
ODD_ZONES = ("America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut", "Asia/Kathmandu")
# Days around: no midnight and two in Sao Paulo, the day that Apia never had, no midnight and two in Beirut, Havana.
ODD_DAYS = ("2018-11-04", "2018-02-18", "2011-12-30", "2022-03-27", "2022-10-30", "2026-03-08", "2026-11-01")


@pytest.fixture(params=[*FAR, *ODD_ZONES, "America/Havana"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process lives in that zone for the length of a test."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


# --- a date's moment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ODD_DAYS)
def test_a_date_has_one_moment_in_every_zone(zone: str, day: str) -> None:
    """00:00 UTC, and a day is 86,400 seconds, on days whose local midnight is missing or doubled."""
    date = dt.date.fromisoformat(day)
    expected = int(dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp())
    assert moment_of(date) == expected
    assert moment_of(date + dt.timedelta(1)) - moment_of(date) == moment_of(date) - moment_of(
        date - dt.timedelta(1)) == DAY


def test_known_moments() -> None:
    """By `date -u -d DAY +%s`."""
    assert moment_of(dt.date(1970, 1, 1)) == 0
    assert moment_of(dt.date(2018, 11, 4)) == 1_541_289_600
    assert moment_of(dt.date(2026, 11, 21)) == 1_795_219_200


@given(st.dates(dt.date(1970, 1, 1), dt.date(2106, 2, 6)))
def test_every_moment_is_in_its_own_day(date: dt.date) -> None:
    """There and back."""
    assert dt.datetime.fromtimestamp(moment_of(date), dt.UTC) == dt.datetime.combine(date, dt.time(), dt.UTC)


# --- runs in other time zones ------------------------------------------------------------------------------------


def today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def stamp(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def items(stack: Stack, prefix: str, count: int, moment: int, **changes: Any) -> list[dict[str, Any]]:
    """``count`` items of several categories, posted a minute apart, the first at ``moment``."""
    return [stack.item(f"{prefix}{n}", category=f"c{n % 7}", posted_at=stamp(moment + 60 * n), **changes)
            for n in range(count)]


def events(stack: Stack, lines: list[tuple[str, str, str, int]]) -> None:
    """Import (user, event, item, Unix s) through the edge's rules."""
    rows = [{"user": user, "event": event, "item": item, "ts": ts * 1000} for user, event, item, ts in lines]
    done = stack.worker("events", "import", "-", input="".join(json.dumps(row) + "\n" for row in rows))
    assert "refused 0" in done.stdout + done.stderr


def run(stack: Stack, *args: str, tz: str = "UTC") -> dict[str, Any]:
    """The report of `worker nightly --json` in a time zone."""
    done = stack.worker("nightly", "--json", *args, env={"TZ": tz})
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


MEASURED = {"seconds", "users_per_second", "stages", "finished_at"}


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what depends on how fast the machine was."""
    return {name: value for name, value in report.items() if name not in MEASURED}


@pytest.fixture
def read(stack: Stack) -> Stack:
    """A stack with 60 items of old and 9 from both sides of the last midnight, and 20 people of the last 20 days."""
    midnight = moment_of(today())
    stack.import_items([*items(stack, "old", 60, midnight - 5 * DAY), *items(stack, "new", 9, midnight - 240)])
    events(stack, [(f"u{user}", event, f"old{(user * 7 + n) % 60}", midnight - user * DAY - 500 + n)
                   for user in range(20) for n in range(6) for event in ("impression", "click")[: 1 + n % 2]])
    return stack


def test_the_local_dates_of_the_zones_differ_now() -> None:
    """Else the next test would show nothing: one of the two far zones has another date than UTC at any moment."""
    command = [sys.executable, "-c", "import datetime; print(datetime.date.today())"]
    local = {subprocess.run(command, env={"TZ": tz}, capture_output=True, text=True).stdout for tz in (*FAR, "UTC")}
    assert len(local) > 1


def test_a_run_belongs_to_the_utc_date_whatever_the_zone(read: Stack) -> None:
    """Same date, same items, same lists; new are the four posted before midnight UTC, not those after it."""
    date = today()
    reports = {tz: numbers(run(read, "--dry-run", tz=tz)) for tz in ("UTC", *FAR, *ODD_ZONES)}
    if today() != date:  # midnight came in between
        reports = {tz: numbers(run(read, "--dry-run", tz=tz)) for tz in ("UTC", *FAR, *ODD_ZONES)}
    expected = reports["UTC"]
    assert expected["date"] == today().isoformat()
    assert (expected["lists"], expected["top"], expected["repeats"]) == (20, 60, 0)
    if today() == date:
        assert expected["new"] == 4
    assert {tz: report for tz, report in reports.items() if report != expected} == {}


def lists(stack: Stack) -> dict[str, list[int]]:
    """Every published list as item numbers."""
    found = {}
    for key in stack.redis.scan_iter(match="list:*", count=1000):
        for user, raw in stack.redis.hgetall(key).items():
            published = unpack_list(raw)
            pool = unpack_pool(stack.redis.get(keyspace.key("pool", published.generation)) or b"")
            found[user.decode()] = pool.items[published.positions].tolist()
    return found


def test_a_run_published_in_one_zone_is_the_same_night_in_another(read: Stack) -> None:
    """The second run of the date gives the same lists; it is neither refused as older nor as not begun."""
    first = run(read, tz="<-12>12")
    before = lists(read)
    second = run(read, tz="<+14>-14")
    if first["date"] == second["date"]:
        assert lists(read) == before
    assert len(before) == 20


@pytest.mark.parametrize("day", ["2018-11-04", "2011-12-30", "2022-10-30"])
def test_a_run_of_a_day_with_no_local_midnight_or_two(stack: Stack, day: str) -> None:
    """`--date` is a UTC date, also where the local calendar does not have it."""
    moment = moment_of(dt.date.fromisoformat(day))
    stack.import_items([*items(stack, "old", 12, moment - 3 * DAY), *items(stack, "late", 9, moment - 240)])
    reports = [numbers(run(stack, "--dry-run", "--date", day, tz=tz)) for tz in ("UTC", *ODD_ZONES)]
    assert (reports[0]["date"], reports[0]["top"], reports[0]["new"]) == (day, 12, 4)
    assert all(report == reports[0] for report in reports)


# --- three missed nights -----------------------------------------------------------------------------------------


def names_of(stack: Stack) -> dict[int, str]:
    return {int(number): id.decode() for id, number in stack.redis.hgetall(keyspace.key("ids")).items()}


@pytest.fixture
def gap(stack: Stack) -> Stack:
    """The last night that ran was four days ago; since then items were posted and read on every day."""
    midnight = moment_of(today())
    last = midnight - 4 * DAY
    stack.import_items(items(stack, "old", 60, last - 5 * DAY))
    events(stack, [(f"u{user}", "impression", f"old{user * 5 % 60}", last - 7200 + user) for user in range(12)])
    run(stack, "--date", (today() - dt.timedelta(4)).isoformat())
    stack.redis.hset(keyspace.key("generation"), "made_at", last + 60)
    for day in range(4):
        start = last + day * DAY
        stack.import_items(items(stack, f"day{day}-", 8, start + 36_000))
        events(stack, [(f"u{user}", event, f"day{day}-{user % 4}", start + 72_000 + user)
                       for user in range(12) for event in ("impression", "click")[: 1 + user % 2]])
    return stack


def test_during_the_gap_the_edge_shows_what_was_posted_and_says_that_lists_are_old(gap: Stack) -> None:
    """Positions that are kept for fresh items have them; nothing that was seen comes back."""
    gap.until(lambda: "hours old" in gap.http.get("/readyz").text)
    page = gap.feed("u0", n=100)
    fresh = {item["id"] for item in page["items"] if item["reason"] == "fresh"}
    assert {id.split("-")[0] for id in fresh} == {"day0", "day1", "day2", "day3"}
    assert not fresh & {f"day{day}-0" for day in range(4)}


def test_the_fourth_night_adds_up_the_statistics_of_all_missed_days(gap: Stack) -> None:
    """One row a day with every impression and click; no live counter is left behind."""
    run(gap)
    first = moment_of(today()) // DAY - 4
    names = names_of(gap)
    for day in range(4):
        _, rows = unpack_stats(gap.redis.get(keyspace.key("stats", first + day)))
        found = {names[int(row["item"])]: (int(row["impressions"]), int(row["clicks"])) for row in rows}
        # Twelve people over four items: three saw each; the odd ones clicked, and they fall on the odd items.
        assert found == {f"day{day}-{n}": (3, 3 * (n % 2)) for n in range(4)}
    assert not list(gap.redis.scan_iter(match="count:*", count=1000))
    assert not list(gap.redis.scan_iter(match="taken:*", count=1000))


def test_the_fourth_night_loses_nothing_that_was_posted_in_the_gap(gap: Stack) -> None:
    """Items of the last day are new; those of the days before are scored, by their prior where few saw them."""
    report = run(gap)
    assert report["date"] == today().isoformat()
    assert (report["users"], report["lists"], report["repeats"], report["missed_evergreen"]) == (12, 12, 0, 0)
    assert (report["top"], report["new"]) == (60 + 3 * 8, 8)
    names = names_of(gap)
    published = {user: [names[number] for number in numbers] for user, numbers in lists(gap).items()}
    for user in range(12):
        posted = {f"day{day}-{n}" for day in range(4) for n in range(8)}
        seen = {f"day{day}-{user % 4}" for day in range(4)} | {f"old{user * 5 % 60}"}
        assert posted - seen <= set(published[f"u{user}"])
        assert not seen & set(published[f"u{user}"])


def test_the_fourth_night_heals_what_is_said_of_the_stack(gap: Stack) -> None:
    """Ready again, with a last good run of today."""
    run(gap)
    gap.until(lambda: gap.http.get("/readyz").status_code == 200)
    status = json.loads(gap.worker("status", "--json").stdout)
    assert status["last_good_run"]["date"] == status["lists"]["date"] == today().isoformat()
    assert status["last_good_run"]["age_seconds"] < 600
