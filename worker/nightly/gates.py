"""Gates: what keeps a run from being published. Independent of the code that makes the lists, and pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compose import Complete
from worker.nightly.mix import EMPTY
from worker.nightly.plan import Plan
from worker.nightly.space_check import avoidable_violations
from worker.packing import POSITION_MASK


def check_plan(plan: Plan, previous_top: int, shrink_gate: float) -> list[str]:
    """Reasons not to publish a generation; ``previous_top`` is the size of the last one's top content, 0 for none."""
    if plan.top_count == 0:
        return ["top content is empty: no item is live and scored (is the catalogue imported, or all of it hidden?)"]
    if plan.top_count < shrink_gate * previous_top:
        return [f"top content has shrunk from {previous_top} to {plan.top_count} items, below {shrink_gate:.0%}: "
                "was part of the catalogue hidden, removed or expired by mistake?"]
    return []


def check_scores(plan: Plan, impressions: NDArray[np.float64]) -> list[str]:
    """Reasons in the scores: people have seen items, and still all items score the same. Before that, all may."""
    if plan.top_count > 1 and impressions.any() and plan.top_score[0] == plan.top_score[-1]:
        return [f"all {plan.top_count} items of top content have the same score although impressions were counted: "
                "are clicks arriving, and are the weights of the score right?"]
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


def count_avoidable(complete: Complete, plan: Plan, gap: int) -> int:
    """Spacing violations in finished lists that an item left over would have avoided."""
    mixed = complete.mixed
    if mixed.entries.shape[1] == 0:
        return 0
    categories = np.where(mixed.entries == EMPTY, 0, plan.category[mixed.entries])
    return int(avoidable_violations(categories, mixed.lengths, complete.order, complete.lengths, gap=gap).sum())
