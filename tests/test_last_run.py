"""When the last good run ended: in `worker status`, in its JSON and in /metrics; and what it says about bad nights."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.stack_fixture import Stack
from worker.keyspace import PARTITIONS, partition_key
from worker.status import last_good_run, refused_since

NOW = 1_763_740_000


def good(generation: int, finished_at: int, date: str = "2026-11-20") -> dict[str, Any]:
    return {"date": date, "generation": generation, "finished_at": finished_at, "lists": 5, "forced": False}


def refused(finished_at: int, date: str = "2026-11-20") -> dict[str, Any]:
    return {"date": date, "refused": ["top content is empty"], "finished_at": finished_at}


def state(generation: int, made_at: int, date: str = "2026-11-20") -> dict[str, str]:
    return {"generation": str(generation), "made_at": str(made_at), "date": date}


# --- which run is the last good one ------------------------------------------------------------------------------


def test_the_last_good_run_is_the_newest_that_published() -> None:
    """By when it ended, not by its date: --force may have gone back to an earlier one. Refused ones don't count."""
    runs = [refused(NOW - 5, "2026-11-22"), good(7, NOW - 90, "2026-11-21"), good(8, NOW - 60, "2026-11-19")]
    assert last_good_run(runs, state(8, NOW - 60, "2026-11-19"), NOW) == {
        "date": "2026-11-19", "generation": 8, "finished_at": NOW - 60, "age_seconds": 60}
    found = last_good_run(runs, {}, NOW)
    assert found is not None
    assert found["generation"] == 8
    assert last_good_run(runs[:1], {}, NOW) is None
    assert last_good_run([{**refused(NOW), "generation": 9}], {}, NOW) is None
    assert last_good_run([], {}, NOW) is None


def test_a_run_killed_before_its_report_counts_when_its_lists_are_published() -> None:
    """The generation hash is newer than every report."""
    found = last_good_run([good(7, NOW - 86_400)], state(8, NOW - 10, "2026-11-21"), NOW)
    assert found == {"date": "2026-11-21", "generation": 8, "finished_at": NOW - 10, "age_seconds": 10}


def test_reports_of_other_versions_and_clocks_that_went_back_do_no_harm() -> None:
    """A report without a time is passed over; an age is never negative."""
    assert last_good_run([{"date": "2026-11-20", "generation": 7}], {}, NOW) is None
    found = last_good_run([good(7, NOW + 3600)], state(7, NOW + 3600), NOW)
    assert found is not None
    assert found["age_seconds"] == 0


def test_a_refusal_is_told_until_a_run_succeeds() -> None:
    """The newest of several; of the same second, too, since silence would be worse than a word too many."""
    runs = [refused(NOW - 50), refused(NOW - 20, "2026-11-21"), good(7, NOW - 40)]
    assert refused_since(runs, state(7, NOW - 40)) == refused(NOW - 20, "2026-11-21")
    assert refused_since([*runs, good(8, NOW - 10)], state(8, NOW - 10)) is None
    assert refused_since([refused(NOW - 10), good(8, NOW - 10)], state(8, NOW - 10)) == refused(NOW - 10)
    assert refused_since([refused(NOW)], {}) == refused(NOW)
    assert refused_since([refused(NOW - 20)], state(8, NOW - 10)) is None, "published, and killed before its report"


# --- the command, on real runs -----------------------------------------------------------------------------------


def status(stack: Stack) -> tuple[dict[str, Any], str]:
    """What `worker status` prints: JSON, and text."""
    return json.loads(stack.worker("status", "--json").stdout), stack.worker("status").stdout


@pytest.fixture
def ran(stack: Stack) -> tuple[Stack, dict[str, Any]]:
    """A stack after a good run, and its report."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n}") for n in range(10)])
    for number in range(5):
        assert stack.beacon(f"u{number}", [{"event": "impression", "item": "i1"}]).status_code == 204
    report: dict[str, Any] = json.loads(stack.worker("nightly", "--json").stdout.splitlines()[-1])
    return stack, report


def test_status_says_when_the_last_good_run_ended(ran: tuple[Stack, dict[str, Any]]) -> None:
    """With its date and generation, in UTC and as an age, and without a warning."""
    stack, report = ran
    found, text = status(stack)
    last = found["last_good_run"]
    assert {name: last[name] for name in ("date", "generation", "finished_at")} == {
        name: report[name] for name in ("date", "generation", "finished_at")}
    assert 0 <= last["age_seconds"] < 120
    ended = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(report["finished_at"]))
    assert f"last run  generation {report['generation']} of {report['date']} ended well {ended} UTC, " in text
    assert "warning" not in text
    assert "begun" not in text
    assert (found["refused_since"], found["unfinished_run"]) == (None, None)


def test_before_the_first_run_there_is_none(stack: Stack) -> None:
    """Null in JSON; the text says how to make one already."""
    found, text = status(stack)
    assert (found["last_good_run"], found["refused_since"], found["unfinished_run"]) == (None, None, None)
    assert "last run" not in text
    assert "warning" not in text


def test_a_dry_run_is_no_run(ran: tuple[Stack, dict[str, Any]]) -> None:
    """It changes nothing of what is said."""
    stack, report = ran
    stack.worker("nightly", "--dry-run")
    assert status(stack)[0]["last_good_run"]["generation"] == report["generation"]


def age(stack: Stack, report: dict[str, Any], seconds: int) -> None:
    """Make the last run this old."""
    moment = int(time.time()) - seconds
    stack.redis.hset("runs:{c}", report["date"], json.dumps({**report, "finished_at": moment}))
    stack.redis.hset("generation:{c}", "made_at", moment)


def test_status_warns_of_an_old_run(ran: tuple[Stack, dict[str, Any]]) -> None:
    """From the setting on, 36 hours, and not before."""
    stack, report = ran
    age(stack, report, 36 * 3600 - 100)
    assert "warning" not in status(stack)[1]
    age(stack, report, 50 * 3600)
    found, text = status(stack)
    assert found["last_good_run"]["age_seconds"] >= 50 * 3600 > 3600 * found["stale_hours"]
    assert "warning   no good run for 2 days, more than 36 hours: is there a timer (`worker install-timer`)?" in text


def test_status_warns_of_a_refused_run_with_its_reason_until_one_succeeds(ran: tuple[Stack, dict[str, Any]]) -> None:
    """The last good one is still told."""
    stack, report = ran
    ids = [f"i{n}" for n in range(10)]
    stack.worker("items", "hide", *ids)
    assert stack.worker("nightly", check=False).returncode == 1
    found, text = status(stack)
    assert found["last_good_run"]["generation"] == report["generation"]
    assert "top content is empty" in found["refused_since"]["refused"][0]
    assert re.search(r"^warning   the newest run was refused: .*not published: top content is empty", text, re.M)
    stack.worker("items", "unhide", *ids)
    time.sleep(1)  # ends are known to the second
    stack.worker("nightly")
    found, text = status(stack)
    assert found["refused_since"] is None
    assert "warning" not in text


def test_status_tells_how_far_an_unfinished_run_is(ran: tuple[Stack, dict[str, Any]]) -> None:
    """Partitions of an earlier generation are not done."""
    stack, report = ran
    begun = report["generation"] + 1
    stack.redis.hset("generation:{c}", mapping={"begun": begun, "begun_date": report["date"]})
    for partition in range(7):
        stack.redis.hset(partition_key("fence", partition), mapping={"done": begun, "report": "{}"})
    found, text = status(stack)
    assert found["unfinished_run"] == {
        "date": report["date"], "generation": begun, "partitions_done": 7, "partitions": PARTITIONS}
    assert f"begun     generation {begun} of {report['date']}, 7 of 64 partitions done" in text
    assert found["last_good_run"]["generation"] == report["generation"]


def test_the_api_tells_the_same(ran: tuple[Stack, dict[str, Any]]) -> None:
    """`/api/status`, for the site's own monitoring."""
    stack, report = ran
    token = stack.worker("token", "--api", "admin").stdout.strip()
    answer = stack.http.get("/api/status", headers={"Authorization": f"Bearer {token}"}).json()
    assert answer["last_good_run"]["generation"] == report["generation"]
    assert answer["stale_hours"] == 36


# --- metrics -----------------------------------------------------------------------------------------------------


def samples(stack: Stack) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(
        r"^(nightfeed_(?:generation|list_age_seconds|last_good_run_timestamp_seconds)) (\d+)$",
        stack.http.get("/metrics").text, re.MULTILINE)}


def test_metrics_export_when_the_last_good_run_ended(ran: tuple[Stack, dict[str, Any]]) -> None:
    """As Unix time: an alert subtracts it from its own clock."""
    stack, report = ran
    found = stack.until(lambda: (s := samples(stack)).get("nightfeed_generation") == report["generation"] and s)
    made_at = int(stack.redis.hget("generation:{c}", "made_at") or 0)
    assert found["nightfeed_last_good_run_timestamp_seconds"] == made_at
    assert abs(made_at - report["finished_at"]) <= 5
    age(stack, report, 40 * 3600)
    moved = stack.until(lambda: (s := samples(stack)).get("nightfeed_list_age_seconds", 0) >= 40 * 3600 and s)
    assert time.time() - moved["nightfeed_last_good_run_timestamp_seconds"] >= 40 * 3600


def test_metrics_of_a_stack_without_lists_have_no_sample_of_them(stack: Stack) -> None:
    """Rather than a zero, which would read as 1970; the name is described nevertheless."""
    stack.until(lambda: samples(stack) == {})
    assert "# TYPE nightfeed_last_good_run_timestamp_seconds gauge" in stack.http.get("/metrics").text
