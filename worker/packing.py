"""The binary formats shared with the edge (see docs/design.md), as numpy dtypes and functions.

All numbers are little endian. The Lua side reads the same bytes through FFI.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.keyspace import PARTITIONS

META = np.dtype(
    [("posted", "<u4"), ("expires", "<u4"), ("social", "<u4"), ("category", "<u2"), ("kind", "u1"), ("flags", "u1")]
)
STATS = np.dtype(
    [
        ("item", "<u4"),
        ("impressions", "<i4"),
        ("clicks", "<i4"),
        ("dwell_ms", "<u8"),
        ("reactions", "<u4"),
        ("conversions", "<u4"),
        ("hides", "<u4"),
    ]
)
KIND_TIMELY, KIND_EVERGREEN = 0, 1
KIND_NAMES = ("timely", "evergreen")
FLAG_HIDDEN, FLAG_REMOVED = 1, 2

LIST_HEADER = struct.Struct("<BBHII")
POOL_HEADER = struct.Struct("<8I")
STATS_HEADER = struct.Struct("<II")
POSITION_MASK = 0x7FFF
MISSED_EVERGREEN = 0x8000
POOL_LIMIT = 0x7FFF
VERSION = 1



class PackingError(ValueError):
    """Bytes that are not in the format they should be in; the message says which and why."""


@dataclass(frozen=True)
class UserList:
    """A published list: pool positions in order, and which of them are evergreen items the user missed."""

    generation: int
    made_at: int
    entries: NDArray[np.uint16]

    @property
    def positions(self) -> NDArray[np.uint16]:
        """Pool positions, shape (count,), uint16."""
        return self.entries & np.uint16(POSITION_MASK)


@dataclass(frozen=True)
class Pool:
    """A generation's items: top content, then new content, then the best evergreen items of past days."""

    generation: int
    moment: int
    max_item: int
    top_count: int
    new_count: int
    items: NDArray[np.uint32]


def pack_list(generation: int, made_at: int, entries: NDArray[np.uint16]) -> bytes:
    """A user list as bytes: header, then ``entries`` (count,) uint16 as they are."""
    return LIST_HEADER.pack(VERSION, 0, len(entries), generation, made_at) + entries.astype("<u2").tobytes()


def unpack_list(raw: bytes) -> UserList:
    """The list in ``raw``. Raises PackingError when the bytes are not one."""
    if len(raw) < LIST_HEADER.size:
        raise PackingError(f"a list of {len(raw)} bytes is shorter than its header")
    version, _, count, generation, made_at = LIST_HEADER.unpack_from(raw)
    if version != VERSION or len(raw) != LIST_HEADER.size + 2 * count:
        raise PackingError(f"a list of version {version}, {count} entries and {len(raw)} bytes")
    return UserList(generation, made_at, np.frombuffer(raw, "<u2", offset=LIST_HEADER.size))


def pack_pool(pool: Pool) -> bytes:
    """A pool as bytes. Raises PackingError when it holds more items than a list's positions can name."""
    extra = len(pool.items) - pool.top_count - pool.new_count
    if len(pool.items) > POOL_LIMIT or extra < 0:
        raise PackingError(f"a pool of {len(pool.items)} items; positions name at most {POOL_LIMIT}")
    header = POOL_HEADER.pack(
        VERSION, pool.generation, pool.moment, pool.max_item, pool.top_count, pool.new_count, extra, 0
    )
    return header + pool.items.astype("<u4").tobytes()


def unpack_pool(raw: bytes) -> Pool:
    """The pool in ``raw``. Raises PackingError when the bytes are not one."""
    if len(raw) < POOL_HEADER.size:
        raise PackingError(f"a pool of {len(raw)} bytes is shorter than its header")
    version, generation, moment, max_item, top, new, extra, _ = POOL_HEADER.unpack_from(raw)
    if version != VERSION or len(raw) != POOL_HEADER.size + 4 * (top + new + extra):
        raise PackingError(f"a pool of version {version}, {top + new + extra} items and {len(raw)} bytes")
    return Pool(generation, moment, max_item, top, new, np.frombuffer(raw, "<u4", offset=POOL_HEADER.size))


def pack_stats(applied: NDArray[np.uint64], rows: NDArray[Any]) -> bytes:
    """One day's statistics: ``applied`` (PARTITIONS,) roll-up ids, ``rows`` of dtype STATS sorted by item."""
    return STATS_HEADER.pack(VERSION, len(rows)) + applied.astype("<u8").tobytes() + rows.astype(STATS).tobytes()


def unpack_stats(raw: bytes | None) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    """``(applied, rows)`` as in pack_stats; zeros and no rows when there are no bytes yet."""
    if raw is None:
        return np.zeros(PARTITIONS, np.uint64), np.empty(0, STATS)
    start = STATS_HEADER.size + 8 * PARTITIONS
    version, count = STATS_HEADER.unpack_from(raw) if len(raw) >= start else (0, 0)
    if version != VERSION or len(raw) != start + STATS.itemsize * count:
        raise PackingError(f"statistics of version {version}, {count} rows and {len(raw)} bytes")
    applied = np.frombuffer(raw, "<u8", count=PARTITIONS, offset=STATS_HEADER.size)
    return applied.copy(), np.frombuffer(raw, STATS, offset=start)
