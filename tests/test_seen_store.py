"""Reading seen sets from a real Redis: the same members as SMEMBERS gives, whatever their encoding."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack_fixture import Stack
from worker.config import Settings
from worker.keyspace import partition_of, user_key
from worker.nightly.compiled import available
from worker.nightly.composer import unpacker
from worker.seen_set import live_items, live_mask, member_of, parts_of
from worker.store import intsets, seen
from worker.store.connect import Store, open_store
from worker.store.intsets import Unpack
from worker.store.wire import Wire

BUCKETS = [2041, 2040, 2039, 2038, 2037, 2036, 2035]
LIVE = live_mask(BUCKETS)
UNPACKS = pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "compiled"])


def unpack_of(compiled: bool, live: int = LIVE) -> Unpack:
    """What the nightly run takes dumps apart with."""
    assert available()
    return unpacker(Settings(compiled=compiled), live)


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    with Wire(stack.run) as wire:
        yield wire


def read(wire: Wire, users: Sequence[str], compiled: bool = False) -> list[list[int]]:
    """Each user's items, sorted; the users may be of several partitions, in any order."""
    rows = [(partition_of(user), slice(at, at + 1)) for at, user in enumerate(users)]
    items, offsets = seen.read_many(wire, users, rows, unpack_of(compiled))
    assert offsets[0] == 0
    assert offsets[-1] == len(items)
    return [sorted(items[offsets[at] : offsets[at + 1]].tolist()) for at in range(len(users))]


def add(stack: Stack, user: str, members: Sequence[int]) -> None:
    stack.redis.sadd(user_key("seen", user), *members)


def by_members(stack: Stack, user: str) -> list[int]:
    """The same by SMEMBERS."""
    parts = [parts_of(int(member)) for member in stack.redis.smembers(user_key("seen", user))]
    return sorted(item if code in CODES_LIVE else 0 for item, code, _ in parts)


CODES_LIVE = {bucket % 32 for bucket in BUCKETS}


def drawn(rng: random.Random, count: int, largest: int = 2**25 - 1) -> list[int]:
    """``count`` different members of any items, buckets and flags."""
    return list({member_of(rng.randint(1, largest), rng.randint(0, 31), rng.randint(0, 3)) for _ in range(count)})


@UNPACKS
@pytest.mark.parametrize("largest", [1, 500, 50_000, 2**25 - 1])
def test_random_sets_are_read_as_redis_has_them(stack: Stack, wire: Wire, largest: int, compiled: bool) -> None:
    """Sets missing, small and large; users of all partitions, any length."""
    rng = random.Random(largest)
    users = [f"{'x' * rng.randint(0, 120)}{n}" for n in range(120)]
    for user in users[::2]:
        add(stack, user, drawn(rng, rng.choice([1, 2, 6, 7, 13, 14, 27, 28, 200]), largest))
    assert read(wire, users, compiled) == [by_members(stack, user) for user in users]


@UNPACKS
def test_members_of_two_bytes_are_read_too(stack: Stack, wire: Wire, compiled: bool) -> None:
    """Those of items in the middle of all numbers lie around zero."""
    for user, items in (("near", [2**24, 2**24 + 3]), ("mixed", [2**24, 5]), ("far", [5, 6])):
        add(stack, user, [member_of(item, BUCKETS[0]) for item in items])
    assert read(wire, ["near", "mixed", "far"], compiled) == [[2**24, 2**24 + 3], [5, 2**24], [5, 6]]


@UNPACKS
@pytest.mark.parametrize("count", [4092, 4094, 8000, 32_768, 32_769, 40_000])
def test_large_sets_among_small_ones(stack: Stack, wire: Wire, count: int, compiled: bool) -> None:
    """Around the sizes where a dump's length takes five bytes, and where Redis gives the intset up for a hash table."""
    users = ["before", "heavy", "after"]
    for user in users:
        add(stack, user, [member_of(item, BUCKETS[2]) for item in (1, 2, 40_000)])
    add(stack, "heavy", [member_of(item, BUCKETS[1]) for item in range(50_000, 50_000 + count - 3)])
    found = read(wire, users, compiled)
    assert found == [by_members(stack, user) for user in users]
    assert [len(items) for items in found] == [3, count, 3]


@UNPACKS
@pytest.mark.parametrize("count", [3, 40, 9000])
def test_a_set_that_is_no_intset_is_read_by_its_members(stack: Stack, wire: Wire, count: int, compiled: bool) -> None:
    """A set that once held a word keeps its encoding; it may look like any bytes."""
    key = user_key("seen", "u1")
    stack.redis.sadd(key, "word", *(member_of(item, BUCKETS[3]) for item in range(4, 4 + count)))
    stack.redis.srem(key, "word")
    assert stack.redis.object("encoding", key) == b"hashtable"
    add(stack, "u0", [member_of(9, BUCKETS[3])])
    assert read(wire, ["u0", "u1", "u2"], compiled) == [[9], list(range(4, 4 + count)), []]


def test_users_with_odd_characters(stack: Stack, wire: Wire) -> None:
    """All characters that an id may have, and bytes beyond ASCII, which it may not."""
    users = ["a.b_c~d:e-f", ":", "~~", "A" * 128, "größe", "日本"]
    for number, user in enumerate(users):
        add(stack, user, [member_of(number + 1, BUCKETS[1])])
    assert read(wire, users) == [[number + 1] for number in range(len(users))]


def test_no_users_and_no_sets(wire: Wire) -> None:
    """Nothing is asked for, and nothing is found."""
    assert read(wire, []) == []
    assert read(wire, ["u1", "u2"]) == [[], []]
    items, offsets = seen.read_many(wire, [], [])
    assert (items.tolist(), offsets.tolist()) == ([], [0])


def test_more_users_than_a_window(stack: Stack, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven; a set of another encoding in a later one is found under its own user."""
    monkeypatch.setattr(seen, "WINDOW", 7)
    users = [f"u{n}" for n in range(30)]
    for number, user in enumerate(users):
        add(stack, user, [member_of(number + 1, BUCKETS[number % 4]), member_of(70_000, BUCKETS[0])])
    add(stack, "u17", [member_of(item, BUCKETS[2]) for item in range(1, 40_001)])
    assert read(wire, users) == [by_members(stack, user) for user in users]


def test_one_users_set_is_read_as_all_are(stack: Stack, wire: Wire) -> None:
    """``read_seen`` over the ordinary connection gives the members themselves."""
    rng = random.Random(5)
    users = [f"u{n}" for n in range(40)]
    for user in users:
        add(stack, user, drawn(rng, rng.randint(1, 60)))
    store: Store = open_store(stack.run, stack.settings)
    found = [sorted(live_items(seen.read_seen(store, user), LIVE).tolist()) for user in users]
    assert found == read(wire, users)
    assert seen.read_seen(store, "nobody").tolist() == []


# --- who was there ---------------------------------------------------------------------------------------------------


def visited(stack: Stack, count: int) -> dict[str, int]:
    """``count`` users of partition 9, last seen at 1000, 1001, …"""
    times = {f"größe:{n}": 1_763_740_000_000 + n for n in range(count)}
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
    """Users come while the set is read: those of before are all there, and nobody twice."""
    times = visited(stack, 3000)
    found: list[str] = []
    for number, (users, _) in enumerate(seen.scan_many(wire, 9, 0, 500)):
        found += users
        if number < 5:
            stack.redis.zadd("users:{9}", {f"new:{number}:{n}": n + 1 for n in range(2000)})
    assert len(set(found)) == len(found)
    assert set(times) <= set(found)
    known = {b"a"}
    page = [b"a", b"9", b"b", b"9", b"c", b"8", b"b", b"9"]
    assert [list(part) for part in seen._recent(page, 9, known)] == [[b"b"], [9]]
    assert known == {b"a", b"b"}


def test_a_restart_while_users_are_read_loses_none_of_them(stack: Stack, wire: Wire) -> None:
    """Redis lays its hash tables out anew: the cursor of before would pass over users."""
    stack.expect_log("failed to ask Redis|cannot follow Redis|redis.sock failed|recv\\(\\) failed")
    times = visited(stack, 5000)
    chunks = seen.scan_many(wire, 9, 0, 1500)
    found = list(next(chunks)[0])
    stack.restart("redis")
    found += [user for users, _ in chunks for user in users]
    assert sorted(found) == sorted(times)


# --- dumps taken apart, without Redis --------------------------------------------------------------------------------


def dump_of(members: Sequence[int], width: int) -> bytes:
    """What Redis dumps for an intset: RDB type 11, a length in one, two or five bytes, and a footer."""
    content = b"".join(part.to_bytes(4, "little") for part in (width, len(members)))
    content += np.array(members, f"<i{width}").tobytes()
    size = len(content)
    length = (bytes([size]) if size < 64 else bytes([0x40 | size >> 8, size & 255]) if size < 16384
              else b"\x80" + size.to_bytes(4, "big"))
    return b"\x0b" + length + content + b"footer...."


intset = st.sampled_from([2, 4, 8]).flatmap(lambda width: st.lists(
    st.integers(-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1), min_size=1, max_size=70,
).map(lambda members: (members, width)))  # fmt: skip


@settings(deadline=None)
@given(chosen=st.lists(st.none() | intset, max_size=12), live=st.integers(0, 2**32 - 1))
def test_any_mixture_of_widths_and_sizes(chosen: list[tuple[list[int], int] | None], live: int) -> None:
    """Members come in the order of the dumps, none twice, none missing; what is no member of 32 bits is no item."""
    dumps = [dump_of(*each) if each else None for each in chosen]
    members, counts = intsets.members_of(dumps, never)
    assert members.tolist() == [member for each in chosen if each for member in each[0]]
    assert counts.tolist() == [len(each[0]) if each else 0 for each in chosen]
    for compiled in (False, True):
        items, sizes = unpack_of(compiled, live)(dumps, never)
        assert items.tolist() == [item_of(member, live) for member in members.tolist()]
        assert sizes.tolist() == counts.tolist()
        assert items.dtype == np.int32


def item_of(member: int, live: int) -> int:
    """By the definition."""
    word = member + 2**31
    return word // 128 if 0 <= word < 2**32 and live // 2 ** (word // 4 % 32) % 2 else 0


@pytest.mark.parametrize("unpack", [intsets.members_of, unpack_of(True, 2**32 - 1)], ids=["members", "items"])
@pytest.mark.parametrize("width", [2, 4, 8])
def test_the_sizes_around_which_the_length_takes_more_bytes(unpack: Unpack, width: int) -> None:
    """Contents of 63 and 64, 16,383 and 16,384 bytes, as near as members come."""
    for size in (64, 16_384):
        for count in range((size - 8) // width - 2, (size - 8) // width + 3):
            members = list(range(count))
            found, counts = unpack([dump_of([7], width), dump_of(members, width), dump_of([8], width)], never)
            expected = np.array([7, *members, 8])
            known = expected if unpack is intsets.members_of else live_items(expected, 2**32 - 1)
            assert (found.tolist(), counts.tolist()) == (known.tolist(), [1, count, 1])


def never(index: int) -> Any:
    raise AssertionError(f"dump {index} was not recognised")


STRANGE = {
    "compressed": bytes([11, 0xC3, 10, 64, 28]) + bytes(30),
    "compressed, content longer than 63": bytes([11, 0xC3, 0x40, 90, 0x41, 0]) + bytes(100),
    "a hash table": bytes([2, 3, 0xC0, 1, 0xC0, 2, 0xC0, 3]) + bytes(10),
    "a hash table as long as an empty intset": bytes([2, 4, 0xC0, 1, 0xC0, 2, 0xC0, 3, 0xC0, 4]) + bytes(10),
    "a text": b"\x00\x05hello" + bytes(10),
    "a count too large": b"\x0b\x10" + bytes([4, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]) + bytes(10),
    "a width that is none": b"\x0b\x0b" + bytes([3, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3]) + bytes(10),
    "a width of high bytes": b"\x0b\x0c" + bytes([4, 4, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]) + bytes(10),
}


@UNPACKS
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_plain_intset_is_asked_for_by_members(compiled: bool, name: str) -> None:
    """It stands between two that are; they keep their members."""
    asked: list[int] = []

    def members(index: int) -> list[bytes]:
        asked.append(index)
        return [str(member_of(7, 2041)).encode(), b"4000000000"]

    one, two = (dump_of([member_of(item, 2041) for item in items], 4) for items in ([1], [5, 6]))
    found, counts = unpack_of(compiled)([one, STRANGE[name], None, two], members)
    assert (found.tolist(), counts.tolist(), asked) == ([1, 7, 0, 5, 6], [1, 2, 0, 2], [1])


def test_a_set_that_went_in_the_meantime_is_empty() -> None:
    """Expired between its dump and the question for its members."""
    gone: Callable[[int], list[bytes]] = lambda index: []  # noqa: E731 - as the type says
    found, counts = intsets.members_of([STRANGE["a text"], dump_of([5], 4)], gone)
    assert (found.tolist(), counts.tolist()) == ([5], [0, 1])


def test_members_within_32_bits_stay_so() -> None:
    """Only a set that needs more makes all of them 64 bits wide."""
    unpack = intsets.members_of
    assert unpack([dump_of([1], 2), dump_of([2**31 - 1], 4)], never)[0].dtype == np.int32
    assert unpack([dump_of([1], 2), dump_of([2**31], 8)], never)[0].dtype == np.int64
    assert unpack([None], never)[0].dtype == np.int32
    assert unpack([], never)[1].dtype == np.int64
