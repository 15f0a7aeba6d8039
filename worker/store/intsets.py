"""Takes many dumped sets of integers apart at once, whatever their widths."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Members = NDArray[np.signedinteger[Any]]
Fallback = Callable[[int], Collection[bytes | str]]
Unpack = Callable[[Sequence[bytes | None], Fallback], tuple[Members, NDArray[np.int64]]]

# An intset's content: width and count of its integers, 4 bytes each, then the integers. The first eight bytes of no
# other set of integers, and of no compressed intset, look like a width of 2, 4 or 8 and a count that fits the size.
_HEADER = struct.Struct("<II")
_WIDTHS = (2, 4, 8)
# A dump (RDB format) is a byte of type, the content's length in one, two or five bytes, the content, and ten bytes of
# footer. How long the length is follows from the size of the whole.
_SHORT, _MIDDLE = 2 + 63 + 10, 3 + 16_383 + 10


def members_of(dumps: Sequence[bytes | None], fallback: Fallback) -> tuple[Members, NDArray[np.int64]]:
    """Members of dumped sets: ``(members, counts)``, those of the first dump first; ``counts`` (dumps,) int64.

    ``members`` (n,) is int32, or int64 when one does not fit. None is a key that is not there. Members of a dump that
    is no plain intset are what ``fallback(index)`` gives, as decimal text.
    """
    contents = [
        b"" if dump is None else
        dump[2:-10] if len(dump) <= _SHORT else dump[3:-10] if len(dump) <= _MIDDLE else dump[6:-10]
        for dump in dumps
    ]  # fmt: skip
    joined, sizes = _joined(contents)
    widths, counts = _headers(joined, sizes)
    strange = np.flatnonzero((sizes > 0) & ((widths == 0) | (sizes != _HEADER.size + widths * counts)))
    if len(strange):
        for index in strange.tolist():
            contents[index] = _widest(fallback(index))
        joined, sizes = _joined(contents)
        widths, counts = _headers(joined, sizes)
    used = [width for width in _WIDTHS if (widths == width).any()]
    if len(used) > 1:
        return _mixed(contents, widths, counts), counts
    return _flat(joined, sizes, used[0] if used else 4), counts


def _joined(contents: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    """All contents in one, with room for a header behind them, and their sizes."""
    return b"".join([*contents, bytes(_HEADER.size)]), np.fromiter(map(len, contents), np.int64, len(contents))


def _headers(joined: bytes, sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Width and count of each content; 0 and 0 for an empty one and for what is no width of integers."""
    starts = np.cumsum(sizes) - sizes
    cells = np.frombuffer(joined, np.uint8)[starts[:, None] + np.arange(_HEADER.size)]
    widths, counts = cells.view("<u4").astype(np.int64).T
    known = (sizes > 0) & ((widths == 2) | (widths == 4) | (widths == 8))
    return widths * known, counts * known


def _flat(joined: bytes, sizes: NDArray[np.int64], width: int) -> Members:
    """The integers of contents that all have the same width, without their headers."""
    items = np.frombuffer(joined, f"<i{width}", count=int(sizes.sum()) // width)
    keep = np.ones(len(items), np.bool_)
    starts = ((np.cumsum(sizes) - sizes) // width)[sizes > 0]
    for place in range(_HEADER.size // width):
        keep[starts + place] = False
    found: Members = items[keep].astype(np.int64 if width == 8 else np.int32, copy=False)
    return found


def _mixed(contents: Sequence[bytes], widths: NDArray[np.int64], counts: NDArray[np.int64]) -> Members:
    """The integers of contents of several widths, each width at once, put in order."""
    found: Members = np.empty(int(counts.sum()), np.int64 if (widths == 8).any() else np.int32)
    firsts = np.cumsum(counts) - counts
    for width in _WIDTHS:
        chosen = np.flatnonzero(widths == width)
        joined, sizes = _joined([contents[index] for index in chosen.tolist()])
        each = counts[chosen]
        within = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
        found[np.repeat(firsts[chosen], each) + within] = _flat(joined, sizes, width)
    return found


def _widest(members: Collection[bytes | str]) -> bytes:
    """Members given as text, as the content of an intset."""
    numbers = np.array([int(member) for member in members], "<i8")
    return _HEADER.pack(8, len(numbers)) + numbers.tobytes()
