"""Words of seen sets as item numbers in one pass: the compiled twin of `seen_set.live_items`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.nightly.compiled_jit import jit
from worker.seen_set import Words


def live_items(words: Words, mask: int) -> NDArray[np.int32]:
    """The item number of each word, same shape, 0 where its bucket is no live one."""
    items = np.empty(len(words), np.int32)
    decode(words, np.uint32(mask), items)
    return items


@jit
def decode(words: Words, mask: np.uint32, items: NDArray[np.int32]) -> None:
    """Fill ``items`` (n,)."""
    for i in range(len(words)):
        word = words[i]
        items[i] = (word >> np.uint32(7)) * ((mask >> ((word >> np.uint32(2)) & np.uint32(31))) & np.uint32(1))
