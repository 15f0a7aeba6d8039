"""The compiled spacing orders rows as the numpy one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.nightly.compiled_exact import finish_lists
from worker.nightly.compiled_space import space_lists
from worker.nightly.space import space


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
