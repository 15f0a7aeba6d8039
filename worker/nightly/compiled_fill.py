"""From mixed lists and their order to entries: the compiled twin of the ends of `compose`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit

FLAG = 0x8000  # in an entry: a best evergreen item that the user missed


@jit
def fill_entries(mixed: NDArray[np.uint16], order: NDArray[np.int16], lengths: NDArray[np.int32],
                 rows: NDArray[np.int64], top_count: int, new_count: int, musts: NDArray[np.int32],
                 entries: NDArray[np.uint16], missed: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    """Fill ``entries`` (users, limit) of ``rows`` from their ``order``, 0 from ``lengths`` (users,) on.

    ``missed`` (users,) are the ``musts`` that are not among them, ``new`` (users,) the new items that are.
    """
    for user in rows:
        flagged, fresh = 0, 0
        for t in range(lengths[user]):
            entries[user, t] = mixed[user, order[user, t]]
        for t in range(lengths[user]):  # a loop of its own: many entries at once
            flagged += entries[user, t] >= FLAG
            fresh += (top_count <= entries[user, t]) & (entries[user, t] < top_count + new_count)
        entries[user, lengths[user] :] = 0
        missed[user] = musts[user] - flagged
        new[user] = fresh


@jit
def must_first(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], rows: NDArray[np.int64]) -> None:
    """Flagged entries of ``rows`` to the front, both parts in their order."""
    others = np.empty(mixed.shape[1], np.uint16)
    for user in rows:
        front, behind = 0, 0
        for i in range(lengths[user]):
            entry = mixed[user, i]
            if entry >= FLAG:
                mixed[user, front] = entry
                front += 1
            else:
                others[behind] = entry
                behind += 1
        mixed[user, front : lengths[user]] = others[:behind]
