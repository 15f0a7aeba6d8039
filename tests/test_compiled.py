"""The compiled nightly loops: bit by bit what the numpy stages give, and checks that count the same."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import gates, space_check
from worker.nightly.compiled import Composed, Composer, available, offsets_of
from worker.nightly.compiled_check import avoidable
from worker.nightly.compiled_exact import finish_lists
from worker.nightly.compiled_jit import jit, lowest_bit
from worker.nightly.compiled_space import space_lists
from worker.nightly.compose import Complete, compose
from worker.nightly.plan import Plan, moment_of
from worker.nightly.space import space
from worker.nightly.subtract import position_table, unseen

DATE = dt.date(2026, 11, 21)
DAY_MS = 86_400_000
TODAY = moment_of(DATE) * 1000


@dataclass(frozen=True)
class Case:
    """Users, what they saw, and the plan their lists are made from."""

    plan: Plan
    settings: Settings
    users: list[str]
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
    users = [f"reader-{number}" for number in rng.integers(0, 10**9, shape.users)]
    members = np.concatenate(parts).astype(np.int64)
    return Case(plan, chosen, users, last_seen, members, np.array(rows, np.int64))


def assert_same(made: Composed, expected: Complete) -> None:
    found = made.complete()
    for name in ("lengths", "entries", "order", "narrowed", "missed", "new"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(ours, theirs), name
        assert ours.dtype == theirs.dtype, name
    assert np.array_equal(found.mixed.entries, expected.mixed.entries)
    assert np.array_equal(found.mixed.lengths, expected.mixed.lengths)


def test_numba_is_here():
    """Without it everything below would pass, slowly, without a look at compiled code."""
    assert available()
    assert hasattr(space_lists, "py_func")


@settings(max_examples=400, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_lists_are_those_of_the_numpy_stages(shape, seed):
    one = case(shape, seed)
    made, expected = one.compiled(), one.by_numpy()
    assert_same(made, expected)
    composer = Composer(one.plan, one.settings)
    assert composer.count_repeats(made, one.members, one.offsets) == gates.count_repeats(expected, one.left) == 0
    assert composer.count_avoidable(made) == gates.count_avoidable(expected, one.plan, one.settings.gap) == 0


@pytest.mark.parametrize(
    "shape",
    [
        Shape(categories=20, skew=1.0),
        Shape(categories=20, skew=1.6, best=60),
        Shape(categories=6, skew=0.5, seen=0.6),
        Shape(categories=3, skew=0.2),
        Shape(categories=500, skew=0.3),
        Shape(categories=4, skew=1.2, gap=5, list_length=120, days_away=2),
        Shape(new=5, seen=0.8),
        Shape(top=3, new=300, extra=0),
    ],
    ids=str,
)
def test_a_full_chunk_is_the_same_too(shape):
    """2,048 users, lists of 100 out of 460 items or more: enough rows to be tight, to narrow and to miss."""
    wide = replace(shape, users=2048, list_length=max(100, shape.list_length))
    if wide.top == 60:
        wide = replace(wide, top=300, new=max(wide.new, 5) * 4, extra=40)
    one = case(wide, 1)
    made, expected = one.compiled(), one.by_numpy()
    assert_same(made, expected)
    assert Composer(one.plan, one.settings).count_repeats(made, one.members, one.offsets) == 0
    assert Composer(one.plan, one.settings).count_avoidable(made) == 0


def test_marks_of_one_user_are_gone_for_every_other():
    """Marks are bytes that come round after 255 users; here the first user saw everything and nobody else anything."""
    one = case(Shape(users=600, best=0), 5)
    pool = one.plan.pool.astype(np.int64)
    one = replace(one, members=pool, rows=np.zeros(len(pool), np.int64))
    made = one.compiled()
    assert made.lengths[0] == 0
    assert (made.lengths[1:] == one.settings.list_length).all()
    assert_same(made, one.by_numpy())


def test_rows_that_narrow_and_rows_that_need_must_items_in_front_are_among_the_cases():
    few = case(Shape(users=200, categories=2, skew=0.0), 2).compiled()
    assert (few.narrowed > 0).any()
    crowded = case(Shape(users=200, top=200, new=0, categories=5, skew=2.0, best=60, seen=0.1), 3)
    expected = crowded.by_numpy()
    assert (expected.missed > 0).any(), "more to show than a list holds"
    assert_same(crowded.compiled(), expected)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64])
def test_members_may_be_integers_of_any_size(kind):
    """Redis keeps sets of small numbers in 16 bits, others in 32 or 64."""
    one = case(Shape(), 7)
    small = one.members[one.members < 2**14]
    kept = replace(one, members=small, rows=one.rows[one.members < 2**14])
    made = Composer(kept.plan, kept.settings)(kept.users, kept.last_seen_ms, small.astype(kind), kept.offsets)
    assert_same(made, kept.by_numpy())


def test_users_without_seen_items_an_empty_pool_and_no_users():
    nothing = np.empty(0, np.int64)
    one = replace(case(Shape(users=3), 8), members=nothing, rows=nothing)
    assert_same(one.compiled(), one.by_numpy())
    empty = case(Shape(top=0, new=0, extra=0, best=0), 9)
    assert_same(empty.compiled(), empty.by_numpy())
    assert Composer(empty.plan, empty.settings).count_avoidable(empty.compiled()) == 0
    nobody = replace(one, users=[], last_seen_ms=nothing)
    assert nobody.compiled().entries.shape == (0, one.settings.list_length)


def test_memory_of_lists_that_are_done_with_can_be_used_again():
    """For as many users or fewer; where it is too small, or of another plan, new memory is taken."""
    first, second = case(Shape(users=20), 15), case(Shape(users=12, top=70), 16)
    composer = Composer(second.plan, second.settings)
    mine = second.users, second.last_seen_ms, second.members, second.offsets
    old = composer(second.users * 2, np.tile(second.last_seen_ms, 2), np.empty(0, np.int64), np.zeros(25, np.int64))
    again = composer(*mine, reuse=old)
    assert np.shares_memory(again.entries, old.entries)
    assert_same(again, second.by_numpy())
    few = composer(second.users[:3], second.last_seen_ms[:3], np.empty(0, np.int64), np.zeros(4, np.int64))
    for other in (few, Composer(first.plan, replace(first.settings, list_length=9))(
            first.users, first.last_seen_ms, first.members, first.offsets)):
        made = composer(*mine, reuse=other)
        assert not np.shares_memory(made.entries, other.entries)
        assert_same(made, second.by_numpy())


def test_threads_may_share_a_composer():
    one = case(Shape(users=500), 10)
    composer = Composer(one.plan, one.settings)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: composer(one.users, one.last_seen_ms, one.members, one.offsets), range(8)))
    assert all(np.array_equal(other.entries, made[0].entries) for other in made)


def test_loose_rows_are_filled_in_one_pass():
    """Only what is tight goes step by step, ten times slower; the results alone would not tell."""
    rows = np.random.default_rng(4).integers(0, 12, (100, 400)).astype(np.uint16)
    order, done = np.empty((100, 200), np.int16), np.empty(100, np.bool_)
    names = np.arange(12, dtype=np.int32)
    space_lists(rows, np.full(100, 400, np.int32), np.arange(100), names, 12, 3, order, done)
    assert done.all()


def every_row(length: int, kinds: int) -> NDArray[np.uint16]:
    """All rows of up to ``kinds`` categories."""
    return np.array(np.meshgrid(*[np.arange(kinds)] * length)).reshape(length, -1).T.astype(np.uint16)


def compiled_space(rows: NDArray[np.uint16], lengths: NDArray[np.int32], gap: int, limit: int,
                   exact: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Order and narrowed of rows of categories, by the pass for most rows and the steps for the others, or by these."""
    rows = np.ascontiguousarray(rows)
    names = np.arange(int(rows.max(initial=0)) + 1, dtype=np.int32)
    order, narrowed = np.empty((len(rows), limit), np.int16), np.zeros(len(rows), np.int32)
    done = np.empty(len(rows), np.bool_)
    space_lists(rows, lengths, np.arange(len(rows)), names, len(names), gap, order, done)
    rest = np.flatnonzero(lengths) if exact else np.flatnonzero(~done)
    finish_lists(rows, lengths, rest, names, len(names), gap, order, narrowed)
    return order, narrowed


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("length", "kinds"), [(1, 1), (3, 3), (5, 4), (7, 3), (8, 3)])
def test_every_small_row_is_spaced_as_numpy_does(length, kinds, exact):
    rows = every_row(length, kinds)
    lengths = np.full(len(rows), length, np.int32)
    for gap in range(5):
        for limit in range(1, length + 2):
            order, _, narrowed = space(rows, lengths, gap=gap, limit=limit)
            ours = compiled_space(rows, lengths, gap, limit, exact)
            assert np.array_equal(ours[0], order), (gap, limit)
            assert np.array_equal(ours[1], narrowed), (gap, limit)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("gap", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(("kinds", "skew"), [(3, 0.0), (4, 0.0), (5, 0.4), (6, 0.8), (9, 1.1), (20, 1.0), (90, 0.3)])
def test_larger_rows_are_spaced_as_numpy_does(kinds, skew, gap, exact):
    """Lists across the 64 positions of a word, tight and loose, with little and much to choose from."""
    rng = np.random.default_rng(kinds * 10 + gap)
    weight = np.arange(1, kinds + 1) ** -skew
    rows = rng.choice(kinds, p=weight / weight.sum(), size=(150, 210)).astype(np.uint16)
    lengths = rng.integers(0, 211, 150).astype(np.int32)
    for limit in (1, 63, 64, 65, 128, 200):
        order, _, narrowed = space(rows, lengths, gap=gap, limit=limit)
        ours = compiled_space(rows, lengths, gap, limit, exact)
        assert np.array_equal(ours[0], order), limit
        assert np.array_equal(ours[1], narrowed), limit


@settings(max_examples=200, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_repeats_planted_in_lists_are_counted_the_same(shape, seed):
    one, rng = case(shape, seed), np.random.default_rng(seed)
    assume(len(one.plan.pool))
    made = one.compiled()
    changed = rng.random(made.entries.shape) < 0.1
    flags = rng.integers(0, 2, made.entries.shape) * 0x8000
    made.entries[changed] = (rng.integers(0, len(one.plan.pool), made.entries.shape) + flags)[changed]
    ours = Composer(one.plan, one.settings).count_repeats(made, one.members, one.offsets)
    assert ours == gates.count_repeats(made.complete(), one.left)


@settings(max_examples=200, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1))
def test_avoidable_violations_planted_in_lists_are_counted_the_same(shape, seed):
    one, rng = case(shape, seed), np.random.default_rng(seed)
    made = one.compiled()
    for user in range(len(made.lengths)):
        if made.lengths[user] > 1 and rng.random() < 0.8:
            free = rng.permutation(made.mixed_lengths[user])
            made.order[user, : made.lengths[user]] = free[: made.lengths[user]]
    ours = Composer(one.plan, one.settings).count_avoidable(made)
    assert ours == gates.count_avoidable(made.complete(), one.plan, one.settings.gap)


@pytest.mark.parametrize(("length", "kinds"), [(4, 3), (6, 3)])
def test_each_order_of_small_rows_is_judged_the_same(length, kinds):
    rows, rng = every_row(length, kinds), np.random.default_rng(1)
    lengths, counts = np.full(len(rows), length, np.int32), np.empty(len(rows), np.int32)
    names = np.arange(kinds, dtype=np.int32)
    for gap in range(5):
        for size in range(1, length + 1):
            order = rng.permuted(np.tile(np.arange(length, dtype=np.int16), (len(rows), 1)), axis=1)[:, :size]
            placed = np.full(len(rows), size, np.int32)
            avoidable(rows, lengths, order, placed, names, kinds, gap, counts)
            expected = space_check.avoidable_violations(rows.astype(np.int32), lengths, order, placed, gap=gap)
            assert counts.tolist() == expected.tolist(), (gap, size)


def test_entries_and_places_outside_everything_are_counted_not_followed():
    one = case(Shape(users=4), 12)
    made, composer = one.compiled(), Composer(one.plan, one.settings)
    made.entries[1, 0], made.entries[2, 3] = 0x7FFF, 0xFFFF
    assert composer.count_repeats(made, one.members, one.offsets) == 2
    made.order[0, 1], made.order[0, 2] = -1, made.mixed_lengths[0]
    assert composer.count_avoidable(made) >= 2


def test_arguments_that_do_not_fit_are_refused():
    one = case(Shape(), 13)
    composer = Composer(one.plan, one.settings)
    with pytest.raises(ValueError, match="30 users, but last_seen_ms of shape"):
        composer(one.users, one.last_seen_ms[1:], one.members, one.offsets)
    with pytest.raises(ValueError, match="31 places in"):
        composer(one.users, one.last_seen_ms, one.members[:-1], one.offsets)
    with pytest.raises(ValueError, match="none before the last"):
        composer(one.users, one.last_seen_ms, one.members, one.offsets[::-1])
    with pytest.raises(ValueError, match="signed integers"):
        composer(one.users, one.last_seen_ms, one.members.astype(np.float64), one.offsets)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"best_position": np.array([61], np.int32), "best_day": np.array([1], np.int32)}, "names new items"),
        ({"best_position": np.array([100], np.int32), "best_day": np.array([1], np.int32)}, "positions in the pool"),
        ({"best_position": np.array([1, 1], np.int32), "best_day": np.array([1, 2], np.int32)}, "twice"),
        ({"max_item": 3}, "beyond 1 to 3"),
        ({"top_count": 90}, "90 top and 30 new"),
    ],
)
def test_plans_that_cannot_be_are_refused(change, complaint):
    one = case(Shape(), 14)
    with pytest.raises(ValueError, match=complaint):
        Composer(replace(one.plan, **change), one.settings)


def test_a_function_whose_machine_code_cannot_be_kept_is_compiled_all_the_same():
    """As in a read-only installation of a user without a home: numba finds no folder for code that is in no file."""
    space_: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", space_)
    assert jit(space_["twice"])(21) == 42


def test_the_lowest_bit_of_a_word():
    find = jit(lambda word: lowest_bit(word))
    words = [1, 2, 2**63, 2**40 + 2**50, 2**64 - 1]
    assert [find(np.uint64(word)) for word in words] == [0, 1, 63, 40, 0]
