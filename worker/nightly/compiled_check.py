"""Checks of compiled lists, compiled: the twins of `gates.count_repeats` and `space_check`.

They share no code and no tables with what makes the lists: seen items are looked up by item number, not by position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit

MASK = 0x7FFF


@jit
def count_repeats(entries: NDArray[np.uint16], lengths: NDArray[np.int32], members: NDArray[np.signedinteger[Any]],
                  offsets: NDArray[np.int64], items: NDArray[np.uint32], max_item: int) -> int:
    """Entries (users, limit) of finished lists that were seen, stand twice in their list, or name no item of the pool.

    User ``u`` has seen ``members[offsets[u]:offsets[u + 1]]``; ``items`` (pool,) are the pool's item numbers.
    """
    seen, listed = np.full(max_item + 1, -1, np.int32), np.full(len(items), -1, np.int32)
    repeats = 0
    for user in range(len(lengths)):
        for i in range(offsets[user], offsets[user + 1]):
            member = members[i]
            if 0 < member <= max_item:
                seen[member] = user
        for t in range(lengths[user]):
            position = entries[user, t] & MASK
            if position >= len(items):
                repeats += 1
                continue
            repeats += (seen[items[position]] == user) + (listed[position] == user)
            listed[position] = user
    return repeats


@jit
def avoidable(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], order: NDArray[np.int16],
              placed: NDArray[np.int32], category: NDArray[np.int32], kinds: int, gap: int,
              counts: NDArray[np.int32]) -> None:
    """Fill ``counts`` (users,) with what `space_check.avoidable_violations` counts, and places that are none.

    ``mixed`` (users, width), ``lengths`` (users,), ``order`` (users, limit) and ``placed`` (users,) are the lists;
    ``category`` (pool,) by position holds numbers below ``kinds``.
    """
    limit = order.shape[1]
    stood, left = np.full(kinds, -gap - 1), np.zeros(kinds, np.int32)
    kind, marks = np.zeros(limit, np.int32), np.zeros(limit, np.bool_)
    for user in range(len(placed)):
        begin, length = user * (limit + gap), lengths[user]  # places count on from user to user: nothing to clear
        found, size = 0, min(placed[user], length)
        outside = placed[user] - size
        for t in range(size):
            place = order[user, t]
            inside = 0 <= place < length
            kind[t] = category[mixed[user, place * inside] & MASK]
            outside += not inside
        for t in range(size):
            number = kind[t]
            marks[t] = begin + t - stood[number] <= gap
            stood[number] = begin + t
            found += marks[t]
        counts[user] = outside
        if found:
            counts[user] += _replay(mixed[user, :length], kind[:size], marks, category, gap, left)


@jit
def _replay(row: NDArray[np.uint16], kind: NDArray[np.int32], marks: NDArray[np.bool_], category: NDArray[np.int32],
            gap: int, left: NDArray[np.int32]) -> int:
    """Of the marked places, those where a clean order of the list exists or an item was left that is allowed.

    ``left`` (kinds,) is all 0, before and afterwards.
    """
    for i in range(len(row)):
        left[category[row[i] & MASK]] += 1
    clean = _fillable(left, len(kind), gap)
    wrong, stood = 0, np.full(len(left), -1)
    for t in range(len(kind)):
        if marks[t]:
            forbidden = 0
            for before in range(max(0, t - gap), t):
                forbidden += left[kind[before]] if stood[kind[before]] == before else 0
            wrong += clean or len(row) - t > forbidden
        left[kind[t]] -= 1
        stood[kind[t]] = t
    left[:] = 0
    return wrong


@jit
def _fillable(left: NDArray[np.int32], size: int, gap: int) -> bool:
    """Whether some ``size`` items of those ``left`` of each category have an order without a violation."""
    whole, part = divmod(size - 1, gap + 1)
    over, base = 0, 0
    for kind in range(len(left)):
        over += left[kind] > whole
        base += min(left[kind], whole)
    return base + min(over, part + 1) >= size
