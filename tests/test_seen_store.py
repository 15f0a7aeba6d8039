"""Reading seen sets from a real Redis: the same members as SMEMBERS gives, whatever their encoding."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack_fixture import Stack
from worker.keyspace import BUCKET_DAYS, DAY_MS, partition_of, user_key
from worker.nightly import compiled_seen
from worker.store import intsets, seen
from worker.store.connect import Store, open_store
from worker.store.intsets import Unpack
from worker.store.wire import Wire

BUCKETS = [1040, 1039, 1038, 1037]
NEWEST_MS = (BUCKETS[0] * BUCKET_DAYS + 3) * DAY_MS
UNPACKS = pytest.mark.parametrize("unpack", [intsets.members_of, compiled_seen.members_of], ids=["numpy", "compiled"])
LARGEST = {"2": 2**15 - 1, "4": 2**31 - 1, "8": 2**60}


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    with Wire(stack.run) as wire:
        yield wire


def read(wire: Wire, users: Sequence[str], unpack: Unpack = intsets.members_of,
         last_seen_ms: Sequence[int] | None = None) -> list[list[int]]:
    """Each user's members, sorted; the users may be of several partitions, in any order."""
    rows = [(partition_of(user), slice(at, at + 1)) for at, user in enumerate(users)]
    times = np.array([NEWEST_MS] * len(users) if last_seen_ms is None else last_seen_ms, np.int64)
    members, offsets = seen.read_many(wire, users, rows, times, BUCKETS, unpack)
    assert offsets[0] == 0
    assert offsets[-1] == len(members)
    return [sorted(members[offsets[at] : offsets[at + 1]].tolist()) for at in range(len(users))]


def add(stack: Stack, user: str, bucket: int, members: Sequence[int]) -> None:
    stack.redis.sadd(user_key("seen", user, bucket), *members)


def by_members(stack: Stack, user: str, buckets: Sequence[int] = BUCKETS) -> list[int]:
    """The same by SMEMBERS."""
    return sorted(int(member) for bucket in buckets for member in stack.redis.smembers(user_key("seen", user, bucket)))


def drawn(rng: random.Random, width: str, count: int) -> list[int]:
    """``count`` different integers of which one at least needs ``width`` bytes."""
    largest = LARGEST[width]
    return [largest, *{rng.randint(-largest, largest - 1) for _ in range(count - 1)}]


@UNPACKS
@pytest.mark.parametrize("widths", ["2", "4", "8", "24", "248"])
def test_random_sets_are_read_as_redis_has_them(stack: Stack, wire: Wire, widths: str, unpack: Unpack) -> None:
    """Sets missing, small and large, of one width of integers and of several; users of all partitions, any length."""
    rng = random.Random(widths)
    users = [f"{'x' * rng.randint(0, 120)}{n}" for n in range(80)]
    for user in users:
        for bucket in rng.sample(BUCKETS, rng.randint(0, 4)):
            add(stack, user, bucket, drawn(rng, rng.choice(widths), rng.choice([1, 2, 6, 7, 13, 14, 27, 28, 200])))
    assert read(wire, users, unpack) == [by_members(stack, user) for user in users]


@UNPACKS
@pytest.mark.parametrize("count", [4092, 4094, 8000, 8192, 8193, 9000])
def test_large_sets_among_small_ones(stack: Stack, wire: Wire, count: int, unpack: Unpack) -> None:
    """Around the sizes where a dump's length takes five bytes, and where Redis gives the intset up for a hash table."""
    users = ["before", "heavy", "after"]
    for user in users:
        add(stack, user, BUCKETS[0], [1, 2, 40_000])
        add(stack, user, BUCKETS[2], [3])
    add(stack, "heavy", BUCKETS[1], range(50_000, 50_000 + count))
    found = read(wire, users, unpack)
    assert found == [by_members(stack, user) for user in users]
    assert [len(members) for members in found] == [4, 4 + count, 4]


@pytest.mark.parametrize("count", [3, 40, 9000])
def test_a_set_that_is_no_intset_is_read_by_its_members(stack: Stack, wire: Wire, count: int) -> None:
    """A set that once held a word keeps its encoding; it may look like any bytes."""
    key = user_key("seen", "u1", BUCKETS[3])
    stack.redis.sadd(key, "word", *range(4, 4 + count))
    stack.redis.srem(key, "word")
    assert stack.redis.object("encoding", key) == b"hashtable"
    add(stack, "u0", BUCKETS[3], [9])
    assert read(wire, ["u0", "u1", "u2"]) == [[9], list(range(4, 4 + count)), []]


def test_users_with_odd_characters(stack: Stack, wire: Wire) -> None:
    """All characters that an id may have, and bytes beyond ASCII, which it may not."""
    users = ["a.b_c~d:e-f", ":", "~~", "A" * 128, "größe", "日本"]
    for number, user in enumerate(users):
        add(stack, user, BUCKETS[1], [number + 1])
    assert read(wire, users) == [[number + 1] for number in range(len(users))]


def test_no_users_and_no_sets(wire: Wire) -> None:
    """Nothing is asked for, and nothing is found."""
    assert read(wire, []) == []
    assert read(wire, ["u1", "u2"]) == [[], []]
    members, offsets = seen.read_many(wire, [], [], np.empty(0, np.int64), BUCKETS)
    assert (members.tolist(), offsets.tolist()) == ([], [0])


def test_buckets_newer_than_the_last_visit_are_not_asked_for(stack: Stack, wire: Wire) -> None:
    """Seen in all buckets but last here in the second (first and last millisecond), the last, or before all of them."""
    starts = [bucket * BUCKET_DAYS * DAY_MS for bucket in BUCKETS]
    last_seen_ms = [starts[0], starts[0] - 1, starts[1], starts[3], starts[3] - 1, starts[0] + 40 * DAY_MS]
    users = [f"u{n}" for n in range(len(last_seen_ms))]
    for user in users:
        for bucket in BUCKETS:
            add(stack, user, bucket, [bucket])
    before = calls(stack, "dump")
    found = read(wire, users, last_seen_ms=last_seen_ms)
    assert found == [sorted(BUCKETS), *[sorted(BUCKETS[1:])] * 2, [BUCKETS[3]], [], sorted(BUCKETS)]
    assert calls(stack, "dump") - before == 4 + 3 + 3 + 1 + 0 + 4


def calls(stack: Stack, command: str) -> int:
    """How often Redis has run a command."""
    return int(stack.redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_more_users_than_a_window(stack: Stack, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven; a set of another encoding in a later one is found under its own user."""
    monkeypatch.setattr(seen, "WINDOW", 7)
    users = [f"u{n}" for n in range(30)]
    for number, user in enumerate(users):
        add(stack, user, BUCKETS[number % 4], [number + 1, 70_000])
    add(stack, "u17", BUCKETS[2], range(1, 9001))
    assert read(wire, users) == [by_members(stack, user) for user in users]


def test_the_two_ways_of_reading_agree(stack: Stack, wire: Wire) -> None:
    """``read_seen`` over the ordinary connection gives rows, ``read_many`` offsets."""
    rng = random.Random(5)
    users = [f"u{n}" for n in range(40)]
    for user in users:
        for bucket in BUCKETS[rng.randint(0, 3) :]:
            add(stack, user, bucket, drawn(rng, "4", rng.randint(1, 60)))
    store: Store = open_store(stack.run, stack.settings)
    members, rows = seen.read_seen(store, users, BUCKETS)
    assert members.dtype == rows.dtype == np.int64
    assert (np.diff(rows) >= 0).all()
    assert [sorted(members[rows == at].tolist()) for at in range(40)] == read(wire, users)
    assert [part.tolist() for part in seen.read_seen(store, ["nobody"], BUCKETS)] == [[], []]
    assert [part.tolist() for part in seen.read_seen(store, [], BUCKETS)] == [[], []]


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


@UNPACKS
@given(chosen=st.lists(st.none() | intset, max_size=12))
def test_any_mixture_of_widths_and_sizes(unpack: Unpack, chosen: list[tuple[list[int], int] | None]) -> None:
    """Members come in the order of the dumps, none twice, none missing."""
    members, counts = unpack([dump_of(*each) if each else None for each in chosen], never)
    assert members.tolist() == [member for each in chosen if each for member in each[0]]
    assert counts.tolist() == [len(each[0]) if each else 0 for each in chosen]


@UNPACKS
@pytest.mark.parametrize("width", [2, 4, 8])
def test_the_sizes_around_which_the_length_takes_more_bytes(unpack: Unpack, width: int) -> None:
    """Contents of 63 and 64, 16,383 and 16,384 bytes, as near as members come."""
    for size in (64, 16_384):
        for count in range((size - 8) // width - 2, (size - 8) // width + 3):
            members = list(range(count))
            found, counts = unpack([dump_of([7], width), dump_of(members, width), dump_of([8], width)], never)
            assert (found.tolist(), counts.tolist()) == ([7, *members, 8], [1, count, 1])


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
def test_what_is_no_plain_intset_is_asked_for_by_members(unpack: Unpack, name: str) -> None:
    """It stands between two that are; they keep their members."""
    asked: list[int] = []

    def members(index: int) -> list[bytes]:
        asked.append(index)
        return [b"-7", b"4000000000"]

    found, counts = unpack([dump_of([1], 2), STRANGE[name], None, dump_of([5, 6], 4)], members)
    assert (found.tolist(), counts.tolist(), asked) == ([1, -7, 4_000_000_000, 5, 6], [1, 2, 0, 2], [1])


def test_a_set_that_went_in_the_meantime_is_empty() -> None:
    """Expired between its dump and the question for its members."""
    gone: Callable[[int], list[bytes]] = lambda index: []  # noqa: E731 - as the type says
    found, counts = intsets.members_of([STRANGE["a text"], dump_of([5], 4)], gone)
    assert (found.tolist(), counts.tolist()) == ([5], [0, 1])


@UNPACKS
def test_members_within_32_bits_stay_so(unpack: Unpack) -> None:
    """Only a set that needs more makes all of them 64 bits wide."""
    assert unpack([dump_of([1], 2), dump_of([2**31 - 1], 4)], never)[0].dtype == np.int32
    assert unpack([dump_of([1], 2), dump_of([2**31], 8)], never)[0].dtype == np.int64
    assert unpack([None], never)[0].dtype == np.int32
    assert unpack([], never)[1].dtype == np.int64
