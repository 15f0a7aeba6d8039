"""Spacing: known answers, every small row against a brute-force oracle, and the rules on larger rows."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle_space import blocked, can_fill, spaced, widest

from worker.nightly import space as module
from worker.nightly.space import space
from worker.nightly.space_check import avoidable_violations, fillable, violations

Ints = NDArray[np.integer[Any]]
rows = st.integers(2, 5).flatmap(lambda kinds: st.lists(st.integers(0, kinds - 1), min_size=1, max_size=11))


def one(row: list[int], gap: int, limit: int) -> tuple[list[int], int]:
    """The placed positions of a single row and the number of violations."""
    order, placed, narrowed = space(np.array([row]), np.array([len(row)]), gap=gap, limit=limit)
    return order[0, : placed[0]].tolist(), int(narrowed[0])


def every_row(length: int, kinds: int) -> Iterator[tuple[int, ...]]:
    """All rows of up to `kinds` categories, but for renaming: a new category takes the next number."""
    if length == 0:
        yield ()
        return
    for row in every_row(length - 1, kinds):
        for category in range(min(max(row, default=-1) + 2, kinds)):
            yield (*row, category)


def chunk(seed: int, users: int, width: int, kinds: int, skew: float) -> tuple[Ints, Ints]:
    """Rows of unequal length with categories drawn by a power law."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, kinds + 1) ** -skew
    categories = rng.choice(kinds, p=share / share.sum(), size=(users, width))
    return categories, rng.integers(0, width + 1, users)


@pytest.mark.parametrize(
    ("row", "gap", "limit", "order", "narrowed"),
    [
        ([0, 0, 1, 2], 1, 4, [0, 2, 1, 3], 0),  # best first, the second 0 waits for one position
        ([1, 2, 0, 0], 1, 4, [0, 2, 1, 3], 0),  # 2 is passed over: after 1 2, the two 0 would touch
        ([1, 2, 0, 0], 1, 3, [0, 1, 2], 0),  # only three are kept: nothing is tight
        ([0, 0, 0, 1], 1, 4, [0, 3, 1, 2], 1),  # no order is clean; 1 is used where it still helps
        ([0, 1, 0, 1], 3, 4, [0, 1, 2, 3], 2),  # two categories can keep a gap of 1, and do
        ([0, 0, 1, 1, 2, 2], 3, 6, [0, 2, 4, 1, 3, 5], 3),  # the category that stood longest ago comes back
        ([5, 5], 9, 2, [0, 1], 1),  # a gap wider than the list
        ([3], 3, 5, [0], 0),
    ],
)
def test_known_orders(row: list[int], gap: int, limit: int, order: list[int], narrowed: int) -> None:
    assert one(row, gap, limit) == (order, narrowed)


@pytest.mark.parametrize(("length", "kinds"), [(n, 4) for n in range(1, 8)] + [(8, 3)])
def test_every_small_row_is_ordered_as_the_oracle_says(length: int, kinds: int) -> None:
    categories = np.array(list(every_row(length, kinds)))
    lengths = np.full(len(categories), length)
    for gap in (1, 2, 3):
        for limit in range(1, length + 1):
            order, _, narrowed = space(categories, lengths, gap=gap, limit=limit)
            found = list(zip(order.tolist(), narrowed.tolist(), strict=True))
            assert found == [spaced(row, gap, limit) for row in categories.tolist()], (gap, limit)


@settings(max_examples=300)
@given(row=rows, gap=st.integers(1, 5), cut=st.integers(0, 5))
def test_each_step_keeps_the_rules(row: list[int], gap: int, cut: int) -> None:
    limit = max(1, len(row) - cut)
    order, narrowed = one(row, gap, limit)
    clean = can_fill(row, [], limit, gap)
    assert not (clean and narrowed), "a violation although some order has none"
    for step, chosen in enumerate(order):
        history, waiting = [row[i] for i in order[:step]], sorted(set(range(len(row))) - set(order[:step]))
        allowed = [i for i in waiting if row[i] not in blocked(history, gap)]
        assert chosen in allowed or not allowed, "a violation that a remaining item would avoid"
        if allowed and chosen != allowed[0]:
            keep = widest([row[i] for i in waiting], history, limit - step, gap)
            rest = [row[i] for i in waiting if i != allowed[0]]
            after = [*history, row[allowed[0]]]
            assert not can_fill(rest, after, limit - step - 1, keep), "a better item was passed over in vain"


@settings(max_examples=300)
@given(row=rows, gap=st.integers(0, 5), cut=st.integers(0, 5))
def test_nothing_is_lost_or_doubled_and_each_category_in_order(row: list[int], gap: int, cut: int) -> None:
    limit = max(1, len(row) - cut)
    order, _ = one(row, gap, limit)
    assert len(order) == len(set(order)) == limit
    positions: dict[int, list[int]] = defaultdict(list)
    for i, category in enumerate(row):
        positions[category].append(i)
    for category, queue in positions.items():
        taken = [i for i in order if row[i] == category]
        assert taken == queue[: len(taken)]


@settings(max_examples=200)
@given(data=st.data(), gap=st.integers(1, 4), length=st.integers(1, 60))
def test_items_shuffled_from_a_clean_order_come_out_clean(data: st.DataObject, gap: int, length: int) -> None:
    clean: list[int] = []
    for _ in range(length):
        clean.append(data.draw(st.sampled_from(sorted(set(range(gap + 2)) - blocked(clean, gap)))))
    row = data.draw(st.permutations(clean))
    order, narrowed = one(row, gap, length)
    assert narrowed == 0
    assert violations(np.array([[row[i] for i in order]]), np.array([length]), gap).tolist() == [0]


@pytest.mark.parametrize(("kinds", "skew"), [(40, 0.5), (20, 1.0), (4, 0.0), (3, 0.0), (300, 0.3)])
def test_a_chunk_gives_the_same_as_its_rows_alone_whatever_the_padding(kinds: int, skew: float) -> None:
    categories, lengths = chunk(1, 2048, 90, kinds, skew)
    order, placed, narrowed = space(categories, lengths, gap=3, limit=60)
    assert placed.tolist() == np.minimum(lengths, 60).tolist()
    assert (order[np.arange(60) >= placed[:, None]] == -1).all()
    for user in range(0, 2048, 31):
        row = categories[user, : lengths[user]].tolist()
        assert (order[user, : placed[user]].tolist(), narrowed[user]) == (one(row, 3, 60) if row else ([], 0))
    padded = np.where(np.arange(90) < lengths[:, None], categories, -7)
    wider = np.concatenate([padded, np.full((2048, 5), 2**40)], axis=1)
    for again in (padded, wider):
        assert all(map(np.array_equal, space(again, lengths, gap=3, limit=60), (order, placed, narrowed)))


@pytest.mark.parametrize(("kinds", "skew"), [(20, 1.0), (12, 0.5), (6, 0.7), (4, 0.0), (3, 0.5), (30, 1.6)])
@pytest.mark.parametrize("width", [200, 400])
def test_realistic_rows_have_no_avoidable_violation(kinds: int, skew: float, width: int) -> None:
    categories, lengths = chunk(2, 300, width, kinds, skew)
    order, placed, narrowed = space(categories, lengths, gap=3, limit=200)
    listed = np.take_along_axis(categories, np.maximum(order, 0), axis=1)
    assert violations(listed, placed, 3).tolist() == narrowed.tolist()
    assert not avoidable_violations(categories, lengths, order, placed, gap=3).any()


@pytest.mark.parametrize("gap", [1, 2, 3, 5])
def test_looking_at_all_rows_at_all_steps_changes_nothing(gap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [chunk(3, 200, 120, kinds, skew) for kinds in (3, 6, 8, 20) for skew in (0.0, 0.6, 1.0)]
    seldom = [space(categories, lengths, gap=gap, limit=80) for categories, lengths in chunks]
    step = module._Spacer.step

    def look_and_step(spacer: module._Spacer, t: int) -> Ints:
        spacer.look_at[:] = 0
        return step(spacer, t)

    monkeypatch.setattr(module._Spacer, "step", look_and_step)
    for (categories, lengths), expected in zip(chunks, seldom, strict=True):
        always = space(categories, lengths, gap=gap, limit=80)
        assert all(map(np.array_equal, always, expected))


def test_rows_too_long_for_narrow_integers_are_ordered_too() -> None:
    row = 34_999 - np.arange(70_000)[None, :] // 2  # pairs: each second item waits a place
    order, _, narrowed = space(row, np.array([70_000]), gap=1, limit=6)
    assert order.tolist() == [[0, 2, 1, 3, 4, 6]]
    assert narrowed.tolist() == [0]


def test_gap_0_keeps_the_order_and_empty_input_gives_empty_lists() -> None:
    order, placed, narrowed = space(np.array([[4, 4, 4], [1, 1, -1]]), np.array([3, 2]), gap=0, limit=4)
    assert order.tolist() == [[0, 1, 2, -1], [0, 1, -1, -1]]
    assert (placed.tolist(), narrowed.tolist()) == ([3, 2], [0, 0])
    for shape in ((0, 7), (2, 0)):
        order, placed, _ = space(np.zeros(shape, dtype=int), np.zeros(shape[0], dtype=int), gap=3, limit=4)
        assert order.shape == (shape[0], 4)
        assert (order == -1).all()
        assert not placed.any()


@pytest.mark.parametrize(
    ("categories", "lengths", "gap", "limit", "complaint"),
    [
        ([1, 2], [2], 3, 5, "users, width"),
        ([[1, 2]], [2, 2], 3, 5, "shapes"),
        ([[1.0, 2.0]], [2], 3, 5, "integers"),
        ([[1, 2]], [2], -1, 5, "gap"),
        ([[1, 2]], [2], 3, 0, "limit"),
        ([[1, 2]], [3], 3, 5, "lengths must be 0 to 2"),
        ([[1, -2]], [2], 3, 5, "got -2 to 1"),
        ([[1, 2**31]], [2], 3, 5, "categories must be"),
    ],
)
def test_wrong_arguments_are_named(
    categories: list[Any], lengths: list[int], gap: int, limit: int, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        space(np.array(categories), np.array(lengths), gap=gap, limit=limit)


def test_the_checker_counts_what_greedy_placing_gets_wrong() -> None:
    categories = np.array([[1, 2, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 2, 0, 0]])
    order = np.array([[0, 1, 2, 3], [0, 3, 1, 2], [0, 1, 2, 3], [0, 2, 1, 3]])
    lengths = np.full(4, 4)
    listed = np.take_along_axis(categories, order, axis=1)
    assert violations(listed, lengths, 1).tolist() == [1, 1, 2, 0]
    # 1 2 0 0: a clean order exists. 0 1 0 0: excused. 0 0 0 1: the 1 was left both times.
    assert avoidable_violations(categories, lengths, order, lengths, gap=1).tolist() == [1, 0, 2, 0]
    # Three of 0 0 0 1 at gap 2: the 1 was left at the second and, with one 0, at the third place.
    first, order = categories[1:2], np.array([[0, 1, 2]])
    assert avoidable_violations(first, np.array([4]), order, np.array([3]), gap=2).tolist() == [2]


@settings(max_examples=300)
@given(row=rows, gap=st.integers(1, 5), cut=st.integers(0, 11))
def test_the_closed_form_agrees_with_trying_every_order(row: list[int], gap: int, cut: int) -> None:
    size = max(0, len(row) - cut)
    counts = np.bincount(row)[None, :]
    assert fillable(counts, np.array([size]), gap).tolist() == [can_fill(row, [], size, gap)]
