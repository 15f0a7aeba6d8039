"""New content: what was posted in the day before the run and has no score yet. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAY = 86_400


def is_new(age: NDArray[np.int64], impressions: NDArray[np.float64], *, min_impressions: int) -> NDArray[np.bool_]:
    """Which items are new, shape (items,): posted in the 24 hours before the run, with too few impressions to score.

    ``age`` is in seconds at the run's moment; an item posted at the moment itself is not out yet.
    """
    return (age > 0) & (age <= DAY) & (impressions < min_impressions)


def draw(new: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``shuffle(new)[:size]``: a random choice in random order, the same for the same ``rng``."""
    return rng.permutation(new)[:size]
