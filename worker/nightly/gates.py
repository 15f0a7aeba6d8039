"""Gates: what keeps a run from being published. Independent of the code that makes the lists, and pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compose import Complete
from worker.nightly.plan import Plan
from worker.packing import POSITION_MASK


def check_plan(plan: Plan, previous_top: int, shrink_gate: float) -> list[str]:
    """Reasons not to publish a generation; ``previous_top`` is the size of the last one's top content, 0 for none."""
    if plan.top_count == 0:
        return ["top content is empty: no item is live and scored (is the catalogue imported, or all of it hidden?)"]
    if plan.top_count < shrink_gate * previous_top:
        return [f"top content has shrunk from {previous_top} to {plan.top_count} items, below {shrink_gate:.0%}: "
                "was part of the catalogue hidden, removed or expired by mistake?"]
    return []


def count_repeats(complete: Complete, unseen: NDArray[np.bool_]) -> int:
    """Entries of finished lists that were seen, or stand twice in their list."""
    inside = np.arange(complete.entries.shape[1])[None, :] < complete.lengths[:, None]
    rows, places = np.nonzero(inside)
    positions = (complete.entries & POSITION_MASK)[rows, places].astype(np.int64)
    seen = int((~unseen[rows, positions]).sum())
    keys = np.sort(rows * (POSITION_MASK + 1) + positions)
    return seen + int((keys[1:] == keys[:-1]).sum())


def check_list(user: str, items: Sequence[int], seen: set[int], live: NDArray[np.bool_]) -> list[str]:
    """What is wrong with one finished list of item numbers: repeats, seen items, items that must not be shown."""
    faults = []
    if len(set(items)) < len(items):
        faults.append(f"the list of {user} holds an item twice")
    if again := seen.intersection(items):
        faults.append(f"the list of {user} holds item {min(again)}, which was seen")
    if dead := [item for item in items if not live[item - 1]]:
        faults.append(f"the list of {user} holds item {dead[0]}, which is hidden, expired, removed or not out yet")
    return faults


def avoidable(categories: Sequence[int], left: Sequence[int], gap: int) -> int:
    """Spacing violations of one list, by category in order, that a remaining item would have avoided.

    ``left`` are the categories of the items of the mixed list that were not placed.
    """
    remaining: dict[int, int] = {}
    for category in [*categories, *left]:
        remaining[category] = remaining.get(category, 0) + 1
    faults = 0
    for place, category in enumerate(categories):
        near = set(categories[max(0, place - gap) : place])
        if category in near and any(count and other not in near for other, count in remaining.items()):
            faults += 1
        remaining[category] -= 1
    return faults


def count_avoidable(complete: Complete, plan: Plan, gap: int) -> int:
    """Avoidable spacing violations in finished lists; only lists with any violation are looked at closely."""
    positions = (complete.entries & POSITION_MASK).astype(np.int64)
    inside = np.arange(positions.shape[1])[None, :] < complete.lengths[:, None]
    category = np.where(inside, plan.category[np.where(inside, positions, 0)], -1) if len(plan.category) else positions
    close = np.zeros(len(positions), np.bool_)
    for step in range(1, min(gap, positions.shape[1] - 1) + 1):
        close |= ((category[:, step:] == category[:, :-step]) & inside[:, step:]).any(axis=1)
    faults = 0
    for row in np.flatnonzero(close):
        placed = positions[row, : complete.lengths[row]]
        mixed = complete.mixed.entries[row, : complete.mixed.lengths[row]]
        left = mixed[~np.isin(mixed, placed)]
        faults += avoidable(plan.category[placed].tolist(), plan.category[left].tolist(), gap)
    return faults
