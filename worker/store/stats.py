"""Statistics: what the edge counted, rolled up to one packed row an item and day.

Counts of a day and partition are words of 32 bits, little endian: ``item (25) | code (3)``, and after one for a dwell a
word with its milliseconds. A day's row may be below zero where a person's two counts became one, the other count being
of a later day. What a run has taken to roll it up has 8 bytes more, the id of the taking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.keyspace import DAY_SECONDS, ITEM_BITS, MAX_ITEM, PARTITIONS
from worker.packing import STATS, pack_stats, unpack_stats
from worker.store.connect import Store
from worker.store.generations import Turn, fenced, refused
from worker.store.strings import read_string

CODES = {1: "impressions", 2: "clicks", 3: "dwell_ms", 4: "reactions", 5: "conversions", 6: "hides"}
# What two people counted who turned out to be one: lua/redis/identify.lua takes one of each back.
TAKEN_BACK = {0: "impressions", 7: "clicks"}
DWELL = 3
KEPT_DAYS = 100
ID_BYTES = 8


def roll_up(store: Store, days: Sequence[int], turn: Turn) -> None:
    """Move the counts of ``days`` into the packed rows, each exactly once whatever is killed when.

    A day's counts of a partition are renamed under the turn's token; the row that holds them says so; only then the
    renamed key goes. A run that finds a renamed key looks whether the row has it already. Raises what ``fenced`` does.
    """
    for day in days:
        pipe = store.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            keys = [keyspace.partition_key(name, partition, day) for name in ("count", "taken")]
            pipe.fcall("nightfeed_take", 2, *keys, turn.token)
        taken = [partition for partition, size in enumerate(pipe.execute()) if size]
        if taken:
            _apply(store, turn, day, taken)


def _apply(store: Store, turn: Turn, day: int, taken: Sequence[int]) -> None:
    ids: dict[int, int] = {}
    with fenced(store, turn) as pipe:
        applied, rows = unpack_stats(_packed(store, day))
        rows = merge([rows, *_not_yet(store, day, taken, applied, ids)])
        packed = pack_stats(applied, rows)
        pipe.set(keyspace.key("stats", day), packed, exat=(day + KEPT_DAYS) * DAY_SECONDS)
    drops = store.redis.pipeline(transaction=False)
    for partition, number in ids.items():
        drops.fcall("nightfeed_drop", 1, keyspace.partition_key("taken", partition, day), number, turn.server)
    with refused():
        drops.execute()


def _not_yet(store: Store, day: int, taken: Sequence[int], applied: NDArray[np.uint64],
             ids: dict[int, int]) -> Iterator[NDArray[Any]]:
    """Rows of the takings that ``applied`` does not hold yet, which is brought up to date, as are their ``ids``."""
    for partition in taken:
        raw = read_string(store.redis, keyspace.partition_key("taken", partition, day))
        if len(raw) < ID_BYTES:  # another run has rolled it up and dropped it
            continue
        ids[partition] = number = int.from_bytes(raw[-ID_BYTES:], "little")
        if applied[partition] != number:
            applied[partition] = number
            yield parse_counts(raw[:-ID_BYTES])


def parse_counts(raw: bytes) -> NDArray[Any]:
    """Counts as the edge appends them, added up: rows of dtype STATS, one an item, sorted by item."""
    words = np.frombuffer(raw, "<u4", count=len(raw) // 4)
    codes, items = words >> np.uint32(ITEM_BITS), words & np.uint32(MAX_ITEM)
    dwells = np.flatnonzero(codes[:-1] == DWELL)  # a day's milliseconds, the most of a dwell, have a lower code
    counted = np.ones(len(words), np.bool_)
    counted[dwells + 1] = False
    by = np.ones(len(words), np.float64)
    by[dwells] = words[dwells + 1]
    codes, items, by = codes[counted], items[counted], by[counted]
    known, place = np.unique(items, return_inverse=True)
    rows = np.zeros(len(known), STATS)
    rows["item"] = known
    for code, name in CODES.items():
        chosen = codes == code
        rows[name] = np.bincount(place[chosen], by[chosen], len(known)).astype(STATS[name])
    for code, name in TAKEN_BACK.items():
        rows[name] -= np.bincount(place[codes == code], minlength=len(known)).astype(STATS[name])
    return rows


def merge(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of dtype STATS added up, one an item, sorted by item."""
    rows = np.concatenate(parts) if parts else np.empty(0, STATS)
    items, place = np.unique(rows["item"], return_inverse=True)
    merged = np.zeros(len(items), STATS)
    merged["item"] = items
    for name in CODES.values():
        merged[name] = np.bincount(place, rows[name].astype(np.float64), len(items)).round().astype(STATS[name])
    return merged


def _packed(store: Store, day: int) -> bytes | None:
    return read_string(store.redis, keyspace.key("stats", day)) or None


def peek(store: Store, days: Sequence[int]) -> NDArray[Any]:
    """Rows of counts not rolled up yet, read only: what a dry run adds to the packed ones."""
    found: list[NDArray[Any]] = []
    for day in days:
        applied, _ = unpack_stats(_packed(store, day))
        pipe = store.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.exists(keyspace.partition_key("count", partition, day))
            pipe.exists(keyspace.partition_key("taken", partition, day))
        there = pipe.execute()
        counting = [p for p in range(PARTITIONS) if there[2 * p]]
        found += [parse_counts(read_string(store.redis, keyspace.partition_key("count", p, day))) for p in counting]
        found += _not_yet(store, day, [p for p in range(PARTITIONS) if there[2 * p + 1]], applied, {})
    return merge(found)


def totals(store: Store, days: Sequence[int]) -> NDArray[Any]:
    """Rolled-up rows of all ``days`` added up, one row of dtype STATS an item."""
    return merge([unpack_stats(_packed(store, day))[1] for day in days])
