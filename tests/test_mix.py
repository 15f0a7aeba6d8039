"""New content, subtraction and mixing: known answers and properties against plain-Python oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.nightly import fresh, mix
from worker.nightly.mix import EMPTY, Mixed, Shares
from worker.nightly.subtract import position_table, unseen

DAY = 86_400


def lists(rows, width):
    """A Mixed from Python lists."""
    entries = np.full((len(rows), width), EMPTY, np.int32)
    for number, row in enumerate(rows):
        entries[number, : len(row)] = row
    return Mixed(entries, np.array([len(row) for row in rows], np.int32))


def rows_of(mixed):
    return [row[:length].tolist() for row, length in zip(mixed.entries, mixed.lengths, strict=True)]


def test_new_is_posted_in_the_last_day_and_not_scored_yet():
    ages = np.array([-5, 0, 1, DAY, DAY + 1, 3600])
    impressions = np.array([0, 0, 0, 0, 0, 20.0])
    assert fresh.is_new(ages, impressions, min_impressions=20).tolist() == [False, False, True, True, False, False]


def test_the_draw_is_a_choice_in_random_order_and_the_same_for_one_seed():
    new = np.arange(100, 200)
    one, same, other = (fresh.draw(new, 30, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    assert len(set(one.tolist())) == 30
    assert set(one.tolist()) <= set(new.tolist())


def test_subtraction_known_answer():
    """Pool 10, 20, 30; the first user saw 20 and clicked 30 only by a mark, the second saw an item of no pool."""
    table = position_table(np.array([10, 20, 30], np.uint32), 40)
    members, rows = np.array([20, -30, 20 + 2**29, 35]), np.array([0, 0, 0, 1])
    assert unseen(members, rows, 2, table, 3).tolist() == [[True, False, True], [True, True, True]]


@given(st.data())
def test_nothing_seen_stays_and_nothing_unseen_is_lost(data):
    pool = data.draw(st.lists(st.integers(1, 60), unique=True, min_size=1, max_size=30))
    seen = data.draw(st.lists(st.sets(st.integers(1, 80), max_size=20), min_size=1, max_size=6))
    members = np.array([item for items in seen for item in sorted(items)], np.int64)
    rows = np.array([row for row, items in enumerate(seen) for _ in items], np.int64)
    left = unseen(members, rows, len(seen), position_table(np.array(pool, np.uint32), 60), len(pool))
    for row, items in enumerate(seen):
        assert [item for item, keep in zip(pool, left[row], strict=True) if keep] == [i for i in pool if i not in items]


def test_share_known_answers():
    """0.1 + 0.4 / 2^(days / 4)."""
    share = mix.new_share(np.array([-1.0, 0.0, 4.0, 8.0]), Shares(0.5, 0.1, 4.0))
    assert share == pytest.approx([0.5, 0.5, 0.3, 0.2])


@given(st.lists(st.floats(-2, 100), min_size=2, max_size=20), st.floats(0, 0.5), st.floats(0.5, 1), st.floats(0.1, 60))
def test_share_never_rises_with_the_days_away(days, least, most, half):
    share = mix.new_share(np.sort(np.array(days)), Shares(most, least, half))
    assert (np.diff(share) <= 1e-12).all()
    assert ((share >= least - 1e-12) & (share <= most + 1e-12)).all()


@given(st.integers(0, 80), st.lists(st.binary(min_size=1), min_size=1, max_size=5, unique=True))
def test_each_user_gets_a_permutation_of_the_new_items(size, users):
    values = mix.permutations(mix.user_seeds(users, 20_000, 0), size)
    assert values.shape == (len(users), size)
    for row in values:
        assert sorted(row.tolist()) == list(range(size))


def test_new_items_differ_between_users_and_are_the_same_all_day():
    users = [b"u%d" % number for number in range(200)]
    today = mix.permutations(mix.user_seeds(users, 20_000, 0), 50)
    assert (today == mix.permutations(mix.user_seeds(users, 20_000, 0), 50)).all()
    assert len({tuple(row) for row in today.tolist()}) > 190
    tomorrow = mix.permutations(mix.user_seeds(users, 20_001, 0), 50)
    other_seed = mix.permutations(mix.user_seeds(users, 20_000, 1), 50)
    assert (today != tomorrow).any(axis=1).mean() > 0.95
    assert (today != other_seed).any(axis=1).mean() > 0.95


def test_the_first_new_item_is_spread_over_users():
    """No new item comes first for more than a few users: each of 20 about a twentieth of 4,000."""
    users = [b"reader-%d" % number for number in range(4000)]
    first = mix.permutations(mix.user_seeds(users, 20_000, 0), 20)[:, 0]
    assert np.bincount(first, minlength=20).min() > 120
    assert np.bincount(first, minlength=20).max() < 290


def test_interleaving_known_answer():
    """Share 0.5 from phase 0: floor steps at the second, fourth, ... position."""
    mixed = mix.interleave(lists([[1, 2, 3, 4]], 4), lists([[91, 92, 93]], 3), np.array([0.5]), np.array([0.0]), 6)
    assert rows_of(mixed) == [[1, 91, 2, 92, 3, 93]]


def test_either_side_fills_up_when_the_other_has_no_more():
    top, new = lists([[1], [1, 2, 3, 4, 5]], 5), lists([[91, 92, 93], []], 3)
    mixed = mix.interleave(top, new, np.array([0.2, 0.5]), np.array([0.0, 0.0]), 5)
    assert rows_of(mixed) == [[1, 91, 92, 93], [1, 2, 3, 4, 5]]


@given(st.data())
def test_interleaving_keeps_both_orders_and_loses_nothing(data):
    top = data.draw(st.lists(st.integers(0, 9), max_size=10))
    new = data.draw(st.lists(st.integers(100, 109), max_size=10))
    width = data.draw(st.integers(1, 24))
    share, phase = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 0.999))
    sides = lists([top], width + 10), lists([new], width + 10)
    mixed = mix.interleave(*sides, np.array([share]), np.array([phase]), width)
    row = rows_of(mixed)[0]
    assert len(row) == min(width, len(top) + len(new))
    got_top, got_new = [e for e in row if e < 100], [e for e in row if e >= 100]
    assert got_top == top[: len(got_top)]
    assert got_new == new[: len(got_new)]
    slots = int(np.floor(len(row) * share + phase) - np.floor(phase))
    if len(top) >= width and len(new) >= width:
        assert len(got_new) == slots


def test_must_items_move_into_the_head_and_the_rest_keeps_its_order():
    """Head of 3 with one must item at the end: the two best others, then the must item by rank, then the rest."""
    order = np.array([10, 11, 12, 13, 14], np.int32)
    unseen_items = np.array([[True, True, False, True, True]])
    must = np.array([[False, False, True, False, True]])
    mixed = mix.raise_must(unseen_items, must, np.array([3]), order, 5)
    assert rows_of(mixed) == [[10, 11, 14, 13]]


@given(st.data())
def test_raising_loses_nothing_and_puts_every_must_item_in_the_head(data):
    size = data.draw(st.integers(1, 20))
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    left, must = data.draw(flags), data.draw(flags)
    head = data.draw(st.integers(0, size))
    order = np.arange(size, dtype=np.int32)
    row = rows_of(mix.raise_must(np.array([left]), np.array([must]), np.array([head]), order, size))[0]
    assert sorted(row) == [place for place in range(size) if left[place]]
    wanted = [place for place in range(size) if left[place] and must[place]]
    assert set(wanted) <= set(row[: max(head, len(wanted))])
    others = [place for place in row if place not in wanted]
    assert others == sorted(others)


def test_packing_left_cuts_and_pads():
    values = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
    keep = np.array([[True, False, True, True], [False, False, False, True]])
    assert rows_of(mix.pack_left(values, keep, 2)) == [[1, 3], [8]]
    assert mix.pack_left(values, keep, 6).entries.shape == (2, 6)
