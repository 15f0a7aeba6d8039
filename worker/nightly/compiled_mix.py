"""Subtracting and mixing as one loop over users: the compiled twin of `subtract` and of `compose`'s `_mixed`.

A list takes at most a few hundred items of a pool of thousands, so each side is walked only as far as the list needs.
Nothing of the size users x pool is made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit

FLAG = 0x8000  # in a mixed entry: a best evergreen item that the user missed


class Pool(NamedTuple):
    """What a plan says, for the loops. Positions are pool positions.

    ``table`` (max_item + 2,) uint16: the position of an item number, ``size`` where the pool has no such item.
    ``must`` int32: the best evergreen items in the order of rank, once for each day of a last visit;
    day ``d`` (an index) has ``must[must_starts[d]:must_starts[d + 1]]``.
    """

    table: NDArray[np.uint16]
    must: NDArray[np.int32]
    must_starts: NDArray[np.int64]
    size: int
    top_count: int
    new_count: int
    prime: int


class Visits(NamedTuple):
    """One value for each user: ``head``, ``share``, ``phase`` as in `mix`; ``day`` an index into ``must_starts``;
    ``start`` and ``step`` of the user's permutation of new items.
    """

    head: NDArray[np.int64]
    share: NDArray[np.float64]
    phase: NDArray[np.float64]
    day: NDArray[np.int64]
    start: NDArray[np.int64]
    step: NDArray[np.int64]


@jit
def mix_lists(members: NDArray[np.signedinteger[Any]], offsets: NDArray[np.int64], pool: Pool, visits: Visits,
              rows: NDArray[np.int64], width: int, mixed: NDArray[np.uint16], lengths: NDArray[np.int32],
              musts: NDArray[np.int32]) -> None:
    """Fill ``rows`` of ``mixed`` (users, width or more), ``lengths`` and ``musts`` (users,), the unseen best evergreen
    items. A narrower list is the beginning of a wider one.

    User ``u`` has seen the items ``members[offsets[u]:offsets[u + 1]]``; 0 is none. An entry is a pool position, with
    FLAG set where it is one of ``musts``; what stands beyond the length is undefined.
    """
    marks, stamp = np.zeros(pool.size + 1, np.uint8), 0
    wanted = np.empty(len(pool.must) + 1, np.int32)
    new, slots, others = np.empty(width + 1, np.uint16), np.empty(width + 1, np.int32), np.empty(width + 1, np.int32)
    places, steps = np.arange(width + 1).astype(np.float64), np.empty(width + 1, np.int32)
    for user in rows:
        stamp = stamp % 255 + 1
        if stamp == 1:
            marks[:] = 0
        _mark_seen(members, offsets[user], offsets[user + 1], pool.table, marks, stamp)
        day = visits.day[user]
        count = _collect_must(pool.must, pool.must_starts[day], pool.must_starts[day + 1], marks, stamp, wanted)
        need = _divide(visits.share[user], visits.phase[user], places, steps, slots, others)
        step, value, walked = visits.step[user], visits.start[user], 0
        got, value, walked = _walk_new(pool, step, value, walked, need, marks, stamp, new, 0)
        for k in range(slots[got], width + 1):  # new items may run out: the places left go to top content
            others[k - got] = k
        best = max(visits.head[user] - count, 0)
        ready = _walk_top(pool, wanted, count, best, width - got, marks, stamp, others, mixed[user, :width])
        if ready + got < width:
            got, value, walked = _walk_new(pool, step, value, walked, width - ready, marks, stamp, new, got)
        for i in range(min(got, need)):
            mixed[user, slots[i]] = new[i]
        lengths[user] = ready + got
        for k in range(others[ready], ready + got):  # top content has run out: new items go on without a gap
            mixed[user, k] = new[k - ready]
        musts[user] = count


@jit
def _mark_seen(members: NDArray[np.signedinteger[Any]], start: int, end: int, table: NDArray[np.uint16],
               marks: NDArray[np.uint8], stamp: int) -> None:
    """What is no item number and items outside the pool mark the place behind the pool."""
    size = len(table)
    for i in range(start, end):
        member = members[i]
        item = member if 0 < member < size else 0
        marks[table[item]] = stamp


@jit
def _collect_must(must: NDArray[np.int32], start: int, end: int, marks: NDArray[np.uint8], stamp: int,
                  wanted: NDArray[np.int32]) -> int:
    """The unseen ones into ``wanted``, by rank; marked, so that they are no others. Returns how many."""
    count = 0
    for i in range(start, end):
        position = must[i]
        wanted[count] = position
        count += marks[position] != stamp
        marks[position] = stamp
    return count


@jit
def _divide(share: float, phase: float, places: NDArray[np.float64], steps: NDArray[np.int32],
            slots: NDArray[np.int32], others: NDArray[np.int32]) -> int:
    """Which places are ``slots`` of new items, by the arithmetic of `mix.interleave`, and which are ``others``.

    Both end with the width. Returns how many slots there are. Truncating is ``floor``, as nothing is negative.
    """
    for k in range(len(steps)):
        steps[k] = np.int32(places[k] * share + phase)
    width, need = len(steps) - 1, 0
    for k in range(width):
        slots[need] = k
        others[k - need] = k
        need += steps[k + 1] > steps[k]
    slots[need] = width
    others[width - need] = width
    return need


@jit
def _walk_new(pool: Pool, step: int, value: int, walked: int, need: int, marks: NDArray[np.uint8], stamp: int,
              new: NDArray[np.uint16], got: int) -> tuple[int, int, int]:
    """Go on with the permutation until ``new`` holds ``need`` items; returns its length and where the walk stands.

    The walk is as long as what is missing, then again, so that its inside has no branch to guess.
    """
    last = pool.new_count - 1
    while got < need and walked < pool.prime and last >= 0:
        more = min(need - got, pool.prime - walked)
        for _ in range(more):
            position = pool.top_count + min(value, last)
            new[got] = position
            got += (value <= last) & (marks[position] != stamp)
            value += step
            value -= pool.prime if value >= pool.prime else 0
        walked += more
    return got, value, walked


@jit
def _walk_top(pool: Pool, wanted: NDArray[np.int32], count: int, best: int, need: int, marks: NDArray[np.uint8],
              stamp: int, others: NDArray[np.int32], row: NDArray[np.uint16]) -> int:
    """The first ``need`` items of the user's top content into ``row`` at ``others``; returns how many there are.

    These are the ``count`` wanted ones among the ``best`` unmarked ones by rank, then what is left of the wanted, then
    the rest.
    """
    position, got = 0, 0
    for i in range(count):
        most = min(got + best, need)
        position, now = _walk_others(pool, position, wanted[i], most, marks, stamp, others, row, got)
        best -= now - got
        if now == need:
            return now
        row[others[now]] = wanted[i] | FLAG
        got = now + 1
    return _walk_others(pool, position, pool.size, need, marks, stamp, others, row, got)[1]


@jit
def _walk_others(pool: Pool, position: int, end: int, need: int, marks: NDArray[np.uint8], stamp: int,
                 others: NDArray[np.int32], row: NDArray[np.uint16], got: int) -> tuple[int, int]:
    """Append unmarked items, new ones left out, until there are ``need``; returns the next position, and how many."""
    while got < need and position < end:
        if pool.top_count <= position < pool.top_count + pool.new_count:
            position = pool.top_count + pool.new_count
        until = pool.top_count if position < pool.top_count else end
        until = min(until, end, position + need - got)
        for candidate in range(position, until):
            row[others[got]] = candidate
            got += marks[candidate] != stamp
        position = max(position, until)
    return position, got
