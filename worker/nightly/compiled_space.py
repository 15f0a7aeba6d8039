"""Spacing one list at a time: the compiled twin of `space`, but for the rows that need `compiled_exact`.

The rules, the closed form and its proof stand in `space`. Here is what makes them cheap for a single row.

*Greedy by item.* "At each position the best allowed item" is the same as "each item, best first, at the first free
position from which its category is allowed": a better item that could stand there would have taken the place. So one
pass over the items does it, with the free position found in a bit set, and nothing is searched at each step.

*Few looks.* With R positions left, k = gap + 1 and F(q) the sum of min(n_c, q): in i more placements F(q) falls by at
most i, as R does. While F(q) >= R now, B > R - s - 1 holds as long as at least q k + 1 positions are left, and nothing
is tight. A look finds the least such q, and so the next position that needs a look: some three in a list of 200. The
pass is made first and looked at afterwards. It is right up to the first item that spoils the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit, lowest_bit

MASK = 0x7FFF
NONE = -1
WORD = 64


class Scratch(NamedTuple):
    """Memory for one row: ``ready`` and ``left`` of its categories, ``kind`` of its items, ``free`` positions as bits."""

    ready: NDArray[np.int32]
    left: NDArray[np.int32]
    kind: NDArray[np.int32]
    free: NDArray[np.uint64]


@jit
def space_lists(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], rows: NDArray[np.int64],
                category: NDArray[np.int32], kinds: int, gap: int, order: NDArray[np.int16],
                right: NDArray[np.int32]) -> None:
    """Space ``rows`` of ``mixed`` (users, width) into ``order`` (users, limit), places in ``mixed``, NONE at the end.

    ``category`` (pool,) by position holds numbers below ``kinds``. ``right`` (users,): so many places of the row hold
    what `space` puts there; all of them, or the row must be finished by `compiled_exact`.
    """
    width, limit = mixed.shape[1], order.shape[1]
    numbers, most = np.full(kinds, NONE, np.int32), kinds if kinds <= WORD else width
    scratch = Scratch(np.empty(most, np.int32), np.empty(most, np.int32), np.empty(width, np.int32),
                      np.empty(limit // WORD + 1, np.uint64))
    for user in rows:
        length = lengths[user]
        size = min(limit, length)
        k = min(gap, max(size - 1, 0)) + 1
        order[user, size:] = NONE
        found = _number(mixed[user, :length], category, numbers, scratch)
        right[user] = _space(order[user, :size], length, found, k, scratch)


@jit
def _number(row: NDArray[np.uint16], category: NDArray[np.int32], numbers: NDArray[np.int32], scratch: Scratch) -> int:
    """``kind`` of each item and ``left`` of each kind: the plan's categories where these are few, else those of this
    row. Returns how many kinds there are.
    """
    kind, left = scratch.kind, scratch.left
    if len(numbers) <= WORD:
        left[:] = 0
        for i in range(len(row)):
            kind[i] = category[row[i] & MASK]
            left[kind[i]] += 1
        return len(left)
    kinds = 0
    for i in range(len(row)):
        name = category[row[i] & MASK]
        if numbers[name] == NONE:
            numbers[name] = kinds
            left[kinds] = 0
            kinds += 1
        kind[i] = numbers[name]
        left[kind[i]] += 1
    for i in range(len(row)):
        numbers[category[row[i] & MASK]] = NONE
    return kinds


@jit
def _space(order: NDArray[np.int16], length: int, kinds: int, k: int, scratch: Scratch) -> int:
    """Fill ``order`` (size,); returns how much of it is right."""
    if k == 1:
        for t in range(len(order)):
            order[t] = t
        return len(order)
    if _fillable(scratch.left, kinds, len(order), k) and _place(order, length, kinds, k, scratch):
        return _first_wrong(order, scratch.kind, scratch.left, kinds, k)
    return 0


@jit
def _fillable(left: NDArray[np.int32], kinds: int, size: int, k: int) -> bool:
    """The closed form for a list not begun."""
    whole, over = (size - 1) // k, 0
    for kind in range(kinds):
        over += left[kind] > whole
    return _capped(left, kinds, whole) + min(size - whole * k, over) >= size


@jit
def _capped(left: NDArray[np.int32], kinds: int, most: int) -> int:
    """The sum of min(n_c, most)."""
    total, limit = np.int32(0), np.int32(most)
    for kind in range(kinds):
        total += min(left[kind], limit)
    return total


@jit
def _place(order: NDArray[np.int16], length: int, kinds: int, k: int, scratch: Scratch) -> bool:
    """Each item at the first free position its category allows; returns whether no position stays free."""
    ready, kind, free, size = scratch.ready, scratch.kind, scratch.free, len(order)
    ready[:kinds] = 0
    free[:] = ~np.uint64(0)
    first, filled = 0, 0
    for i in range(length):
        t = ready[kind[i]]
        if t >= size:
            continue
        word = max(t >> 6, first)
        rest = free[word] & (~np.uint64(0) << np.uint64(t & 63 if t >> 6 == word else 0))
        while rest == 0:
            word += 1
            rest = free[word]
        t = (word << 6) + lowest_bit(rest)
        ready[kind[i]] = t + k
        if t < size:
            free[word] ^= np.uint64(1) << np.uint64(t & 63)
            while free[first] == 0:
                first += 1
            order[t] = i
            filled += 1
            if filled == size:
                break
    return filled == size


@jit
def _first_wrong(order: NDArray[np.int16], kind: NDArray[np.int32], left: NDArray[np.int32], kinds: int,
                 k: int) -> int:
    """The first position of a list without violations whose item spoils the rest, its size if there is none.

    ``left`` holds the items of each kind before the first placement; it is used up.
    """
    t, size = 0, len(order)
    while size - t > k:  # in the last k positions every item that is allowed is one of T
        rest = size - t
        q, part = divmod(rest - 1, k)
        low = _least(left, kinds, rest, q)
        look = size - low * k
        if low > q:
            spare, over = _spare(order, kind, left, kinds, t, k)
            if spare == 0 and over > part and left[kind[order[t]]] <= q:
                return t
            look = t + max(1, min(spare, part + 1))
        while t < look:
            left[kind[order[t]]] -= 1
            t += 1
    return size


@jit
def _least(left: NDArray[np.int32], kinds: int, rest: int, q: int) -> int:
    """The least number up to ``q`` at which the sum of min(n_c, it) is at least ``rest``; q + 1 if there is none."""
    low, high = 1, q + 1
    while low < high:
        middle = (low + high) // 2
        if _capped(left, kinds, middle) >= rest:
            high = middle
        else:
            low = middle + 1
    return low


@jit
def _spare(order: NDArray[np.int16], kind: NDArray[np.int32], left: NDArray[np.int32], kinds: int, t: int,
           k: int) -> tuple[int, int]:
    """B + s + 1 - R and |T| before position ``t``, by the names of `space`."""
    rest = len(order) - t
    q, part = divmod(rest - 1, k)
    over = 0
    for number in range(kinds):
        over += left[number] > q
    for before in range(max(t - (k - 1 - part), 0), t):  # these kinds are not allowed within the next s steps
        over -= left[kind[order[before]]] > q
    return _capped(left, kinds, q) + part + 1 - rest, over
