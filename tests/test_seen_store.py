"""Reading seen sets from a real Redis, and who was there; what a word of a set says."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack_fixture import REDIS_AWAY, Stack
from worker.config import Settings
from worker.keyspace import MAX_ITEM, partition_of, user_key
from worker.nightly.compiled import available
from worker.nightly.composer import decoder
from worker.seen_set import CLICKED, live_items, live_mask, packed, parts_of, word_of, words_of
from worker.store import seen
from worker.store.connect import Store, open_store
from worker.store.wire import Wire

BUCKETS = [2041, 2040, 2039, 2038, 2037, 2036, 2035]
@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    with Wire(stack.run) as wire:
        yield wire


def read(wire: Wire, users: Sequence[str]) -> list[list[int]]:
    """Each user's words; the users may be of several partitions, in any order."""
    rows = [(partition_of(user), slice(at, at + 1)) for at, user in enumerate(users)]
    words, offsets = seen.read_many(wire, list(map(str.encode, users)), rows)
    assert offsets[0] == 0
    assert offsets[-1] == len(words)
    return [words[offsets[at] : offsets[at + 1]].tolist() for at in range(len(users))]


def add(stack: Stack, user: str, words: Iterable[int]) -> None:
    stack.redis.append(user_key("seen", user), packed(words))


def drawn(rng: random.Random, count: int, largest: int = 2**25 - 1) -> list[int]:
    """Different words, at most ``count``, of any items, buckets and flags."""
    return list({word_of(rng.randint(1, largest), rng.randint(0, 31), rng.randint(0, 3)) for _ in range(count)})


@pytest.mark.parametrize("largest", [1, 500, 50_000, 2**25 - 1])
def test_random_sets_are_read_as_they_were_written(stack: Stack, wire: Wire, largest: int) -> None:
    """Sets missing, small and large; users of all partitions, any length."""
    rng = random.Random(largest)
    users = [f"{'x' * rng.randint(0, 120)}{n}" for n in range(120)]
    sets = [drawn(rng, rng.choice([1, 2, 6, 200, 10_000]), largest) if n % 2 else [] for n in range(120)]
    for user, words in zip(users, sets, strict=True):
        if words:
            add(stack, user, words)
    assert read(wire, users) == sets


def test_users_with_odd_characters(stack: Stack, wire: Wire) -> None:
    """All characters that an id may have, and bytes beyond ASCII, which it may not."""
    users = ["a.b_c~d:e-f", ":", "~~", "A" * 128, "größe", "日本"]
    for number, user in enumerate(users):
        add(stack, user, [number + 1])
    assert read(wire, users) == [[number + 1] for number in range(len(users))]


def test_no_users_and_no_sets(wire: Wire) -> None:
    """Nothing is asked for, and nothing is found."""
    assert read(wire, []) == []
    assert read(wire, ["u1", "u2"]) == [[], []]
    words, offsets = seen.read_many(wire, [], [])
    assert (words.tolist(), offsets.tolist()) == ([], [0])


def test_more_users_than_a_window(stack: Stack, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven."""
    monkeypatch.setattr(seen, "WINDOW", 7)
    users = [f"u{n}" for n in range(30)]
    sets = [[word_of(number + 1, BUCKETS[number % 4]), word_of(70_000, BUCKETS[0])] for number in range(30)]
    for user, words in zip(users, sets, strict=True):
        add(stack, user, words)
    assert read(wire, users) == sets


def test_one_users_set_is_read_as_all_are(stack: Stack, wire: Wire) -> None:
    """``read_seen`` does it over the ordinary connection."""
    rng = random.Random(5)
    users = [f"u{n}" for n in range(40)]
    for user in users:
        add(stack, user, drawn(rng, rng.randint(1, 60)))
    store: Store = open_store(stack.run, stack.settings)
    assert [seen.read_seen(store, user).tolist() for user in users] == read(wire, users)
    assert seen.read_seen(store, "nobody").tolist() == []


# --- who was there ---------------------------------------------------------------------------------------------------


def visited(stack: Stack, count: int) -> dict[bytes, int]:
    """``count`` users of partition 9, last seen at 1000, 1001, …"""
    times = {f"größe:{n}".encode(): 1_763_740_000_000 + n for n in range(count)}
    if times:
        stack.redis.zadd("users:{9}", times)
    return times


@pytest.mark.parametrize("count", [0, 1, 100, 5000])
@pytest.mark.parametrize("chunk", [1, 999, 2500, 10_000])
def test_all_recent_users_are_found_once(stack: Stack, wire: Wire, count: int, chunk: int) -> None:
    """In chunks of the size that was asked for, but for the last one; who was not here since is left out."""
    times = visited(stack, count)
    since_ms = 1_763_740_000_000 + count // 3
    chunks = list(seen.scan_many(wire, 9, since_ms, chunk))
    assert all(len(users) == len(last) == chunk for users, last in chunks[:-1])
    found = [pair for users, last in chunks for pair in zip(users, last.tolist(), strict=True)]
    assert sorted(found) == sorted((user, ms) for user, ms in times.items() if ms >= since_ms)


def test_a_user_that_a_growing_set_shows_twice_is_given_once(stack: Stack, wire: Wire) -> None:
    """Users come, and come again, while the set is read: those of before are all there, and nobody twice."""
    times = visited(stack, 3000)
    found: list[bytes] = []
    for number, (users, _) in enumerate(seen.scan_many(wire, 9, 0, 500)):
        found += users
        if number < 5:
            stack.redis.zadd("users:{9}", {f"new:{number}:{n}": n + 1 for n in range(2000)})
            back = range(600 * number, 600 * number + 200)
            stack.redis.zadd("users:{9}", {f"größe:{n}": 1_763_741_000_000 + n for n in back})
    assert len(set(found)) == len(found)
    assert set(times) <= set(found)
    known = {b"a"}
    page = [b"a", b"9", b"b", b"9", b"c", b"1.7637400000000000e+12"]
    assert [list(part) for part in seen._new(page, known)] == [[b"b", b"c"], [9, 1_763_740_000_000]]
    assert known == {b"a", b"b", b"c"}


@pytest.mark.parametrize("crowds", [(1, 499, 500, 501), (500, 500), (1200, 1), (3, 2000, 3, 498, 7)])
def test_users_who_came_in_one_millisecond_are_all_found(stack: Stack, wire: Wire, crowds: Sequence[int]) -> None:
    """Wherever a page ends among them."""
    times = {f"{at}:{n}".encode(): 1_763_740_000_000 + at for at, size in enumerate(crowds) for n in range(size)}
    stack.redis.zadd("users:{9}", times)
    found = [pair for users, last in seen.scan_many(wire, 9, 0, 300) for pair in zip(users, last.tolist(), strict=True)]
    assert sorted(found) == sorted(times.items())


def test_a_restart_while_users_are_read_loses_none_of_them(stack: Stack, wire: Wire) -> None:
    """Where the next page begins means the same to the Redis that comes after."""
    stack.expect_log(REDIS_AWAY)
    times = visited(stack, 5000)
    chunks = seen.scan_many(wire, 9, 0, 1500)
    found = list(next(chunks)[0])
    stack.restart("redis")
    found += [user for users, _ in chunks for user in users]
    assert sorted(found) == sorted(times)


# --- words, without Redis --------------------------------------------------------------------------------------------


def test_known_words() -> None:
    """Worked out by hand: item 5, bucket 2041 (2041 - 63 * 32 = 25), clicked: 5 * 128 + 25 * 4 + 1."""
    assert word_of(5, 2041, CLICKED) == 741
    assert parts_of(741) == (5, 25, CLICKED)
    assert packed([741]) == b"\xe5\x02\x00\x00"
    assert word_of(MAX_ITEM, 31, 3) == 2**32 - 1
    assert live_items(words_of(packed([741, 740 + 4])), live_mask([2041])).tolist() == [5, 0]



@given(words=st.lists(st.integers(0, 2**32 - 1), max_size=40), live=st.integers(0, 2**32 - 1))
def test_any_words_are_decoded_alike(words: list[int], live: int) -> None:
    """By numpy and by compiled code, as the definition says."""
    assert available()
    expected = [word // 128 if live // 2 ** (word // 4 % 32) % 2 else 0 for word in words]
    for compiled in (False, True):
        items = decoder(Settings(compiled=compiled))(words_of(packed(words)), live)
        assert items.tolist() == expected
        assert items.dtype == np.int32
