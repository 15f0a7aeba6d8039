"""What operators and other systems ask of the edge: /healthz, /readyz, and the API behind it."""

from __future__ import annotations

import signal
import time

from tests.edge_state import now_ms
from tests.stack_fixture import REDIS_AWAY, Stack

# --- healthz, readyz ---------------------------------------------------------------------------------------------


def test_healthz_answers_whatever_redis_does(stack: Stack) -> None:
    """The process answers: nginx alone."""
    stack.expect_log(REDIS_AWAY)
    stack.signal("redis", signal.SIGSTOP)
    answer = stack.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert stack.http.head("/healthz").status_code == 200


def test_readyz_names_what_is_missing_until_there_are_lists(stack: Stack) -> None:
    """No run yet: not ready, with what to do; after a run: ready."""
    stack.until(lambda: "no lists yet" in stack.http.get("/readyz").text)
    answer = stack.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["there are no lists yet: run worker nightly"]}
    stack.import_items(stack.item(f"a{i}", category=f"c{i}") for i in range(9))
    stack.worker("nightly")
    answer = stack.until(lambda: (a := stack.http.get("/readyz")).status_code == 200 and a)
    assert answer.json() == {"ready": True}


def test_readyz_says_that_lists_are_too_old(stack: Stack) -> None:
    """36 hours by default."""
    stack.import_items([stack.item("a1")])
    stack.worker("nightly")
    stack.redis.hset("generation:{c}", "made_at", int(time.time()) - 40 * 3600)
    answer = stack.until(lambda: "hours old" in (a := stack.http.get("/readyz")).text and a)
    assert answer.status_code == 503
    assert answer.json()["reasons"] == [
        "the lists are 40.0 hours old, more than 36: see worker status, run worker nightly"]


def test_readyz_says_that_redis_does_not_answer(stack: Stack) -> None:
    """Within the timeout, although Redis hangs."""
    stack.expect_log(REDIS_AWAY)
    stack.signal("redis", signal.SIGSTOP)
    reasons = stack.http.get("/readyz").json()["reasons"]
    assert any(reason.startswith("Redis does not take writes: failed to ask Redis") for reason in reasons)


def test_readyz_writes_nothing(stack: Stack) -> None:
    """It asks whether a write would be taken, and leaves no trace of asking."""
    before = stack.redis.info("persistence")["rdb_changes_since_last_save"]
    for _ in range(5):
        assert "Redis" not in stack.http.get("/readyz").text
    assert stack.redis.info("persistence")["rdb_changes_since_last_save"] == before
    assert stack.redis.dbsize() == 0


# --- the API behind the edge -------------------------------------------------------------------------------------


def test_the_api_answers_through_the_edge_with_its_own_errors(stack: Stack) -> None:
    """Its problem documents are not replaced."""
    answer = stack.http.get("/api/status")
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_only_imports_may_be_large(stack: Stack) -> None:
    """/api/items passes 2 MiB on to the API, which asks for a token; other requests end at 1 MiB."""
    stack.expect_log("client intended to send too large body|buffered to a temporary file")
    body = b" " * (2 << 20)
    assert stack.http.post("/api/items", content=body).status_code == 401
    answer = stack.http.put("/api/items/a1", content=body)
    assert answer.status_code == 413
    assert "1 MiB" in answer.json()["error"]


def test_an_api_that_is_down_is_503_and_the_edge_goes_on(stack: Stack) -> None:
    """JSON with Retry-After; visitors notice nothing."""
    stack.expect_log(r"api.sock failed|upstream prematurely closed|recv\(\) failed")
    stack.signal("api", signal.SIGKILL)
    answer = stack.until(lambda: (a := stack.http.get("/api/status")).status_code == 503 and a)
    assert answer.headers["retry-after"] == "2"
    assert "the API does not answer" in answer.json()["error"]
    assert stack.beacon("u1", [{"event": "search", "query": "x", "ts": now_ms()}]).status_code == 204
