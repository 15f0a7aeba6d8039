"""The visit of a person is written once by each nginx worker, and again whenever Redis may not have it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from zlib import crc32

import pytest

from tests import edge_state
from tests.edge_state import now_ms, seen_items, users
from tests.stack_fixture import REDIS_AWAY, Stack
from worker.keyspace import VISIT_SECONDS, partition_key, partition_of, user_key, visit_of

VISIT_MS = VISIT_SECONDS * 1000
LONG = "u" * 28  # longer than the ids that a worker notes


@pytest.fixture
def items(fresh_stack: Callable[..., Stack]) -> Stack:
    """A stack with one nginx worker and six items."""
    stack = fresh_stack(nginx_workers=1)
    stack.import_items(stack.item(f"a{i}") for i in range(6))
    return stack


def zadds(stack: Stack) -> int:
    """How often somebody was looked for among the users."""
    return int(stack.redis.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"])


def show(stack: Stack, item: str, ts: int, user: str = "u1") -> int:
    """An impression at a moment: how often that looked for somebody among the users."""
    before = zadds(stack)
    assert stack.beacon(user, [{"event": "impression", "item": item, "ts": ts}]).status_code == 204
    return zadds(stack) - before


def remove_visit(stack: Stack, user: str = "u1") -> None:
    assert stack.redis.zrem(partition_key("users", partition_of(user)), user) == 1


def shown(stack: Stack, user: str = "u1") -> set[int]:
    return set(seen_items(stack, user))


def test_the_beacons_of_a_visit_write_it_once(items: Stack) -> None:
    """And all are stored: one of a later visit writes that, one of an earlier visit nothing."""
    now = now_ms()
    past = now - VISIT_MS
    assert [show(items, "a0", past), show(items, "a1", past), show(items, "a1", past)] == [1, 0, 0]
    assert users(items) == {"u1": visit_of(past)}
    assert [show(items, "a2", now), show(items, "a3", now), show(items, "a4", past)] == [1, 0, 0]
    assert users(items) == {"u1": visit_of(now)}
    assert len(shown(items)) == 5
    assert edge_state.counts(items, "a1") == edge_state.counts(items, "a4") == {"i": 1}


def test_ids_of_any_length_have_their_visits_written(items: Stack) -> None:
    """Those that a worker doesn't note, each time."""
    now, names = now_ms(), ["u", LONG[1:], LONG, "u" * 128]
    found = {user: [show(items, f"a{i}", now, user) for i in range(2)] for user in names}
    assert found == dict(zip(names, [[1, 0], [1, 0], [1, 1], [1, 1]], strict=True))
    assert users(items) == dict.fromkeys(names, visit_of(now))
    assert {len(shown(items, user)) for user in names} == {2}


def test_nobody_is_taken_for_another(items: Stack) -> None:
    """Of two whose ids fall into one place of a worker's, each has their visit written."""
    now, one, other = now_ms(), *same_place()
    assert show(items, "a0", now - VISIT_MS, other) == 1
    assert [show(items, "a1", now, user) for user in (one, other, one)] == [1, 1, 1]
    assert users(items) == dict.fromkeys((one, other), visit_of(now))


def same_place() -> tuple[str, str]:
    """Two ids of one length whose CRC-32 agree in their lowest 17 bits."""
    found: dict[int, str] = {}
    for i in range(100_000, 110_000):
        user = f"u{i}"
        place = crc32(user.encode()) % 2**17
        if place in found:
            return found[place], user
        found[place] = user
    raise AssertionError("there are none among ten thousand")


def test_whoever_was_removed_is_written_anew(items: Stack) -> None:
    """Without a seen set nobody is believed to be known: the same beacon writes both."""
    now = now_ms()
    show(items, "a0", now)
    remove_visit(items)
    items.redis.delete(user_key("seen", "u1"))
    # The first call writes nothing, and nightfeed_record does it.
    assert [show(items, "a1", now), show(items, "a2", now), show(items, "a3", now)] == [1, 1, 0]
    assert users(items) == {"u1": visit_of(now)}
    assert len(shown(items)) == 3
    assert edge_state.counts(items, "a1") == {"i": 1}


def test_an_erased_person_who_comes_back_is_known_again(items: Stack) -> None:
    """In the visit in which they were erased."""
    show(items, "a0", now_ms())
    items.worker("user", "forget", "u1", "--yes")
    assert users(items) == {}
    show(items, "a1", now_ms() + 1)
    assert list(users(items)) == ["u1"]
    assert shown(items) == {edge_state.number(items, "a1")}


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_redis_that_came_back_without_a_visit_is_told_again(items: Stack, how: str) -> None:
    """It may have lost its last second: nothing that was noted before counts."""
    items.expect_log(REDIS_AWAY)
    now = now_ms()
    show(items, "a0", now)
    remove_visit(items)
    assert show(items, "a1", now) == 0, "while this Redis stays, it is taken for known"
    assert users(items) == {}
    if how == "restart":
        items.restart("redis")
    else:
        items.signal("redis", signal.SIGKILL)
        items.until(lambda: items.part("redis").pid() is None)
        items.script("up")
    again = [{"event": "impression", "item": "a2", "ts": now}]
    items.until(lambda: items.beacon("u1", again).status_code == 204)
    assert users(items) == {"u1": visit_of(now)}
    assert len(shown(items)) == 3
