"""Statistics: the edge's live counters, rolled up to one packed row an item and day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.keyspace import DAY_SECONDS, PARTITIONS
from worker.packing import STATS, pack_stats, unpack_stats
from worker.store.connect import Store
from worker.store.generations import Turn, fenced, refused

Fields = dict[bytes, bytes]
LETTERS = {"i": "impressions", "c": "clicks", "d": "dwell_ms", "r": "reactions", "v": "conversions", "h": "hides"}
KEPT_DAYS = 100


def roll_up(store: Store, days: Sequence[int], turn: Turn) -> None:
    """Move the live counters of ``days`` into the packed rows, each exactly once whatever is killed when.

    A day's counters of a partition are renamed under the turn's token; the row that holds them says so; only then the
    renamed key goes. A run that finds a renamed key looks whether the row has it already. Raises what ``fenced`` does.
    """
    pipe = store.redis.pipeline(transaction=False)
    for day in days:
        for partition in range(PARTITIONS):
            keys = [keyspace.partition_key(name, partition, day) for name in ("count", "taken")]
            pipe.fcall("nightfeed_take", 2, *keys, turn.token)
    replies = pipe.execute()
    for index, day in enumerate(days):
        taken = {p: reply for p in range(PARTITIONS) if (reply := replies[index * PARTITIONS + p])}
        if taken:
            found = {p: dict(zip(reply[::2], reply[1::2], strict=True)) for p, reply in taken.items()}
            _apply(store, turn, day, found)


def _apply(store: Store, turn: Turn, day: int, taken: dict[int, Fields]) -> None:
    ids = {partition: int(fields.pop(b"id")) for partition, fields in taken.items()}
    with fenced(store, turn) as pipe:
        applied, rows = unpack_stats(_packed(store, day))
        rows = merge([rows, *_not_yet(taken, ids, applied)])
        packed = pack_stats(applied, rows)
        pipe.set(keyspace.key("stats", day), packed, exat=(day + KEPT_DAYS) * DAY_SECONDS)
    drops = store.redis.pipeline(transaction=False)
    for partition, number in ids.items():
        drops.fcall("nightfeed_drop", 1, keyspace.partition_key("taken", partition, day), number, turn.server)
    with refused():
        drops.execute()


def _not_yet(taken: dict[int, Fields], ids: dict[int, int], applied: NDArray[np.uint64]) -> Iterable[NDArray[Any]]:
    """Rows of the takings that ``applied`` does not hold yet, which is brought up to date."""
    for partition, fields in taken.items():
        number = ids[partition]
        if applied[partition] != number:
            applied[partition] = number
            yield parse_counters(fields)


def parse_counters(fields: Fields) -> NDArray[Any]:
    """Counters as the edge keeps them, ``<number><letter>`` to count, as rows of dtype STATS (one letter a row)."""
    rows = np.zeros(len(fields), STATS)
    for row, (field, value) in zip(rows, fields.items(), strict=True):
        row["item"] = int(field[:-1])
        row[LETTERS[chr(field[-1])]] = int(value)
    return rows


def merge(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of dtype STATS added up, one an item, sorted by item."""
    rows = np.concatenate(parts) if parts else np.empty(0, STATS)
    items, place = np.unique(rows["item"], return_inverse=True)
    merged = np.zeros(len(items), STATS)
    merged["item"] = items
    for name in LETTERS.values():
        merged[name] = np.bincount(place, rows[name].astype(np.float64), len(items)).round().astype(STATS[name])
    return merged


def _packed(store: Store, day: int) -> bytes | None:
    return cast(bytes | None, store.redis.get(keyspace.key("stats", day)))


def peek(store: Store, days: Sequence[int]) -> NDArray[Any]:
    """Rows of live counters not rolled up yet, read only: what a dry run adds to the packed ones."""
    found: list[NDArray[Any]] = []
    for day in days:
        applied, _ = unpack_stats(_packed(store, day))
        pipe = store.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hgetall(keyspace.partition_key("count", partition, day))
            pipe.hgetall(keyspace.partition_key("taken", partition, day))
        replies = pipe.execute()
        found += [parse_counters(fields) for fields in replies[::2] if fields]
        for partition, fields in enumerate(replies[1::2]):
            if fields and int(fields.pop(b"id")) != applied[partition]:
                found.append(parse_counters(fields))
    return merge(found)


def totals(store: Store, days: Sequence[int]) -> NDArray[Any]:
    """Rolled-up rows of all ``days`` added up, one row of dtype STATS an item."""
    pipe = store.redis.pipeline(transaction=False)
    for day in days:
        pipe.get(keyspace.key("stats", day))
    return merge([unpack_stats(raw)[1] for raw in pipe.execute()])
