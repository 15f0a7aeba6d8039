"""Dumped seen sets taken apart in one loop: the compiled twin of `intsets.members_of` and `seen_set.live_items`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit
from worker.seen_set import live_items
from worker.store import intsets
from worker.store.intsets import Fallback, Members

# Behind the last dump, so that a header may be looked for in anything.
_ROOM = bytes(16)


def items_of(live: int, dumps: Sequence[bytes | None], fallback: Fallback) -> tuple[Members, NDArray[np.int64]]:
    """The same items (n,) int32 and counts, by the numpy path where a set is no intset of four bytes a member."""
    found = [dump or b"" for dump in dumps]
    joined = b"".join([*found, _ROOM])
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    items = np.empty(len(joined) // 4, np.int32)
    counts = np.zeros(len(found), np.int64)
    words = [np.frombuffer(joined, "<u4", offset=at, count=(len(joined) - at) // 4) for at in range(4)]
    size = take(np.frombuffer(joined, np.uint8), words[0], words[1], words[2], words[3], sizes, np.uint32(live), items,
                counts)
    if size >= 0:
        return items[:size], counts
    members, counts = intsets.members_of(dumps, fallback)
    return live_items(members, live).view(np.int32), counts


@jit
def take(raw: NDArray[np.uint8], words0: NDArray[np.uint32], words1: NDArray[np.uint32], words2: NDArray[np.uint32],
         words3: NDArray[np.uint32], sizes: NDArray[np.int64], live: np.uint32, items: NDArray[np.int32],
         counts: NDArray[np.int64]) -> int:
    """Fill ``items`` and ``counts`` (dumps,) and return how many there are; -1 for a dump that is left to others.

    ``raw`` are the dumps of ``sizes`` (dumps,), one after the other; ``words0`` to ``words3`` the same bytes as
    integers from the byte of their number on.
    """
    filled, begin = 0, 0
    for index in range(len(sizes)):
        size = sizes[index]
        if size == 0:
            continue
        form = raw[begin + 1] >> 6  # of the content's length: one byte, two or five, and 3 where it is compressed
        at = begin + (2 if form == 0 else 3 if form == 1 else 6)
        width, count = _word(raw, at), _word(raw, at + 4)
        at += 8
        if raw[begin] != 11 or form == 3 or width != 4 or at + 4 * count + 10 != begin + size:
            return -1
        begin += size
        counts[index] = count
        first, shift = at >> 2, at & 3
        if shift == 0:
            _decode(words0, first, count, live, items, filled)
        elif shift == 1:
            _decode(words1, first, count, live, items, filled)
        elif shift == 2:
            _decode(words2, first, count, live, items, filled)
        else:
            _decode(words3, first, count, live, items, filled)
        filled += count
    return filled


@jit
def _decode(words: NDArray[np.uint32], first: int, count: int, live: np.uint32, items: NDArray[np.int32],
            filled: int) -> None:
    """As `seen_set.live_items`."""
    for i in range(count):
        word = words[first + i] ^ np.uint32(0x80000000)
        items[filled + i] = (word >> np.uint32(7)) * ((live >> ((word >> np.uint32(2)) & np.uint32(31))) & np.uint32(1))


@jit
def _word(raw: NDArray[np.uint8], at: int) -> int:
    low, high = raw[at] + (np.int64(raw[at + 1]) << 8), raw[at + 2] + (np.int64(raw[at + 3]) << 8)
    word: int = low + (high << 16)
    return word
