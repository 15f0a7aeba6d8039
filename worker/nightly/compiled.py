"""The compiled twin of `subtract.unseen` and `compose.compose`: the same lists, bit by bit, in a tenth of the time.

`Composer` needs numba (the extra ``fast``); `available` says whether it is there. The numpy path stays the reference:
what a list holds is defined there. Everything with transcendental functions in it is computed by the same numpy calls
here as there, once for each user, so that no rounding can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import mix
from worker.nightly.compiled_check import avoidable, count_repeats
from worker.nightly.compiled_exact import finish_lists
from worker.nightly.compiled_jit import available, jit
from worker.nightly.compiled_mix import FLAG, Pool, Visits, mix_lists
from worker.nightly.compiled_space import space_lists
from worker.nightly.compose import DAY_MS, WIDTH_FACTOR, Complete
from worker.nightly.mix import EMPTY, Mixed, Shares
from worker.nightly.plan import Plan
from worker.packing import POSITION_MASK

__all__ = ["Composed", "Composer", "available", "offsets_of"]

Members = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Composed:
    """Finished lists, as in `compose.Complete`, in fewer bytes.

    ``entries`` (users, list_length) uint16; ``lengths``, ``narrowed`` (users,) int32; ``missed``, ``new`` (users,) int64.
    ``mixed`` (users, width) uint16, valid up to ``mixed_lengths`` (users,) int32: pool positions, bit 15 set where the
    best evergreen items that the user missed; ``order`` (users, list_length) int16: places in ``mixed``, -1 at the end.
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
        mixed = Mixed(np.where(inside, self.mixed & POSITION_MASK, EMPTY).astype(np.int32), self.mixed_lengths)
        return Complete(self.entries, self.lengths, mixed, self.order.astype(np.int32), self.narrowed, self.missed,
                        self.new)


class Composer:
    """Makes and checks lists for one plan. It holds nothing of a call: threads may share one."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        """Raises ValueError where a best evergreen item is a new one: a plan from `plan.build` has none."""
        self._plan, self._settings = plan, settings
        self._width = min(WIDTH_FACTOR * settings.list_length, len(plan.pool))
        self._shares = Shares(settings.new_share_max, settings.new_share_min, settings.new_share_half_days)
        best = plan.best_position
        if ((best >= plan.top_count) & (best < plan.top_count + plan.new_count)).any():
            raise ValueError("plan.best_position names new items: the best evergreen items are scored ones")
        names, category = np.unique(plan.category, return_inverse=True)
        self._category, self._kinds = category.astype(np.int32), len(names)
        self._days, must, starts = _must_by_day(plan)
        table = np.full(plan.max_item + 2, len(plan.pool), np.int32)
        table[plan.pool] = np.arange(len(plan.pool), dtype=np.int32)
        prime = mix._next_prime(plan.new_count)
        self._pool = Pool(table, must, starts, len(plan.pool), plan.top_count, plan.new_count, prime)

    def __call__(self, users: Sequence[str], last_seen_ms: NDArray[np.int64], members: Members,
                 offsets: NDArray[np.int64]) -> Composed:
        """Lists for ``users``, last seen at ``last_seen_ms`` (users,).

        ``members`` (n,), of any signed integer type, are members of seen sets as stored, those of user ``u`` from
        ``offsets[u]`` to ``offsets[u + 1]``; ``offsets`` (users + 1,) int64.
        """
        count, limit = len(users), self._settings.list_length
        mixed, mixed_lengths = np.empty((count, self._width), np.uint16), np.empty(count, np.int32)
        musts = np.empty(count, np.int32)
        mix_lists(members, offsets, self._pool, self._visits(users, last_seen_ms), mixed, mixed_lengths, musts)
        lengths = np.minimum(mixed_lengths, limit).astype(np.int32)
        made = Composed(np.empty((count, limit), np.uint16), lengths, np.zeros(count, np.int32),
                        np.empty(count, np.int64), np.empty(count, np.int64), mixed, mixed_lengths,
                        np.empty((count, limit), np.int16))
        self._space(made, np.arange(count), musts)
        again = np.flatnonzero(made.missed)
        if len(again):
            _must_first(mixed, mixed_lengths, again)
            self._space(made, again, musts)
        return made

    def count_repeats(self, made: Composed, members: Members, offsets: NDArray[np.int64]) -> int:
        """As `gates.count_repeats`, from the seen sets themselves."""
        return int(count_repeats(made.entries, made.lengths, members, offsets, self._plan.pool, self._plan.max_item))

    def count_avoidable(self, made: Composed) -> int:
        """As `gates.count_avoidable`."""
        counts = np.empty(len(made.lengths), np.int32)
        avoidable(made.mixed, made.mixed_lengths, made.order, made.lengths, self._category, self._kinds,
                  self._settings.gap, counts)
        return int(counts.sum())

    def _visits(self, users: Sequence[str], last_seen_ms: NDArray[np.int64]) -> Visits:
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

    def _space(self, made: Composed, rows: NDArray[np.int64], musts: NDArray[np.int32]) -> None:
        gap, right = self._settings.gap, np.zeros(len(made.lengths), np.int32)
        lists = made.mixed, made.mixed_lengths
        space_lists(*lists, rows, self._category, self._kinds, gap, made.order, right)
        made.narrowed[rows] = 0
        rest = rows[right[rows] < made.lengths[rows]]
        if len(rest):
            finish_lists(*lists, rest, self._category, self._kinds, gap, made.order, right, made.narrowed)
        _fill(made.mixed, made.order, made.lengths, rows, self._pool.top_count, self._pool.new_count, musts,
              made.entries, made.missed, made.new)


def offsets_of(rows: NDArray[np.int64], users: int) -> NDArray[np.int64]:
    """Where each user's members begin, (users + 1,), from ``rows`` (n,), never falling, that say whose each is."""
    return np.searchsorted(rows, np.arange(users + 1)).astype(np.int64)


def _must_by_day(plan: Plan) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Days ``(d,)``, and the best evergreen items of each of them and later ones, by rank: flat, with starts (d + 2,)."""
    by_rank = np.argsort(plan.best_position, kind="stable")
    position, day = plan.best_position[by_rank], plan.best_day[by_rank]
    days = np.unique(day)
    parts = [position[day >= since] for since in days]
    starts = np.cumsum([0] + [len(part) for part in parts] + [0], dtype=np.int64)
    return days, np.concatenate([*parts, np.empty(0, np.int32)]).astype(np.int32), starts


@jit
def _fill(mixed: NDArray[np.uint16], order: NDArray[np.int16], lengths: NDArray[np.int32], rows: NDArray[np.int64],
          top_count: int, new_count: int, musts: NDArray[np.int32], entries: NDArray[np.uint16],
          missed: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    """The entries of ``rows`` from their order, and what is counted in them."""
    for user in rows:
        flagged, fresh = 0, 0
        for t in range(lengths[user]):
            entry = mixed[user, order[user, t]]
            entries[user, t] = entry
            flagged += entry >= FLAG
            fresh += top_count <= entry < top_count + new_count
        entries[user, lengths[user] :] = 0
        missed[user] = musts[user] - flagged
        new[user] = fresh


@jit
def _must_first(mixed: NDArray[np.uint16], lengths: NDArray[np.int32], rows: NDArray[np.int64]) -> None:
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
