"""``worker status``: counts, age of the lists, runs, and what it says when something does not answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stack_fixture import REDIS_AWAY, Stack, free_port
from worker.cli.status import lines
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_EVERGREEN, KIND_TIMELY, META
from worker.status import ask_edge, count_items

NOW = 1_763_740_000


def status(stack: Stack) -> dict[str, Any]:
    """What `worker status --json` prints."""
    value: dict[str, Any] = json.loads(stack.worker("status", "--json").stdout)
    return value


def test_each_item_is_counted_in_one_state() -> None:
    """Removed before hidden before expired before live; an item expires in the second it says."""
    rows = [
        (0, 0, KIND_EVERGREEN, 0), (0, NOW + 1, KIND_TIMELY, 0), (0, 0, KIND_TIMELY, 0),  # live
        (0, NOW, KIND_TIMELY, 0), (0, 1, KIND_EVERGREEN, 0),  # expired
        (0, 1, KIND_TIMELY, FLAG_HIDDEN),  # hidden
        (0, 1, KIND_TIMELY, FLAG_REMOVED), (0, 0, KIND_EVERGREEN, FLAG_REMOVED | FLAG_HIDDEN),  # removed
    ]  # fmt: skip
    meta = np.array([(posted, expires, 0, 1, kind, flags) for posted, expires, kind, flags in rows], META)
    assert count_items(meta, NOW) == {
        "live": 3, "expired": 2, "hidden": 1, "removed": 2, "evergreen": 1, "timely": 2}
    assert set(count_items(meta[:0], NOW).values()) == {0}


def test_an_empty_store_is_said_to_be_empty(stack: Stack) -> None:
    """No lists yet is no failure, and says what to do."""
    # An edge that had lists a moment ago hears of the empty store within its next round.
    text = stack.until(lambda: "edge      answers, but is not ready" in (out := stack.worker("status").stdout) and out)
    assert "items     0 live" in text
    assert "lists     none yet: run `worker nightly`" in text
    found = status(stack)
    assert found["lists"] == {"generation": None, "date": None, "made_at": None, "age_seconds": None}
    assert found["runs"] == []
    assert found["edge"]["answers"] is True


def test_items_and_users_are_counted(stack: Stack) -> None:
    """Users of all partitions together."""
    stack.import_items([
        stack.item("a"), stack.item("b", kind="timely"), stack.item("c", hidden=True),
        stack.item("d", expires_at="2000-01-01T00:00:00Z"), stack.item("e"),
    ])
    stack.worker("items", "remove", "e")
    for number in range(5):
        assert stack.beacon(f"u{number}", [{"event": "impression", "item": "a"}]).status_code == 204
    found = status(stack)
    assert found["items"] == {"live": 2, "hidden": 1, "expired": 1, "removed": 1, "evergreen": 1, "timely": 1}
    assert found["users"] == 5
    assert found["redis"]["memory_bytes"] > 0
    assert found["catalogue_version"] == int(stack.redis.get("version:{c}") or 0)


def test_the_last_run_is_told_with_the_age_of_its_lists(stack: Stack) -> None:
    """A real run, and the edge is ready after it."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n}") for n in range(10)])
    assert stack.beacon("u1", [{"event": "impression", "item": "i1"}]).status_code == 204
    report = json.loads(stack.worker("nightly", "--json").stdout.splitlines()[-1])
    stack.until(lambda: stack.http.get("/readyz").status_code == 200)
    found = status(stack)
    assert found["lists"]["generation"] == report["generation"] == found["runs"][0]["generation"]
    assert found["lists"]["date"] == report["date"]
    assert 0 <= found["lists"]["age_seconds"] < 120
    text = stack.worker("status").stdout
    assert f"lists     generation {report['generation']} of {report['date']}, made " in text
    assert "edge      ready" in text
    assert f"run       {report['date']}, generation {report['generation']}, users 1" in text


@pytest.mark.parametrize(("age", "said"), [
    (0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7199, "119 minutes"), (7200, "2 hours"),
    (172_799, "47 hours"), (172_800, "2 days"),
])
def test_the_age_is_told_in_a_unit_that_fits(age: int, said: str) -> None:
    """At least two of the unit, so that nothing is hidden by rounding."""
    items = dict.fromkeys(("live", "hidden", "expired", "removed", "evergreen", "timely"), 0)
    lists = {"generation": 7, "date": "2026-11-20", "made_at": NOW, "age_seconds": age}
    redis = {"version": "7", "memory_bytes": 3 * 2**19, "maxmemory_bytes": 2**20}
    edge = {"answers": True, "ready": True, "detail": ""}
    nights = {"last_good_run": None, "refused_since": None, "unfinished_run": None}
    text = list(lines({"items": items, "users": 0, "lists": lists, "runs": [], "redis": redis, "edge": edge, **nights}))
    assert f"lists     generation 7 of 2026-11-20, made {said} ago" in text
    assert "redis     7, 1.5 MiB of 1.0 MiB" in text


def test_seven_runs_at_most_are_told_newest_first(stack: Stack) -> None:
    """And a run that published nothing says why."""
    for day in range(10, 20):
        stack.redis.hset("runs:{c}", f"2026-11-{day}", json.dumps({"date": f"2026-11-{day}", "generation": day}))
    refused = {"date": "2026-11-19", "refused": ["top content is empty", "b", "c", "d"]}
    stack.redis.hset("runs:{c}", "2026-11-19 refused", json.dumps(refused))
    found = status(stack)["runs"]
    assert [run.get("generation") for run in found] == [None, 19, 18, 17, 16, 15, 14]
    text = stack.worker("status").stdout
    assert "run       2026-11-19, not published: top content is empty; b; c\n" in text
    assert "run       2026-11-18, generation 18\n" in text


def test_without_redis_it_fails_and_says_where_it_looked(stack: Stack) -> None:
    """Exit 1, the socket, and what to do."""
    stack.expect_log(REDIS_AWAY)
    stack.part("redis").stop()
    done = stack.worker("status", check=False)
    assert done.returncode == 1
    assert f"Redis at {stack.run}/sock/redis.sock does not answer: start the stack (make up)" in done.stderr
    assert "Traceback" not in done.stderr
    stack.script("up")


def test_without_the_edge_it_tells_all_else_and_fails(stack: Stack) -> None:
    """The store is fine, the site is not."""
    stack.part("nginx").stop()
    done = stack.worker("status", check=False)
    assert done.returncode == 1
    assert "items     0 live" in done.stdout
    assert "edge      does not answer (" in done.stdout


@pytest.mark.parametrize("content", [None, "{", "{}", '{"listen": "127.0.0.1", "port": PORT}'])
def test_an_edge_that_cannot_be_asked_is_one_that_does_not_answer(tmp_path: Path, content: str | None) -> None:
    """No configuration, a broken one, or nobody who listens: never an exception."""
    if content is not None:
        (tmp_path / "config.json").write_text(content.replace("PORT", str(free_port())))
    answer = ask_edge(tmp_path)
    assert answer["answers"] is answer["ready"] is False
    assert answer["detail"]
