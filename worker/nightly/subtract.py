"""Subtraction: what a person saw leaves the pool. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ABSENT = -1


def position_table(pool: NDArray[np.uint32], max_item: int) -> NDArray[np.int32]:
    """Table from item number to pool position, shape (max_item + 2,), ABSENT where the pool has no such item."""
    table = np.full(max_item + 2, ABSENT, np.int32)
    table[pool] = np.arange(len(pool), dtype=np.int32)
    return table


def unseen(members: NDArray[np.int64], rows: NDArray[np.int64], users: int, table: NDArray[np.int32],
           pool_size: int) -> NDArray[np.bool_]:
    """Which pool positions each user has not seen, shape (users, pool_size).

    ``members`` (n,) are item numbers; ``rows`` (n,) says whose. Numbers of no item, 0 above all, and items outside
    the pool change nothing.
    """
    left = np.ones((users, pool_size), np.bool_)
    known = (members > 0) & (members < len(table))
    positions = table[members[known]]
    hit = positions != ABSENT
    left[rows[known][hit], positions[hit]] = False
    return left
