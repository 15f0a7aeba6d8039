"""The compiled composer makes the lists that the numpy stages make, bit by bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled_cases import Shape, assert_same, case, shapes
from worker.nightly import gates
from worker.nightly.compiled import Composer, available
from worker.nightly.compiled_space import space_lists


def test_numba_is_here():
    """Without it everything below would pass, slowly, without a look at compiled code."""
    assert available()
    assert hasattr(space_lists, "py_func")


@settings(max_examples=400)
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
