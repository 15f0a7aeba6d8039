"""Writes a year of items, their statistics and users with what they saw into Redis, as production code would have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import orjson
from numpy.typing import NDArray

from scripts.bench import item_year, visits
from scripts.bench.item_year import DAY, ITEMS, Year
from scripts.bench.pipe import Pipe, bulk, packed
from scripts.bench.visits import People, Seen
from worker import keyspace
from worker.catalogue.item import rfc3339
from worker.keyspace import DAY_SECONDS, PARTITIONS, partition_key
from worker.packing import FLAG_REMOVED, pack_stats
from worker.store.connect import Store
from worker.store.stats import KEPT_DAYS

PARTS = 6  # in which a seen set is written
BATCH = 500  # items a call, as many as worker.store.items puts at once
USERS = 4000  # whose keys are packed at once
BLURB = "What a card of this size says about it, in a line or two of plain text. " * 2


def catalogue(store: Store, year: Year, blurb: str = BLURB) -> None:
    """Put every item of the year, those that were removed since as removed ones. ``blurb`` is in the data of each."""
    keys = [keyspace.key(name) for name in ("ids", "categories", "records", "meta", "version", "changes")]
    removed = year.removed
    for start in range(0, ITEMS, BATCH):
        rows = range(start, min(start + BATCH, ITEMS))
        cells = [cell for row in rows for cell in _item(year, row, bool(removed[row]), blurb)]
        store.redis.fcall("nightfeed_put", len(keys), *keys, *cells)


def _item(year: Year, row: int, removed: bool, blurb: str) -> tuple[str | bytes | int, ...]:
    """What nightfeed_put takes for one item."""
    posted, name, category = int(year.posted[row]), f"item-{row + 1}", f"category {year.category[row] + 1}"
    kind = int(year.evergreen[row])
    record = {"id": name, "category": category, "kind": ("timely", "evergreen")[kind], "posted_at": rfc3339(posted),
              "data": {"title": f"Item {row + 1}", "url": f"/items/{row + 1}", "text": blurb}}
    flags = FLAG_REMOVED if removed else 0
    return (name, category, b"" if removed else orjson.dumps(record), posted, 0, int(year.social[row]), kind, flags)


def statistics(store: Store, year: Year, rng: np.random.Generator) -> None:
    """The rolled-up statistics of the days whose impressions users have, as nightly runs leave them."""
    for day in range(year.day - item_year.WINDOW, year.day):
        raw = pack_stats(np.zeros(PARTITIONS, np.uint64), item_year.statistics(year, day, rng))
        store.redis.set(keyspace.key("stats", day), raw, exat=(day + KEPT_DAYS) * DAY_SECONDS)


class Filler:
    """Adds users to a store, block by block: the same ones for the same seed and sizes."""

    def __init__(self, store: Store, year: Year, seen_per_user: float, seed: int) -> None:
        self._store, self._year, self._seed = store, year, seed
        self._tables = item_year.shown_tables(year, np.random.default_rng([seed, 2]))
        self._draws = visits.draws_for(seen_per_user, year, self._tables, seed)
        self.ids: list[str] = []
        self.words = 0

    def fill(self, users: int) -> Iterator[int]:
        """Add users until there are ``users``; gives their number after each block."""
        with Pipe(self._store.run) as pipe:
            while len(self.ids) < users:
                rng = np.random.default_rng([self._seed, 3, len(self.ids)])
                block = visits.people(min(USERS, users - len(self.ids)), self._year.day, self._draws, rng)
                seen = visits.seen(block, self._year, self._tables, rng)
                pipe.send(b"".join(self._sets(block, seen)), (PARTS + 1) * len(block.ids))
                pipe.send(*_visitors(block))
                self._count(block, seen)
                yield len(self.ids)

    def _count(self, block: People, seen: Seen) -> None:
        self.ids += block.ids
        self.words += len(seen.words)

    def _sets(self, block: People, seen: Seen) -> Iterator[bytes]:
        """APPEND, in a few parts as beacons do, so that Redis gives it as much memory; EXPIREAT, of every seen set."""
        raw = seen.words.astype("<u4").tobytes()
        expiries = expiry(block.crc, seen.bucket, self._store.settings.window_days)
        heads = [partition_key("seen", partition, "").encode() for partition in range(PARTITIONS)]
        owners = zip(block.ids, block.partition.tolist(), expiries.tolist(), strict=True)
        for (user, partition, expires), (start, stop) in zip(owners, pairwise((4 * seen.start).tolist()), strict=True):
            key = bulk(heads[partition] + user.encode())
            ends = [start + (stop - start) // 4 * part // PARTS * 4 for part in range(PARTS)]
            for first, last in pairwise([*ends, stop]):
                yield b"*3\r\n$6\r\nAPPEND\r\n" + key + bulk(raw[first:last])
            yield b"*3\r\n$8\r\nEXPIREAT\r\n" + key + b"$10\r\n%d\r\n" % expires



def expiry(crc: NDArray[np.uint32], bucket: NDArray[np.int64], window_days: int) -> NDArray[np.int64]:
    """worker.keyspace.bucket_expiry for arrays: ``crc`` is the CRC-32 of each user's id."""
    end = (bucket + 1) * keyspace.BUCKET_DAYS
    result: NDArray[np.int64] = (end + window_days) * DAY_SECONDS + crc.astype(np.int64) % DAY
    return result


def _visitors(block: People) -> tuple[bytes, int]:
    """ZADD of each partition's users, and how many commands that are."""
    words: dict[int, list[bytes]] = {}
    for user, partition, last in zip(block.ids, block.partition.tolist(), block.last_seen_ms.tolist(), strict=True):
        words.setdefault(partition, []).extend((b"%d" % last, user.encode()))
    commands = [packed(b"ZADD", partition_key("users", partition).encode(), *words[partition]) for partition in words]
    return b"".join(commands), len(commands)
