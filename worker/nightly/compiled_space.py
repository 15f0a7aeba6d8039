"""Spacing one list at a time: the compiled twin of `space`, but for the rows that need `compiled_exact`.

"At each position the best allowed item" is the same as "each item, best first, at the first free position from which
its category is allowed": a better item that could stand there would have taken the place. So one pass over the items
does it, without a search:

* A position beyond the first free one is taken only by a category that stood k = gap + 1 before it. No two categories
  stood at one position: the place from which a category is allowed is free, or lies before the first free one.
* A pass that fills all positions shows by what it placed that, at every step, the rest could be filled: none of its
  items spoiled that, and looking ahead would not have passed one over. So it is what `space` makes, without a look at
  the counts. A pass that leaves a hole says nothing: that row is done again by `compiled_exact`, step by step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit, lowest_bit

MASK = 0x7FFF
NONE = -1
WORD, SHIFT = 64, 6


@jit
def space_lists(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], rows: NDArray[np.int64],
                category: NDArray[np.int32], kinds: int, gap: int, order: NDArray[np.int16],
                done: NDArray[np.bool_]) -> None:
    """Space ``rows`` of ``mixed`` (users, width) into ``order`` (users, limit), places in ``mixed``, NONE at the end.

    ``category`` (pool,) by position holds numbers below ``kinds``. Rows that are not ``done`` (users,) afterwards must
    be left to `compiled_exact`.
    """
    limit = order.shape[1]
    ready, free = np.zeros(kinds, np.int32), np.empty((limit >> SHIFT) + 1, np.uint64)
    for user in rows:
        size = min(limit, lengths[user])
        order[user, size:] = NONE
        row = mixed[user, : lengths[user]]
        if gap == 0 or size < 2:
            for t in range(size):
                order[user, t] = t
            done[user] = True
        else:
            done[user] = _place(row, category, min(gap, size - 1) + 1, ready, free, order[user, :size])


@jit
def _place(row: NDArray[np.uint16], category: NDArray[np.int32], k: int, ready: NDArray[np.int32],
           free: NDArray[np.uint64], order: NDArray[np.int16]) -> bool:
    """Whether all of ``order`` could be filled. ``ready`` (kinds,) is the position from which a category is allowed,
    ``free`` the positions that are, as bits; those of the word that has the first one are held in ``bits``.
    """
    size, first, base, bits = len(order), 0, 0, ~np.uint64(0)
    ready[:], free[:] = 0, bits
    for i in range(len(row)):
        kind = category[row[i] & MASK]
        t = max(ready[kind], first)
        if t >= size:
            continue
        order[t] = i
        ready[kind] = t + k
        bit = np.uint64(1) << np.uint64(t & (WORD - 1))
        free[t >> SHIFT] ^= bit
        if t < base + WORD:
            bits ^= bit
        while bits == 0:
            base += WORD
            bits = free[base >> SHIFT]
        first = base + lowest_bit(bits)
        if first >= size:
            return True
    return False
