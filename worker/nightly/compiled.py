"""The compiled twin of `subtract.unseen` and `compose.compose`: the same lists, bit by bit, in a tenth of the time.

`Composer` needs numba (the extra ``fast``); `available` says whether it is there. The numpy path stays the reference:
what a list holds is defined there. Everything with transcendental functions in it is computed by the same numpy calls
here as there, once for each user, so that no rounding can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import mix
from worker.nightly.compiled_check import avoidable, count_repeats
from worker.nightly.compiled_exact import finish_lists
from worker.nightly.compiled_fill import fill_entries, must_first
from worker.nightly.compiled_jit import available
from worker.nightly.compiled_mix import Visits, mix_lists
from worker.nightly.compiled_plan import pool_of
from worker.nightly.compiled_space import space_lists
from worker.nightly.compose import DAY_MS, WIDTH_FACTOR, Complete
from worker.nightly.mix import EMPTY, Mixed, Shares
from worker.nightly.plan import Plan
from worker.packing import POSITION_MASK

__all__ = ["Composed", "Composer", "available", "offsets_of"]

SPARE = 5  # of a list's length, a fifth more is nearly always enough to fill it

Members = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Composed:
    """Finished lists, as in `compose.Complete`, in fewer bytes.

    ``entries`` (users, list_length) uint16; ``lengths``, ``narrowed`` (users,) int32; ``missed``, ``new`` (users,)
    int64. ``mixed`` (users, width) uint16, valid up to ``mixed_lengths`` (users,) int32: pool positions, bit 15 set for
    best evergreen items that the user missed, as far as they were needed; ``order`` (users, list_length) int16: places
    in ``mixed``, -1 at the end.
    """

    entries: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    narrowed: NDArray[np.int32]
    missed: NDArray[np.int64]
    new: NDArray[np.int64]
    mixed: NDArray[np.uint16]
    mixed_lengths: NDArray[np.int32]
    order: NDArray[np.int16]

    def complete(self) -> Complete:
        """The same in the types of the numpy path."""
        inside = np.arange(self.mixed.shape[1])[None, :] < self.mixed_lengths[:, None]
        positions = (self.mixed & POSITION_MASK).astype(np.int32)
        mixed = Mixed(np.where(inside, positions, np.int32(EMPTY)), self.mixed_lengths)
        return Complete(self.entries, self.lengths, mixed, self.order.astype(np.int32), self.narrowed, self.missed,
                        self.new)


class Composer:
    """Makes and checks lists for one plan. It holds nothing of a call: threads may share one."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        """Raises ValueError for a plan that `plan.build` can't have made."""
        self._pool, self._days = pool_of(plan)
        self._plan, self._settings = plan, settings
        self._width = min(WIDTH_FACTOR * settings.list_length, len(plan.pool))
        self._enough = min(settings.list_length + -(-settings.list_length // SPARE), self._width)
        self._shares = Shares(settings.new_share_max, settings.new_share_min, settings.new_share_half_days)
        names, category = np.unique(plan.category, return_inverse=True)
        self._category, self._kinds = category.astype(np.int32), len(names)

    def __call__(self, users: Sequence[bytes], last_seen_ms: NDArray[np.int64], members: Members,
                 offsets: NDArray[np.int64], reuse: Composed | None = None) -> Composed:
        """Lists for ``users``, last seen at ``last_seen_ms`` (users,).

        ``members`` (n,), of any signed integer type, are the items that were seen, 0 for none, those of user ``u`` from
        ``offsets[u]`` to ``offsets[u + 1]``; ``offsets`` (users + 1,) int64. Raises ValueError where these don't fit.
        ``reuse``: lists for no fewer users that are not needed any more; their memory is written over, which saves a
        fifth of the time, that of getting it from the system.
        """
        _check_seen(members, offsets, len(users), last_seen_ms)
        made = self._memory(len(users), reuse)
        mixed, mixed_lengths, musts = made.mixed, made.mixed_lengths, np.empty(len(users), np.int32)
        visits, everyone = self._visits(users, last_seen_ms), np.arange(len(users))

        def mix_rows(rows: NDArray[np.int64], width: int) -> None:
            mix_lists(members, offsets, self._pool, visits, rows, width, mixed, mixed_lengths, musts)

        # Most lists are full long before the end of what was mixed for them: the rest is mixed for those that are not.
        mix_rows(everyone, self._enough)
        np.minimum(mixed_lengths, self._settings.list_length, out=made.lengths)
        short = self._space(made, everyone)
        if len(short) and self._enough < self._width:
            mix_rows(short, self._width)
            short = self._space(made, short)
        self._finish(made, short)
        self._fill(made, everyone, musts)
        again = np.flatnonzero(made.missed)
        if len(again):
            mix_rows(again, self._width)
            must_first(mixed, mixed_lengths, again)
            self._finish(made, self._space(made, again))
            self._fill(made, again, musts)
        return made

    def count_repeats(self, made: Composed, members: Members, offsets: NDArray[np.int64]) -> int:
        """As `gates.count_repeats`, from the seen sets themselves."""
        _check_seen(members, offsets, len(made.lengths))
        return int(count_repeats(made.entries, made.lengths, members, offsets, self._plan.pool, self._plan.max_item))

    def count_avoidable(self, made: Composed) -> int:
        """As `gates.count_avoidable`."""
        counts = np.empty(len(made.lengths), np.int32)
        avoidable(made.mixed, made.mixed_lengths, made.order, made.lengths, self._category, self._kinds,
                  self._settings.gap, counts)
        return int(counts.sum())

    def _memory(self, count: int, reuse: Composed | None) -> Composed:
        """Room for ``count`` lists, filled with anything."""
        limit, width = self._settings.list_length, self._width
        if reuse and reuse.mixed.shape[1] == width and reuse.entries.shape[1] == limit and len(reuse.lengths) >= count:
            return Composed(*(getattr(reuse, field.name)[:count] for field in fields(reuse)))
        lengths, counts = np.empty((3, count), np.int32), np.empty((2, count), np.int64)
        return Composed(np.empty((count, limit), np.uint16), lengths[0], lengths[1], counts[0], counts[1],
                        np.empty((count, width), np.uint16), lengths[2], np.empty((count, limit), np.int16))

    def _visits(self, users: Sequence[bytes], last_seen_ms: NDArray[np.int64]) -> Visits:
        """The same numbers as in `compose` and `mix`, by the same calls."""
        plan, size, prime = self._plan, self._plan.new_count, self._pool.prime
        share = mix.new_share((plan.moment * 1000 - last_seen_ms) / DAY_MS, self._shares)
        head = np.floor(mix.HEAD * (1 - share) * self._settings.list_length).astype(np.int64)
        seeds = mix.user_seeds(users, plan.day, plan.seed)
        mixed_again = mix.splitmix64(seeds)
        phase = (mixed_again >> np.uint64(11)).astype(np.float64) / 2.0**53
        step = (1 + seeds % np.uint64(max(prime - 1, 1))).astype(np.int64)
        start = (mixed_again % np.uint64(prime)).astype(np.int64)
        day = np.searchsorted(self._days, last_seen_ms // DAY_MS).astype(np.int64)
        return Visits(head, share, phase, day, start if size else np.zeros_like(start), step)

    def _space(self, made: Composed, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Space ``rows`` in one pass each; those that it did not fill."""
        done = np.empty(len(made.lengths), np.bool_)
        space_lists(made.mixed, made.mixed_lengths, rows, self._category, self._kinds, self._settings.gap, made.order,
                    done)
        made.narrowed[rows] = 0
        return rows[~done[rows]]

    def _finish(self, made: Composed, rows: NDArray[np.int64]) -> None:
        """Space ``rows`` that one pass did not fill, step by step."""
        if len(rows):
            finish_lists(made.mixed, made.mixed_lengths, rows, self._category, self._kinds, self._settings.gap,
                         made.order, made.narrowed)

    def _fill(self, made: Composed, rows: NDArray[np.int64], musts: NDArray[np.int32]) -> None:
        """The entries of ``rows``, and what is counted of them."""
        fill_entries(made.mixed, made.order, made.lengths, rows, self._pool.top_count, self._pool.new_count, musts,
                     made.entries, made.missed, made.new)


def _check_seen(members: Members, offsets: NDArray[np.int64], users: int,
                last_seen_ms: NDArray[np.int64] | None = None) -> None:
    if last_seen_ms is not None and last_seen_ms.shape != (users,):
        raise ValueError(f"{users} users, but last_seen_ms of shape {last_seen_ms.shape}")
    if members.ndim != 1 or members.dtype.kind != "i":
        raise ValueError(f"members must be signed integers in one dimension, got {members.dtype} {members.shape}")
    fits = offsets.shape == (users + 1,) and offsets[0] >= 0 and offsets[-1] <= len(members)
    if not fits or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must be {users + 1} places in {len(members)} members, none before the last")


def offsets_of(rows: NDArray[np.int64], users: int) -> NDArray[np.int64]:
    """Where each user's members begin, (users + 1,), from ``rows`` (n,), never falling, that say whose each is."""
    return np.searchsorted(rows, np.arange(users + 1)).astype(np.int64)
