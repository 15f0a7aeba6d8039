"""Checks of finished lists against the spacing rules; shares nothing with `space`, whose work it judges."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def violations(listed: Ints, lengths: Ints, gap: int) -> NDArray[np.int32]:
    """Count the items that stand within `gap` positions after one of their own category, (users,) int32.

    `listed` is (users, limit), categories in published order; what stands from `lengths[u]` on is padding.
    """
    counted: NDArray[np.int32] = _violating(listed, lengths, gap).sum(axis=1, dtype=np.int32)
    return counted


def avoidable_violations(
    categories: Ints, lengths: Ints, order: Ints, placed: Ints, *, gap: int
) -> NDArray[np.int32]:
    """Count the violations that the rules don't excuse, (users,) int32: all 0 if `space` is right.

    The arguments are those of `space` and what it returned. A violation is excused if every item left at
    its step would have been one, and if no choice and order of the row's items is free of violations.
    """
    result = np.zeros(len(order), dtype=np.int32)
    if not order.size or not categories.size:
        return result
    listed = np.take_along_axis(categories, np.maximum(order, 0), axis=1)
    marks = _violating(listed, placed, gap)
    rows = np.flatnonzero(marks.any(axis=1))
    marks, order, placed = marks[rows], order[rows], placed[rows]
    counts, cells = _tally(categories[rows], lengths[rows])
    free = fillable(counts, placed, gap)
    cells = np.take_along_axis(cells, np.maximum(order, 0), axis=1)
    excused = ~free[:, None] & ~_alternatives(counts, cells, lengths[rows], gap)
    result[rows] = np.count_nonzero(marks & ~excused, axis=1)
    return result


def fillable(counts: Ints, size: Ints, gap: int) -> Mask:
    """Whether some `size[u]` of the items, `counts` (users, categories), have an order without a violation.

    The closed form of `space` for a list not begun, (users,) bool.
    """
    whole, part = np.divmod(size - 1, gap + 1)
    over = np.count_nonzero(counts > whole[:, None], axis=1)
    base = np.minimum(counts, whole[:, None]).sum(axis=1)
    free: Mask = (base + np.minimum(over, part + 1) >= size) | (size <= 0)
    return free


def _violating(listed: Ints, lengths: Ints, gap: int) -> Mask:
    marks = np.zeros(listed.shape, dtype=np.bool_)
    for distance in range(1, min(gap, listed.shape[1] - 1) + 1):
        marks[:, distance:] |= listed[:, distance:] == listed[:, :-distance]
    marks &= np.arange(listed.shape[1]) < lengths[:, None]
    return marks


def _tally(categories: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Items of each category, (users, distinct categories), and each item's cell in that matrix, flat."""
    users, width = categories.shape
    names, number = np.unique(categories, return_inverse=True)
    cells = number.reshape(users, width) + np.arange(users)[:, None] * len(names)
    real = np.arange(width) < lengths[:, None]
    counts = np.bincount(cells[real], minlength=users * len(names))
    return counts.reshape(users, len(names)), cells


def _alternatives(counts: Ints, cells: Ints, lengths: Ints, gap: int) -> Mask:
    """Replay the lists: whether an item was left, at each step, whose category did not stand within `gap`."""
    left, last = counts.ravel().copy(), np.full(counts.size, -1)
    found = np.zeros(cells.shape, dtype=np.bool_)
    for step in range(cells.shape[1]):
        forbidden = np.zeros(len(cells), dtype=left.dtype)
        for before in range(max(0, step - gap), step):
            cell = cells[:, before]  # a category that stands twice is counted where it stood last
            forbidden += np.where(last[cell] == before, left[cell], 0)
        found[:, step] = lengths - step > forbidden
        left[cells[:, step]] -= 1
        last[cells[:, step]] = step
    return found
