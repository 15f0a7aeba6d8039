"""Redis's own dumps of integer sets, read by numpy and by compiled code alike."""

from __future__ import annotations

import random
import struct
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.stack_fixture import Stack
from worker.keyspace import MAX_ITEM
from worker.nightly import compiled_seen
from worker.seen_set import CLICKED, UNCOUNTED, live_items, member_of
from worker.store import intsets

ALL = 2**32 - 1  # every bucket is live


def read(dump: bytes) -> NDArray[np.signedinteger[Any]] | None:
    """The members of a dump; both ways read the same items; None when both leave it to the caller's fallback."""
    found = []
    for unpack in (intsets.members_of, partial(compiled_seen.items_of, ALL)):
        asked: list[int] = []
        members, counts = unpack([dump], lambda index, asked=asked: asked.append(index) or [])
        assert asked or counts.tolist() == [len(members)]
        found.append(None if asked else members)
    assert (found[0] is None) == (found[1] is None)
    assert found[0] is None or live_items(found[0], ALL).tolist() == found[1].tolist()
    return found[0]


def dumped(stack: Stack, members: list[int]) -> bytes:
    """What Redis dumps for a set of these integers."""
    stack.redis.delete("probe")
    stack.redis.sadd("probe", *members)
    dump: bytes | None = stack.redis.dump("probe")
    assert dump is not None
    return dump


@pytest.mark.parametrize("largest", [100, 2**15 - 1, 2**29 - 1, 2**31 - 1, 2**40], ids="up to {}".format)
@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 30, 31, 100, 5000, 32_768])
def test_an_intset_is_read_from_its_dump(stack: Stack, count: int, largest: int) -> None:
    """Every width of integers and of the length before them, negative ones included."""
    rng = random.Random(count * largest)
    span = range(-largest, largest + 1)
    members = rng.sample(span, min(count, len(span)))
    found = read(dumped(stack, members))
    assert found is not None
    assert found.tolist() == sorted(members)


def test_the_members_of_a_seen_set_are_read(stack: Stack) -> None:
    """Seen, clicked and not counted, the largest item included."""
    members = [member_of(item, 2041, flags) for item in (1, MAX_ITEM) for flags in (0, CLICKED, UNCOUNTED)]
    found = read(dumped(stack, members))
    assert found is not None
    assert found.tolist() == sorted(members)


def test_other_encodings_are_said_to_be_other(stack: Stack) -> None:
    """Too many members, words, other types, no key: the caller reads those by members."""
    assert read(dumped(stack, list(range(32_769)))) is None
    stack.redis.sadd("words", "a", 1)
    stack.redis.set("text", "1")
    stack.redis.hset("hash", "a", 1)
    for name in ("words", "text", "hash"):
        assert read(stack.redis.dump(name) or b"-") is None


def test_a_compressed_dump_is_said_to_be_another_encoding() -> None:
    """Where somebody switches rdbcompression on: 0xC3 says that LZF follows."""
    assert read(bytes([11, 0xC3, 10, 64, 20]) + bytes(30)) is None


@given(st.binary(min_size=20, max_size=60), st.sampled_from([b"", b"\x0b", b"\x0b\x80\0\0\0", b"\x0b\x14\x02\0\0\0"]))
def test_arbitrary_dumps_are_read_or_not_and_never_an_exception(raw: bytes, start: bytes) -> None:
    """Also those that claim to be intsets; no dump of a key is shorter than 20 bytes with its footer."""
    for dump in (raw, start + raw):
        found = read(dump)
        assert found is None or len(found) * 2 <= len(dump)


@given(st.integers(0, 12))
def test_a_dump_cut_short_is_not_read(cut: int) -> None:
    """Width 4, three members, footer of ten bytes."""
    content = struct.pack("<II3i", 4, 3, -5, 0, 7)
    dump = bytes([11, len(content)]) + content + bytes(10)
    found = read(dump[: len(dump) - cut])
    assert (found is not None) == (cut == 0)
