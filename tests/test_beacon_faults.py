"""POST /beacon when Redis is stopped, gone or full, and when there are too many requests."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.edge_state import counts, now_ms, written
from tests.stack_fixture import REDIS_AWAY, Stack


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the items a1 to a9."""
    stack.import_items(stack.item(f"a{i}") for i in range(1, 10))
    return stack


def event(name: str, item: str = "a1", **fields: Any) -> dict[str, Any]:
    return {"event": name, "item": item, **fields}


def test_a_stopped_redis_means_503_and_the_same_beacon_again_counts_once(items: Stack) -> None:
    """Nothing is acknowledged; what may have arrived nevertheless is not counted twice."""
    items.expect_log(REDIS_AWAY)
    batch = [event("impression", ts=now_ms()), event("dwell", ms=100, ts=now_ms())]
    items.signal("redis", signal.SIGSTOP)
    answer = items.beacon("u1", batch)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "nothing was stored" in answer.json()["error"]
    items.signal("redis", signal.SIGCONT)
    items.until(lambda: items.beacon("u1", batch).status_code == 204)
    assert counts(items, "a1") == {"i": 1, "d": 100}


def test_a_killed_redis_means_503_until_it_is_back(items: Stack) -> None:
    """No connection of before is used again, and no process needs a restart."""
    items.expect_log(REDIS_AWAY)
    items.signal("redis", signal.SIGKILL)
    items.until(lambda: items.part("redis").pid() is None)
    assert items.beacon("u1", [event("impression")]).status_code == 503
    assert items.http.get("/pixel.gif?item=a1").status_code == 503
    items.script("up")
    items.until(lambda: items.beacon("u1", [event("impression", "a2")]).status_code == 204)
    assert counts(items, "a2") == {"i": 1}


def test_memory_that_is_out_means_503_and_nothing_half_stored(fresh_stack: Callable[..., Stack]) -> None:
    """All or nothing: Redis refuses the whole call, and /readyz says so."""
    stack = fresh_stack(redis_maxmemory="4mb")
    fill_memory(stack)
    before = written(stack)
    stack.expect_log("OOM|maxmemory")
    answer = stack.beacon("u1", [{"event": "search", "query": "x"}])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert written(stack) == before
    reasons = stack.http.get("/readyz").json()["reasons"]
    assert any(reason.startswith("Redis does not take writes: ") and "maxmemory" in reason for reason in reasons)


def fill_memory(stack: Stack) -> None:
    """Write until Redis takes no more, and goes on to take nothing once its clients' buffers have shrunk."""
    refused = 0
    for i in range(10_000):
        try:
            stack.redis.set(f"filler:{i}", b"x" * (10_000 if refused == 0 else 100))
        except redis.exceptions.OutOfMemoryError:
            refused += 1
            if refused == 20:
                return
            time.sleep(0.1)
    pytest.fail("100 MB fit into Redis")


def test_more_requests_than_the_limit_are_told_to_wait(fresh_stack: Callable[..., Stack]) -> None:
    """429 as JSON with Retry-After; a forged X-Forwarded-For changes nothing."""
    stack = fresh_stack(rate_limit="1", nginx_workers=1)
    answers = [stack.http.get("/pixel.gif", headers={"X-Forwarded-For": f"10.0.{i % 256}.1"}) for i in range(1100)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 50 <= len(refused) <= 100
    assert refused[0].headers["retry-after"] == "1"
    assert "too many requests" in refused[0].json()["error"]
