"""What a member of a seen set says: an item, the bucket of days in which something happened with it, and flags.

A member is 32 bits, ``item (25) | bucket modulo 32 (5) | flags (2)``, less 2^31, so that Redis keeps the set as an
intset of four bytes a member whose order is the order of items. Of one item and bucket there is one member. A bucket's
code comes again after 320 days, long after the set has lost it: members that no longer count go with the first event
of a later bucket, or with the set. ``lua/edge/seen.lua`` and ``lua/redis/events.lua`` read the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.keyspace import BUCKET_BITS, FLAG_BITS

CLICKED, UNCOUNTED = 1, 2  # flags; UNCOUNTED: no impression of the item was counted yet, a click or hide came first
CODES = 1 << BUCKET_BITS
ITEM_SHIFT = BUCKET_BITS + FLAG_BITS
ZERO = 1 << 31
Number = TypeVar("Number", int, NDArray[np.int64])
_FLAGS = (1 << FLAG_BITS) - 1


def member_of(item: Number, bucket: Number, flags: Number | int = 0) -> Number:
    """The member for an item number, a bucket (days since 1970 by bucket_days) and flags; int64 arrays do, too."""
    return (item << ITEM_SHIFT | bucket % CODES << FLAG_BITS | flags) - ZERO


def parts_of(member: int) -> tuple[int, int, int]:
    """Item number, bucket code (the bucket modulo 32) and flags of a member."""
    word = member + ZERO
    return word >> ITEM_SHIFT, word >> FLAG_BITS & CODES - 1, word & _FLAGS


def live_mask(buckets: Iterable[int]) -> int:
    """One bit for the code of each live bucket. There are fewer live buckets than codes."""
    mask = 0
    for bucket in buckets:
        mask |= 1 << bucket % CODES
    return mask


def live_items(members: NDArray[np.signedinteger[Any]], mask: int) -> NDArray[np.uint32]:
    """The item number of each member, same shape, 0 where its bucket is no live one, and for what is no member."""
    if members.dtype.itemsize > 4:
        members = np.where((members >= -ZERO) & (members < ZERO), members, -ZERO)
    words = members.astype(np.int32, copy=False).view(np.uint32) ^ np.uint32(ZERO)
    live = np.uint32(mask) >> (words >> np.uint32(FLAG_BITS)) % np.uint32(CODES) & np.uint32(1)
    items: NDArray[np.uint32] = (words >> np.uint32(ITEM_SHIFT)) * live
    return items
