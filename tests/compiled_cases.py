"""Random plans and users for the compiled composer, and what the numpy stages make of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly.compiled import Composed, Composer, offsets_of
from worker.nightly.compose import Complete, compose
from worker.nightly.plan import Plan, moment_of
from worker.nightly.subtract import position_table, unseen

DATE = dt.date(2026, 11, 21)
DAY_MS = 86_400_000
TODAY = moment_of(DATE) * 1000


@dataclass(frozen=True)
class Case:
    """Users, what they saw, and the plan their lists are made from."""

    plan: Plan
    settings: Settings
    users: list[bytes]
    last_seen_ms: NDArray[np.int64]
    members: NDArray[np.int64]
    rows: NDArray[np.int64]

    @property
    def left(self) -> NDArray[np.bool_]:
        table = position_table(self.plan.pool, self.plan.max_item)
        return unseen(self.members, self.rows, len(self.users), table, len(self.plan.pool))

    def by_numpy(self) -> Complete:
        return compose(self.users, self.last_seen_ms, self.left, self.plan, self.settings)

    def compiled(self) -> Composed:
        return Composer(self.plan, self.settings)(self.users, self.last_seen_ms, self.members, self.offsets)

    @property
    def offsets(self) -> NDArray[np.int64]:
        return offsets_of(self.rows, len(self.users))


@dataclass(frozen=True)
class Shape:
    """What a random case is like; ``seen`` is the part of the pool a user saw, about."""

    users: int = 30
    top: int = 60
    new: int = 30
    extra: int = 10
    best: int = 15
    categories: int = 8
    skew: float = 0.7
    gap: int = 3
    list_length: int = 30
    seen: float = 0.3
    days_away: int = 60
    shares: tuple[float, float] = (0.1, 0.5)


shapes = st.builds(
    Shape,
    users=st.integers(1, 12),
    top=st.integers(0, 70),
    new=st.integers(0, 40),
    extra=st.integers(0, 20),
    best=st.integers(0, 40),
    categories=st.sampled_from([1, 2, 3, 4, 5, 8, 20, 70]),
    skew=st.floats(0, 2),
    gap=st.integers(0, 6),
    list_length=st.integers(1, 120),
    seen=st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]),
    days_away=st.sampled_from([1, 10, 60, 120]),
    shares=st.sampled_from([(0.0, 0.0), (0.0, 1.0), (0.1, 0.5), (0.5, 0.5), (1.0, 1.0)]),
)


def case(shape: Shape, seed: int) -> Case:
    """A random case of a shape: names of categories up to 65535, seen sets with clicks, marks and items of no pool."""
    rng = np.random.default_rng(seed)
    size, max_item = shape.top + shape.new + shape.extra, 4 * (shape.top + shape.new + shape.extra) + 5
    pool = rng.permutation(max_item)[:size].astype(np.uint32) + np.uint32(1)
    names, weight = rng.integers(1, 2**16, shape.categories), np.arange(1, shape.categories + 1) ** -shape.skew
    category = rng.choice(names, p=weight / weight.sum(), size=size).astype(np.int32)
    scored = np.r_[0 : shape.top, shape.top + shape.new : size]
    best = np.sort(rng.choice(scored, min(shape.best, len(scored)), replace=False)).astype(np.int32)
    best_day = (TODAY // DAY_MS - rng.integers(1, 91, len(best))).astype(np.int32)
    plan = Plan(3, DATE, int(rng.integers(9)), max_item, shape.top, shape.new, pool, category, best, best_day,
                np.zeros(shape.top), pool)
    parts, rows = [], []
    for user in range(shape.users):
        seen = pool[rng.random(size) < shape.seen * rng.choice([0.5, 1.0, 2.0])].astype(np.int64)
        other = rng.integers(1, max_item + 40, 5)
        parts += [seen, -seen[: len(seen) // 3], seen[:2] + 2**29, other, np.array([0, max_item, max_item + 1])]
        rows += [user] * sum(len(part) for part in parts[-5:])
    last_seen = TODAY - rng.integers(0, shape.days_away * DAY_MS, shape.users)
    chosen = Settings(gap=shape.gap, list_length=shape.list_length, new_share_min=shape.shares[0],
                      new_share_max=shape.shares[1])
    users = [b"reader-%d" % number for number in rng.integers(0, 10**9, shape.users)]
    members = np.concatenate(parts).astype(np.int64)
    return Case(plan, chosen, users, last_seen, members, np.array(rows, np.int64))


def assert_same(made: Composed, expected: Complete) -> None:
    found = made.complete()
    for name in ("lengths", "entries", "order", "narrowed", "missed", "new"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(ours, theirs), name
        assert ours.dtype == theirs.dtype, name
    assert_mixed_as_far_as_needed(made, expected)


def assert_mixed_as_far_as_needed(made: Composed, expected: Complete) -> None:
    """Each row is the beginning of the whole one: all of it, unless the list was full before."""
    found, whole = made.complete().mixed, expected.mixed
    inside = np.arange(found.entries.shape[1]) < found.lengths[:, None]
    assert np.array_equal(found.entries[inside], whole.entries[:, : found.entries.shape[1]][inside])
    limit = made.entries.shape[1]
    for row in np.flatnonzero(found.lengths != whole.lengths).tolist():
        assert limit < found.lengths[row] < whole.lengths[row]
        assert made.lengths[row] == limit
        assert not made.missed[row]
