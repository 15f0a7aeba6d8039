"""What a word of a seen set says: an item, the bucket of days in which something happened with it, and flags.

A seen set is a string of little-endian words of 32 bits, ``item (25) | bucket modulo 32 (5) | flags (2)``, in any
order; of one item and bucket there is one. A bucket's code comes again after 320 days, long after the set has lost it:
words that no longer count go with the first event of a later bucket, or with the set. ``lua/edge/seen.lua`` and
``lua/redis/events.lua`` read the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.keyspace import BUCKET_BITS, FLAG_BITS

CLICKED, UNCOUNTED = 1, 2  # flags; UNCOUNTED: no impression of the item was counted yet
CODES = 1 << BUCKET_BITS
ITEM_SHIFT = BUCKET_BITS + FLAG_BITS
Words = NDArray[np.uint32]
Number = TypeVar("Number", int, NDArray[np.int64])
_FLAGS = (1 << FLAG_BITS) - 1


def word_of(item: Number, bucket: Number, flags: Number | int = 0) -> Number:
    """The word for an item number, a bucket (days since 1970 by bucket_days) and flags; int64 arrays do, too."""
    return item << ITEM_SHIFT | bucket % CODES << FLAG_BITS | flags


def parts_of(word: int) -> tuple[int, int, int]:
    """Item number, bucket code (the bucket modulo 32) and flags of a word."""
    return word >> ITEM_SHIFT, word >> FLAG_BITS & CODES - 1, word & _FLAGS


def words_of(raw: bytes | None) -> Words:
    """The words of a seen set, shape (n,); none of one that is not there."""
    return np.frombuffer(raw or b"", "<u4", count=len(raw or b"") // 4)


def packed(words: Iterable[int]) -> bytes:
    """A seen set of these words."""
    return np.fromiter(words, "<u4").tobytes()


def live_mask(buckets: Iterable[int]) -> int:
    """One bit for the code of each live bucket. There are fewer live buckets than codes."""
    mask = 0
    for bucket in buckets:
        mask |= 1 << bucket % CODES
    return mask


def live_items(words: Words, mask: int) -> NDArray[np.int32]:
    """The item number of each word, same shape, 0 where its bucket is no live one."""
    live = np.uint32(mask) >> (words >> np.uint32(FLAG_BITS)) % np.uint32(CODES) & np.uint32(1)
    items: NDArray[np.int32] = ((words >> np.uint32(ITEM_SHIFT)) * live).view(np.int32)
    return items
