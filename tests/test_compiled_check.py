"""The compiled checks count what the gates count, and nothing out of bounds is followed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.compiled_cases import Shape, case, shapes
from tests.test_compiled_space import every_row
from worker.nightly import gates, space_check
from worker.nightly.compiled import Composer
from worker.nightly.compiled_check import avoidable
from worker.nightly.compiled_jit import jit, lowest_bit


@settings(max_examples=200)
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


@settings(max_examples=200)
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
