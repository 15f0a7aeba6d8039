"""The categories of each row as queues of items, best first: what `space` starts from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Queues:
    """Queues of a chunk of rows. An item is its position in the row, `width` means none.

    Each row's categories are numbered densely, 0 to at most `none` - 1; padding has the number `none`.

    `heads` (none + 1, users): the best item of each category. `counts`, same shape: the items it has.
    `links` (users * (width + 1),): each item's category number << `shift` | the next item of the category.
    """

    heads: Ints
    counts: Ints
    links: Ints
    none: int
    shift: int


def build_queues(categories: Ints, lengths: Ints) -> Queues:
    """Build the queues of `categories` (users, width), width > 0, read up to `lengths` (users,)."""
    shift = categories.shape[1].bit_length()
    position, starts, padding = _sorted(categories, lengths, shift)
    number = np.cumsum(starts, axis=1, dtype=np.int32) - np.int32(1)
    none = int(number.max(where=~padding, initial=-1)) + 1
    number[padding] = none
    heads, counts = _tops(position, starts, number, none)
    return Queues(heads, counts, _links(position, starts, number, none, shift), none, shift)


def _sorted(categories: Ints, lengths: Ints, shift: int) -> tuple[Ints, Mask, Mask]:
    """Rows sorted by category, then rank: positions, where a category starts, where padding stands."""
    width = categories.shape[1]
    real = np.arange(width) < lengths[:, None]
    top = int(categories.max(where=real, initial=0)) + 1
    key: Ints = np.where(real, categories, top).astype(np.int32 if top < 2 ** (31 - shift) else np.int64)
    key <<= shift
    key += np.arange(width, dtype=np.int32)
    key.sort(axis=1)  # the position in the low bits makes keys unique, so that any sort is a stable one
    category = key >> shift
    starts = np.ones(key.shape, dtype=np.bool_)
    starts[:, 1:] = category[:, 1:] != category[:, :-1]
    return key & ((1 << shift) - 1), starts, category == top


def _tops(position: Ints, starts: Mask, number: Ints, none: int) -> tuple[Ints, Ints]:
    users, width = position.shape
    small = np.dtype(np.int16 if width < 2**14 else np.int32)
    first = np.flatnonzero(starts)
    cells = number.ravel()[first] * np.int64(users) + first // width
    heads = np.full((none + 1, users), width, dtype=small)
    counts = np.zeros(heads.shape, dtype=small)
    heads.ravel()[cells] = position.ravel()[first]
    counts.ravel()[cells] = np.diff(first, append=starts.size)
    heads[none] = width
    return heads, counts


def _links(position: Ints, starts: Mask, number: Ints, none: int, shift: int) -> Ints:
    users, width = position.shape
    link_type = np.dtype(np.int32 if width < 2**14 else np.int64)
    link = number.astype(link_type) << shift
    link[:, -1:] |= width
    link[:, :-1] |= np.where(starts[:, 1:], width, position[:, 1:])
    links = np.full(users * (width + 1), (none << shift) | width, link_type)
    links[position + np.arange(users)[:, None] * (width + 1)] = link
    return links
