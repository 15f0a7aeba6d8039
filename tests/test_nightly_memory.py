"""What a run gives back: room that seen sets have to spare, and lists of whoever is forgotten or erased."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.night_site import run
from tests.stack_fixture import Stack
from worker.keyspace import DAY_MS, partition_key, partition_of, user_key
from worker.seen_set import packed, word_of
from worker.store import lists, seen
from worker.store.connect import open_store
from worker.store.generations import Turn
from worker.store.lists import Lists, list_key, publish_lists
from worker.store.users import forget
from worker.store.wire import Wire

NOW_MS = int(time.time() * 1000)


def grow(stack: Stack, user: str, last_seen_ms: int) -> str:
    """A seen set of 300 words in many appends, so that it has room to spare; its key."""
    key = user_key("seen", user)
    for item in range(1, 301):
        stack.redis.append(key, packed([word_of(item, 2050)]))
    stack.redis.expire(key, 1000)
    stack.redis.zadd(partition_key("users", partition_of(user)), {user: last_seen_ms})
    return key


def test_seen_sets_that_grew_since_the_last_run_take_no_more_than_they_need(stack: Stack) -> None:
    """The first run does all; the next only who was here since. What a set holds and when it expires stay."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n % 5}") for n in range(40)])
    old, late = (grow(stack, user, NOW_MS - days * DAY_MS) for user, days in (("old", 5), ("late", 3)))
    before = stack.redis.get(old), stack.redis.expiretime(old)
    run(stack, "--force")
    assert stack.redis.memory_usage(old) < 1400 < 2000
    assert (stack.redis.get(old), stack.redis.expiretime(old)) == before
    for key in (old, late):
        stack.redis.append(key, packed(word_of(item, 2050) for item in range(301, 341)))
        assert stack.redis.memory_usage(key) > 2000
    stack.redis.zadd(partition_key("users", partition_of("late")), {"late": int(time.time() * 1000)})
    run(stack, "--force")
    assert stack.redis.memory_usage(late) < 1600
    assert stack.redis.memory_usage(old) > 2000


def test_a_set_that_is_gone_stays_gone(stack: Stack) -> None:
    """Expired or erased between the reading and this."""
    with Wire(stack.run) as wire:
        seen.compact(wire, 5, [b"nobody"] * 300)
    assert stack.redis.dbsize() == 0


def publish(stack: Stack, *users: str) -> None:
    """A list of one entry for each."""
    with Wire(stack.run) as wire:
        for user in users:
            one = Lists([user.encode()], np.array([[1]], np.uint16), np.array([1]), int(time.time()) + 1000, 1, 0)
            publish_lists(wire, [(partition_of(user), slice(0, 1))], Turn(1), one)


def test_lists_of_whoever_was_not_here_for_the_window_go(stack: Stack) -> None:
    """With the users; others of the same partition keep theirs."""
    for user, days in (("here", 3), ("gone", 61)):
        stack.redis.zadd(partition_key("users", partition_of(user)), {user: NOW_MS - days * DAY_MS})
    publish(stack, "here", "gone")
    seen.forget_inactive(open_store(stack.run), NOW_MS - 60 * DAY_MS)
    assert stack.redis.hexists(list_key("here"), "here")
    assert not stack.redis.hexists(list_key("gone"), "gone")


@pytest.mark.parametrize("count", [1, 1200])
def test_strangers_lists_go(stack: Stack, count: int) -> None:
    """Only those of nobody on record, whatever the size of the hash."""
    users = [user for user in (f"u{n}" for n in range(64 * 2 * count)) if partition_of(user) == 7][: 2 * count]
    publish(stack, *users)
    stack.redis.zadd("users:{7}", dict.fromkeys(users[::2], NOW_MS))
    lists.drop_strangers(open_store(stack.run), [7])
    assert {key.decode() for key in stack.redis.hkeys("list:{7}")} == set(users[::2])


def test_who_is_erased_during_a_run_has_no_list_after_it(stack: Stack) -> None:
    """The run has read the users already, and writes a list for one who is gone."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n % 5}") for n in range(40)])
    stack.beacon("u1", [{"event": "impression", "item": "i1"}])
    run(stack, "--force")
    forget(open_store(stack.run), "u1")
    publish(stack, "u1")  # as the run that had read u1 before would
    run(stack, "--force")
    assert stack.redis.keys("*u1*") == []
    assert not stack.redis.hexists(list_key("u1"), "u1")
