"""Mixing: ``f(last seen, shuffle(new)[:K]) + (top content - seen)``, best evergreen items included. Pure.

The share of new items falls with the days since the last visit:

    share(days) = share_min + (share_max - share_min) · 2^(-days / half_days)

so that someone who was here yesterday, and has read the best already, gets many, and someone away for weeks, whom
much good content awaits, gets few. New items stand at evenly spread positions; which ones, in which order and where
the first stands differs between users and is the same for one user all day: it follows from a hash of user, date and
seed. The best evergreen items of each day since the last visit move up into the first three quarters of what is
published of the top content, if they do not stand there already.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMPTY = -1
HEAD = 0.75  # part of the published top content that missed evergreen items must stand in
_U64 = np.uint64


@dataclass(frozen=True)
class Shares:
    """The parameters of ``f``: shares of new items at most and at least, and days in which the difference halves."""

    most: float = 0.5
    least: float = 0.1
    half_days: float = 4.0


@dataclass(frozen=True)
class Mixed:
    """Mixed lists: ``entries`` (users, width) int32 pool positions, EMPTY beyond ``lengths`` (users,) int32."""

    entries: NDArray[np.int32]
    lengths: NDArray[np.int32]


def new_share(days_away: NDArray[np.float64], shares: Shares) -> NDArray[np.float64]:
    """The share of new items, shape (users,), by days since the last visit (negative counts as 0); never rises."""
    away = np.maximum(days_away, 0.0)
    share: NDArray[np.float64] = shares.least + (shares.most - shares.least) * np.exp2(-away / shares.half_days)
    return share


def user_seeds(users: Sequence[bytes], day: int, seed: int) -> NDArray[np.uint64]:
    """A well-mixed 64-bit number for each user, day and seed, shape (users,): splitmix64 over the CRC-32 of the id.

    splitmix64 is by G. Steele, D. Lea and C. Flood 2014.
    """
    crc = np.fromiter(map(zlib.crc32, users), _U64, len(users))
    salt = _U64((day * 0x1000003 + seed * 0x9E3779B1 + 1) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        return splitmix64(crc + splitmix64(np.array([salt])))


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 for each element."""
    with np.errstate(over="ignore"):
        z = state + _U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
        return z ^ (z >> _U64(31))


def permutations(seeds: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """A permutation of 0…size-1 for each seed, shape (users, size).

    ``(a·j + b) mod p`` for the next prime p, kept where it is below size. The new items
    are shuffled once for all before; this only has to differ between users, cheaply.
    """
    if size == 0:
        return np.zeros((len(seeds), 0), np.int64)
    prime = _next_prime(size)
    step = (1 + seeds % _U64(max(prime - 1, 1))).astype(np.int64)
    start = (splitmix64(seeds) % _U64(prime)).astype(np.int64)
    values = (step[:, None] * np.arange(prime) + start[:, None]) % prime
    return values[values < size].reshape(len(seeds), size)


def _next_prime(size: int) -> int:
    candidate = max(size, 2)
    while any(candidate % factor == 0 for factor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


def pack_left(values: NDArray[np.int32], keep: NDArray[np.bool_], width: int) -> Mixed:
    """The kept ``values`` of each row, in order, moved to the left and cut at ``width``."""
    counts = keep.sum(axis=1)
    out = np.full(values.shape, EMPTY, np.int32)
    out[np.arange(values.shape[1]) < counts[:, None]] = values[keep]
    lengths = np.minimum(counts, width).astype(np.int32)
    if values.shape[1] < width:
        out = np.pad(out, ((0, 0), (0, width - values.shape[1])), constant_values=EMPTY)
    out = out[:, :width]
    return Mixed(out, lengths)


def raise_must(unseen: NDArray[np.bool_], must: NDArray[np.bool_], head: NDArray[np.int64], order: NDArray[np.int32],
               width: int) -> Mixed:
    """Top content of each user, best first, with every ``must`` item among the first ``head``.

    ``unseen``, ``must`` (users, n): by place in ``order`` (n,), which holds pool positions best first;
    ``head`` (users,) items. The best others fill the rest of the head; order by rank within the head and behind it.
    """
    must = must & unseen
    room = np.maximum(head - must.sum(axis=1), 0)
    others = unseen & ~must
    early = must | (others & (np.cumsum(others, axis=1) <= room[:, None]))
    table = np.broadcast_to(order, unseen.shape)
    first = pack_left(table, early, width)
    rest = pack_left(table, unseen & ~early, width)
    return _append(first, rest, width)


def _append(first: Mixed, rest: Mixed, width: int) -> Mixed:
    """Each row of ``rest`` behind the row of ``first``, cut at ``width``."""
    place = np.arange(width)[None, :]
    behind = place - first.lengths[:, None]
    moved = np.take_along_axis(rest.entries, np.clip(behind, 0, width - 1), axis=1)
    lengths = np.minimum(first.lengths + rest.lengths, width)
    entries = np.where(behind < 0, first.entries, moved)
    return Mixed(np.where(place < lengths[:, None], entries, EMPTY).astype(np.int32), lengths)


def interleave(top: Mixed, new: Mixed, share: NDArray[np.float64], phase: NDArray[np.float64], width: int) -> Mixed:
    """New items at evenly spread positions among the top content, shape (users, width).

    Position k takes a new item where ``floor((k + 1)·share + phase) > floor(k·share + phase)``; ``phase`` (users,) in
    [0, 1). When either side has no more, the other one fills the list.
    """
    place = np.arange(width + 1)
    steps = np.floor(place[None, :] * share[:, None] + phase[:, None])
    slot = steps[:, 1:] > steps[:, :-1]
    slot &= np.cumsum(slot, axis=1) <= new.lengths[:, None]
    from_top = np.cumsum(~slot, axis=1) - 1
    short = ~slot & (from_top >= top.lengths[:, None])
    slot |= short
    from_new = np.cumsum(slot, axis=1) - 1
    from_top = np.cumsum(~slot, axis=1) - 1
    entries = np.where(slot, _take(new, from_new), _take(top, from_top))
    lengths = np.minimum(top.lengths + new.lengths, width)
    inside = np.arange(width)[None, :] < lengths[:, None]
    return Mixed(np.where(inside, entries, EMPTY).astype(np.int32), lengths.astype(np.int32))


def _take(lists: Mixed, ranks: NDArray[np.int64]) -> NDArray[np.int32]:
    last = lists.entries.shape[1] - 1
    if last < 0:
        return np.full(ranks.shape, EMPTY, np.int32)
    return np.take_along_axis(lists.entries, np.clip(ranks, 0, last), axis=1)
