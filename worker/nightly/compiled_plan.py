"""A plan as the compiled loops read it, made and looked at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.nightly import mix
from worker.nightly.compiled_mix import Pool
from worker.nightly.plan import Plan
from worker.packing import POOL_LIMIT


def pool_of(plan: Plan) -> tuple[Pool, NDArray[np.int32]]:
    """The pool, and the days (d,) that ``must_starts`` goes by. Raises ValueError for what `plan.build` can't make."""
    _check(plan)
    table = np.full(plan.max_item + 2, len(plan.pool), np.uint16)
    table[plan.pool] = np.arange(len(plan.pool), dtype=np.uint16)
    days, must, starts = _must_by_day(plan)
    prime = mix._next_prime(plan.new_count)
    return Pool(table, must, starts, len(plan.pool), plan.top_count, plan.new_count, prime), days


def _must_by_day(plan: Plan) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Days (d,); the best evergreen items of each and all later ones, by rank, in one array; where each begins."""
    by_rank = np.argsort(plan.best_position, kind="stable")
    position, day = plan.best_position[by_rank], plan.best_day[by_rank]
    days = np.unique(day)
    parts = [position[day >= since] for since in days]
    starts = np.cumsum([0] + [len(part) for part in parts] + [0], dtype=np.int64)
    return days, np.concatenate([*parts, np.empty(0, np.int32)]).astype(np.int32), starts


def _check(plan: Plan) -> None:
    """The loops read without bounds checks: what they index by is looked at once, here."""
    best, new = plan.best_position, (plan.top_count, plan.top_count + plan.new_count)
    if not 0 <= new[0] <= new[1] <= len(plan.pool) == len(plan.category) <= POOL_LIMIT:
        raise ValueError(f"a pool of {len(plan.pool)} items, {new[0]} top and {plan.new_count} new, with "
                         f"{len(plan.category)} categories")
    if len(plan.pool) and not 0 < plan.pool.min() <= plan.pool.max() <= plan.max_item:
        raise ValueError(f"the pool holds item numbers beyond 1 to {plan.max_item}")
    if len(best) != len(plan.best_day) or ((best < 0) | (best >= len(plan.pool))).any():
        raise ValueError("best_position and best_day must be as long as each other, and positions in the pool")
    if len(np.unique(best)) < len(best):
        raise ValueError("best_position names an item twice")
    if ((best >= new[0]) & (best < new[1])).any():
        raise ValueError("best_position names new items: the best evergreen items are scored ones")
