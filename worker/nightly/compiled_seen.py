"""Dumped seen sets taken apart in one loop: the compiled twin of `worker.store.intsets.members_of`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit
from worker.store import intsets
from worker.store.intsets import Fallback, Members

# Behind the last dump, so that a header may be looked for in anything.
_ROOM = bytes(16)


def members_of(dumps: Sequence[bytes | None], fallback: Fallback) -> tuple[Members, NDArray[np.int64]]:
    """The same members and counts, by the numpy path where one is no intset or has members beyond int32."""
    found = [dump or b"" for dump in dumps]
    joined = b"".join([*found, _ROOM])
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    members = np.empty(len(joined) // 2, np.int32)
    counts = np.zeros(len(found), np.int64)
    words = [np.frombuffer(joined, "<i4", offset=at, count=(len(joined) - at) // 4) for at in range(4)]
    size = take(np.frombuffer(joined, np.uint8), words[0], words[1], words[2], words[3], sizes, members, counts)
    return (members[:size], counts) if size >= 0 else intsets.members_of(dumps, fallback)


@jit
def take(raw: NDArray[np.uint8], words0: NDArray[np.int32], words1: NDArray[np.int32], words2: NDArray[np.int32],
         words3: NDArray[np.int32], sizes: NDArray[np.int64], members: NDArray[np.int32],
         counts: NDArray[np.int64]) -> int:
    """Fill ``members`` and ``counts`` (dumps,) and return how many there are; -1 for a dump that is left to others.

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
        whole = raw[begin] == 11 and form < 3 and at + width * count + 10 == begin + size
        if not whole or (width != 4 and width != 2):
            return -1
        begin += size
        counts[index] = count
        if width == 2:
            for i in range(count):
                members[filled + i] = np.int16(np.uint16(raw[at + 2 * i]) | np.uint16(raw[at + 2 * i + 1]) << 8)
        else:
            first, shift = at >> 2, at & 3
            if shift == 0:
                for i in range(count):
                    members[filled + i] = words0[first + i]
            elif shift == 1:
                for i in range(count):
                    members[filled + i] = words1[first + i]
            elif shift == 2:
                for i in range(count):
                    members[filled + i] = words2[first + i]
            else:
                for i in range(count):
                    members[filled + i] = words3[first + i]
        filled += count
    return filled


@jit
def _word(raw: NDArray[np.uint8], at: int) -> int:
    low, high = raw[at] + (np.int64(raw[at + 1]) << 8), raw[at + 2] + (np.int64(raw[at + 3]) << 8)
    word: int = low + (high << 16)
    return word
