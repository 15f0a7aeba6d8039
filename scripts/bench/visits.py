"""Users with mixed visit rhythms and what they have seen, a block of users at a time, as arrays. Pure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.bench.item_year import DAY, SLOTS, Year
from worker.keyspace import BUCKET_DAYS, PARTITIONS
from worker.seen_set import word_of

Ints = NDArray[np.int64]
ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
NAME = 22  # characters of an anonymous id behind its "a-"
SPREAD = 0.5  # sigma of the log-normal number of impressions
MOST = 6.0  # times the mean that one user sees at most


@dataclass(frozen=True)
class Rhythm:
    """A way to visit: part of all users, days between visits, last and first visit in days before the run, volume."""

    name: str
    share: float
    step: int
    last: tuple[int, int]
    first: tuple[int, int]
    volume: float


RHYTHMS = (
    Rhythm("daily", 0.35, 1, (1, 2), (59, 59), 1.5),
    Rhythm("weekly", 0.30, 7, (1, 7), (52, 59), 1.0),
    Rhythm("fortnightly", 0.15, 14, (1, 14), (43, 59), 0.5),
    Rhythm("lapsed", 0.12, 2, (15, 50), (55, 59), 0.6),
    Rhythm("newcomers", 0.08, 1, (1, 3), (3, 6), 0.3),
)


@dataclass(frozen=True)
class People:
    """A block of users; arrays (users,). ``last`` and ``first`` visits in days before the run, ``step`` days apart."""

    ids: list[str]
    crc: NDArray[np.uint32]
    last: Ints
    first: Ints
    step: Ints
    draws: Ints  # impressions, of which those of the same item count once
    last_seen_ms: Ints

    @property
    def partition(self) -> Ints:
        """The partition of each user, as worker.keyspace.partition_of gives it."""
        return self.crc.astype(np.int64) % PARTITIONS


@dataclass(frozen=True)
class Seen:
    """Seen sets of a block: that of user ``u`` has the words ``words[start[u]:start[u + 1]]``, ascending, and
    ``bucket[u]`` is the newest in it."""

    bucket: Ints
    start: Ints
    words: Ints


def people(count: int, day: int, per_user: float, rng: np.random.Generator) -> People:
    """``count`` users of a run on ``day`` (days since 1970) with ``per_user`` impressions on average."""
    names = ALPHABET[rng.integers(0, len(ALPHABET), (count, NAME))].tobytes().decode()
    ids = [f"a-{names[at : at + NAME]}" for at in range(0, NAME * count, NAME)]
    kind = rng.choice(len(RHYTHMS), count, p=[rhythm.share for rhythm in RHYTHMS])
    last, first = (_between([getattr(rhythm, end) for rhythm in RHYTHMS], kind, rng) for end in ("last", "first"))
    volume = np.array([rhythm.volume for rhythm in RHYTHMS])
    mean = sum(rhythm.share * rhythm.volume for rhythm in RHYTHMS)
    factor = volume[kind] / mean * rng.lognormal(-SPREAD * SPREAD / 2, SPREAD, count)
    return People(
        ids=ids,
        crc=np.fromiter((zlib.crc32(user.encode()) for user in ids), np.uint32, count),
        last=last,
        first=np.maximum(first, last),
        step=np.array([rhythm.step for rhythm in RHYTHMS])[kind],
        draws=np.maximum(np.rint(per_user * np.minimum(factor, MOST)), 1).astype(np.int64),
        last_seen_ms=((day - last) * DAY + rng.integers(0, DAY, count)) * 1000 + rng.integers(0, 1000, count),
    )


def _between(ranges: list[tuple[int, int]], kind: Ints, rng: np.random.Generator) -> Ints:
    low, high = np.array(ranges).T
    drawn: Ints = rng.integers(low[kind], high[kind] + 1)
    return drawn


def seen(users: People, year: Year, tables: NDArray[np.uint32], rng: np.random.Generator) -> Seen:
    """What ``users`` have seen and clicked: each item once, in the bucket of the visit that showed it first."""
    row = np.repeat(np.arange(len(users.ids)), users.draws)
    visits = (users.first - users.last) // users.step + 1
    back = users.last[row] + users.step[row] * np.floor(rng.random(len(row)) * visits[row]).astype(np.int64)
    number = tables[back - 1, rng.integers(0, SLOTS, len(row))].astype(np.int64)
    drawn = np.sort(row << 40 | number << 8 | (255 - back))
    drawn = drawn[np.r_[True, np.diff(drawn >> 8) != 0]]
    row, number, back = drawn >> 40, drawn >> 8 & 0xFFFFFFFF, 255 - (drawn & 0xFF)
    bucket = (year.day - back) // BUCKET_DAYS
    clicked = rng.random(len(row)) < year.click_rate[number - 1]
    start = np.searchsorted(row, np.arange(len(users.ids) + 1))
    return Seen(np.maximum.reduceat(bucket, start[:-1]), start, word_of(number, bucket, clicked.astype(np.int64)))


def draws_for(seen_per_user: float, year: Year, tables: NDArray[np.uint32], seed: int) -> float:
    """Impressions to draw a user so that ``seen_per_user`` different items remain on average."""
    draws = seen_per_user
    for _ in range(4):
        rng = np.random.default_rng(seed)
        sample = people(2000, year.day, draws, rng)
        draws *= seen_per_user * len(sample.ids) / len(seen(sample, year, tables, rng).words)
    return draws
