"""Spacing: order each mixed list so that no category stands twice within `gap` positions.

Items are placed best first, passing over those whose category stands in the last `gap` positions. Besides:

* Look-ahead. While the rest can be filled without a violation, an item that would end this is passed over
  too. So there is no violation wherever some choice and order of the items has none.
* Narrowing. Where no item is allowed, the one whose category stood longest ago is placed. While the rest
  can't be filled at `gap`, the look-ahead guards the widest gap it can be filled at, as far as the items
  that are allowed at `gap` leave a choice.

The closed form. Let R positions be left, k = gap + 1, R - 1 = q k + s with 0 <= s < k; n_c the items
category c has left, r_c the steps until it is allowed, B the sum of min(n_c, q), T the categories with n_c >
q and r_c <= s. The R positions can be filled without a violation iff B + min(s + 1, |T|) >= R.

*Necessary*: cut the positions into a block of s + 1 and then q blocks of k. A category stands at most once
in a block, so it gives at most q + 1, and q + 1 only if it is in T and has one of the s + 1 places of the
first.

*Sufficient*: write the positions in rows of k; columns 0..s have q + 1 rows, the others q. Drop items until
R are left, at most s + 1 categories with q + 1, all in T. Give each of these a whole column: r_c if r_c > 0
(no two categories share an r_c > 0), else the leftmost free one. Pour the others, largest r_c first, down
the free columns from right to left. One that goes on in a column further left stays above the rows it began
in: at least k positions apart. The i-th begins at or before the top of the i-th free column from the right,
which is not left of column r_c unless the leftmost-first rule took all columns left of r_c.

*Tight*: the same form after one more placement shows that an allowed c spoils a rest that can be filled iff
c is not in T, |T| > s and B + s + 1 = R. Then the next item is one of T; at most s of T have r_c > 0. The
spare B + s + 1 - R falls by at most 1 a step while s > 0, and in k steps by at most max(C - 1, k), with C
categories: a row is looked at again only when its spare can have run out, which never changes the result.

Cost: O(limit users C) for a minimum over the categories at each step, O(users width log width) to sort;
memory O(users (width + C)), C being the most categories in one row (<= width). Integers only, nothing
random.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.nightly.space_queues import build_queues

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def space(
    categories: Ints, lengths: Ints, *, gap: int = 3, limit: int = 200
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Choose and order `limit` items of every row, equal categories more than `gap` positions apart.

    `categories` is (users, width), any integers from 0 to 2**31 - 1: the category of each item of the mixed
    list, best first; what stands at or after `lengths[u]` is padding. `lengths` is (users,). Gap 0 keeps the
    order.

    Returns `order` (users, limit) int32, indices into the row in the order of publishing, -1 from `placed`
    on; `placed` (users,) int32 = min(limit, length); `narrowed` (users,) int32, the items placed within `gap`
    of their own category, as nothing left would have avoided it. Raises ValueError for arguments of a wrong
    shape, type or range.
    """
    _check(categories, lengths, gap, limit)
    users, width = categories.shape
    placed = np.minimum(lengths, limit).astype(np.int32)
    steps = int(placed.max(initial=0))
    gap = min(gap, max(steps - 1, 0))  # a wider window than the list holds forbids nothing more
    order = np.full((users, limit), -1, dtype=np.int32)
    if gap == 0:
        first = np.arange(steps, dtype=np.int32)
        order[:, :steps] = np.where(first < placed[:, None], first, -1)
        return order, placed, np.zeros(users, dtype=np.int32)
    spacer = _Spacer(categories, lengths, placed, gap)
    picked = np.stack([spacer.step(t) for t in range(steps)], axis=1)
    order[:, :steps] = np.where(picked < width, picked, -1)
    return order, placed, spacer.narrowed


def _check(categories: Ints, lengths: Ints, gap: int, limit: int) -> None:
    shapes, types = (categories.shape, lengths.shape), (categories.dtype, lengths.dtype)
    if len(shapes[0]) != 2 or shapes[1] != shapes[0][:1]:
        raise ValueError(f"categories must be (users, width) and lengths (users,), got shapes {shapes}")
    if any(dtype.kind not in "iu" for dtype in types):
        raise ValueError(f"categories and lengths must be integers, got {types[0]} and {types[1]}")
    if gap < 0 or limit < 1:
        raise ValueError(f"gap must be at least 0 and limit at least 1, got gap={gap} and limit={limit}")
    width = categories.shape[1]
    if lengths.size and (lengths.min() < 0 or lengths.max() > width):
        raise ValueError(f"lengths must be 0 to {width}, the width, got {lengths.min()} to {lengths.max()}")
    real = categories[np.arange(width) < lengths[:, None]]
    if real.size and (real.min() < 0 or real.max() >= 2**31):
        raise ValueError(f"categories must be 0 to 2**31 - 1, got {real.min()} to {real.max()}")


class _Spacer:
    """The state of all rows between two steps.

    An item is its position in the row, `width` means none. Matrices are (categories, users): a minimum over
    the categories runs along whole vectors of users. Category number `none`, the last, is a dummy that takes
    the writes of users whose list is full.
    """

    def __init__(self, categories: Ints, lengths: Ints, placed: NDArray[np.int32], gap: int) -> None:
        self.gap, self.placed = gap, placed
        users, self.width = categories.shape
        queues = build_queues(categories, lengths)
        self.heads, self.counts, self.links = queues.heads, queues.counts, queues.links
        self.none, self.shift, self.small = queues.none, queues.shift, queues.heads.dtype
        self.mask = (1 << self.shift) - 1
        self.users, self.column = np.int64(users), np.arange(users)  # int64: products must not wrap
        self.last = np.full(self.heads.shape, -gap - 1, dtype=self.small)
        # Of the items placed in the last gap + 1 steps: the category's cell in `heads`, and its next item.
        self.recent_cell = np.tile(self.none * users + self.column, (gap + 1, 1))
        self.recent_next = np.full((gap + 1, users), self.width, dtype=self.small)
        self.look_at = np.zeros(users, dtype=np.int64)
        self.narrowed = np.zeros(users, dtype=np.int32)

    def step(self, t: int) -> Ints:
        """Place item t of every list and return its position in the row, `width` where the list is full."""
        slot = t % (self.gap + 1)
        self.heads.ravel()[self.recent_cell[slot]] = self.recent_next[slot]
        picked: Ints = self.heads[: self.none].min(axis=0, initial=self.width)
        due = np.flatnonzero((self.look_at <= t) & (self.placed > t))
        if due.size:
            self._look_ahead(due, t, picked)
        stuck = np.flatnonzero((picked == self.width) & (self.placed > t))
        if stuck.size:
            picked[stuck] = self._narrow(stuck, t)
        self._place(picked, t, slot)
        return picked

    def _place(self, picked: Ints, t: int, slot: int) -> None:
        link = self.links[self.column * (self.width + 1) + picked]
        cell = (link >> self.shift) * self.users + self.column
        self.heads.ravel()[cell] = self.width
        self.counts.ravel()[cell] -= 1
        self.last.ravel()[cell] = t
        self.recent_cell[slot] = cell
        self.recent_next[slot] = link & self.mask

    def _narrow(self, rows: NDArray[np.int64], t: int) -> Ints:
        """The next item of the category that stood longest ago and has one, where no item is allowed.

        At most `gap` categories are left then, all within the last `gap` positions. Placed by turns they stay
        there: every later item of the row is placed here too, and there is nothing to look ahead for.
        """
        chosen = np.full(rows.size, self.width, dtype=self.small)
        for age in range(self.gap, 0, -1):
            queue = self.recent_next[(t - age) % (self.gap + 1)]
            take = (chosen == self.width) & (queue[rows] < self.width)
            chosen[take] = queue[rows[take]]
            queue[rows[take]] = self.width  # its new placing will release the category, not the old one
        self.narrowed[rows] += 1
        self.look_at[rows] = self.placed[rows]
        return chosen

    def _look_ahead(self, rows: NDArray[np.int64], t: int, picked: Ints) -> None:
        """Where the rest is tight at the widest gap it can be filled at, pick from the categories in T."""
        self.look_at[rows] = self.placed[rows]  # stays where only gap 0 can be kept: nothing is tight at that
        for gap in range(self.gap, 0, -1):
            left = self.placed[rows] - t
            whole, part = np.divmod(left - 1, gap + 1)
            counts = self.counts[: self.none].take(rows, axis=1)
            over = counts > whole.astype(self.small)
            over &= self.last[: self.none].take(rows, axis=1) < (t + part - gap).astype(self.small)
            number_over = np.count_nonzero(over, axis=0)
            base = np.minimum(counts, whole.astype(self.small)).sum(axis=0, dtype=np.int64)
            fillable = base + np.minimum(part + 1, number_over) >= left
            spare = base + part + 1 - left
            tight = fillable & (spare == 0) & (number_over > part)
            if tight.any():
                self._pick_among(rows[tight], over[:, tight], picked)
            self.look_at[rows[fillable]] = t + self._wait(spare, part, gap)[fillable]
            rows = rows[~fillable]
            if not rows.size:
                return

    def _wait(self, spare: Ints, part: Ints, gap: int) -> Ints:
        """Steps in which the spare can't run out (see the module's docstring), at least 1."""
        period = (spare - 1) // max(self.none - 1, gap + 1) * (gap + 1)
        wait: Ints = np.maximum(np.minimum(spare, part + 1), period)
        return np.maximum(wait, 1)

    def _pick_among(self, rows: NDArray[np.int64], wanted: Mask, picked: Ints) -> None:
        """Replace the pick by the best allowed item of the wanted categories, if there is one."""
        heads = self.heads[: self.none].take(rows, axis=1)
        best = np.where(wanted, heads, self.width).min(axis=0, initial=self.width)
        picked[rows] = np.where(best < self.width, best, picked[rows])
