"""Spacing step by step, for the rows that `compiled_space` can't fill in one pass: all the rules of `space`.

These are lists that no order fills without a violation, and those that get tight: where the best allowed item would
end the last chance of a clean rest. Each step looks at the next item of every category.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit

MASK = 0x7FFF
NONE = -1


class Queues(NamedTuple):
    """A row's categories, numbered densely: the next item of each (``head``), the items ``left`` and where it stood
    ``last``; of each item its category's number (``kind``) and the next of it (``link``), NONE where there is none.
    """

    head: NDArray[np.int32]
    left: NDArray[np.int32]
    last: NDArray[np.int32]
    kind: NDArray[np.int32]
    link: NDArray[np.int32]


@jit
def finish_lists(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], rows: NDArray[np.int64],
                 category: NDArray[np.int32], kinds: int, gap: int, order: NDArray[np.int16],
                 narrowed: NDArray[np.int32]) -> None:
    """Fill ``order`` (users, limit) of ``rows``; the arguments are those of `space_lists`. No row may be empty.

    ``narrowed`` (users,): the items that stand within the gap of their own category.
    """
    width, limit = mixed.shape[1], order.shape[1]
    numbers = np.full(kinds, NONE, np.int32)
    queues = Queues(np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32),
                    np.empty(width, np.int32), np.empty(width, np.int32))
    for user in rows:
        size = min(limit, lengths[user])
        row = mixed[user, : lengths[user]]
        found = _number(row, category, numbers, queues)
        _queue(len(row), found, queues)
        narrowed[user] = _place(order[user, :size], found, min(gap, size - 1), queues)


@jit
def _number(row: NDArray[np.uint16], category: NDArray[np.int32], numbers: NDArray[np.int32], queues: Queues) -> int:
    kinds = 0
    for i in range(len(row)):
        name = category[row[i] & MASK]
        if numbers[name] == NONE:
            numbers[name] = kinds
            kinds += 1
        queues.kind[i] = numbers[name]
    for i in range(len(row)):
        numbers[category[row[i] & MASK]] = NONE
    return kinds


@jit
def _queue(length: int, kinds: int, queues: Queues) -> None:
    head, left, last, kind, link = queues
    head[:kinds], left[:kinds], last[:kinds] = NONE, 0, -length
    for i in range(length - 1, -1, -1):
        link[i] = head[kind[i]]
        head[kind[i]] = i
        left[kind[i]] += 1


@jit
def _place(places: NDArray[np.int16], kinds: int, gap: int, queues: Queues) -> int:
    """Fill ``places``; returns how many items were placed closer than ``gap``."""
    size, guard, look = len(places), gap, 0
    for t in range(size):
        chosen = _best(t, gap, 0, kinds, queues)
        if chosen == NONE:
            _take_turns(places, t, gap, queues)
            return size - t
        if t == look:
            guard, q, tight, wait = _look(guard, t, size, kinds, queues)
            look = t + wait
            if tight:
                better = _best(t, gap, q, kinds, queues)
                chosen = better if better != NONE else chosen
        _set(places, t, chosen, queues)
    return 0


@jit
def _set(places: NDArray[np.int16], t: int, chosen: int, queues: Queues) -> None:
    kind = queues.kind[chosen]
    places[t] = chosen
    queues.head[kind] = queues.link[chosen]
    queues.left[kind] -= 1
    queues.last[kind] = t


@jit
def _best(t: int, gap: int, more_than: int, kinds: int, queues: Queues) -> int:
    """The best next item of the categories allowed at ``t`` that have more items left than ``more_than``."""
    best = len(queues.kind)
    for kind in range(kinds):
        if queues.left[kind] > more_than and queues.last[kind] < t - gap:
            best = min(best, queues.head[kind])
    return best if best < len(queues.kind) else NONE


@jit
def _look(guard: int, t: int, size: int, kinds: int, queues: Queues) -> tuple[int, int, bool, int]:
    """The widest gap up to ``guard`` that the rest can be filled at, its q, whether it is tight there, and after how
    many steps to look again. What can't be filled stays so: the guard never widens. At gap 0 nothing is tight.
    """
    rest = size - t
    while guard > 0:
        q, part = divmod(rest - 1, guard + 1)
        base, over = 0, 0
        for kind in range(kinds):
            base += min(queues.left[kind], q)
            over += queues.left[kind] > q and queues.last[kind] < t + part - guard
        if base + min(part + 1, over) >= rest:
            spare = base + part + 1 - rest
            return guard, q, spare == 0 and over > part, max(1, min(spare, part + 1))
        guard -= 1
    return 0, 0, False, rest


@jit
def _take_turns(places: NDArray[np.int16], start: int, gap: int, queues: Queues) -> None:
    """Fill the rest where no item is allowed: always the category that stood longest ago.

    All that have items left are among the last ``gap`` places then, and stay there.
    """
    for t in range(start, len(places)):
        for before in range(max(t - gap, 0), t):
            kind = queues.kind[places[before]]
            if queues.last[kind] == before and queues.head[kind] != NONE:
                _set(places, t, queues.head[kind], queues)
                break
