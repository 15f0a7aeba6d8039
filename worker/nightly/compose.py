"""From unseen to complete lists, for one chunk of users: mix, space, and what is told about the result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import mix
from worker.nightly.mix import Mixed, Shares
from worker.nightly.plan import Plan
from worker.nightly.space import space
from worker.packing import MISSED_EVERGREEN

DAY_MS = 86_400_000
WIDTH_FACTOR = 2  # a mixed list is so many times longer than the published one, for spacing to choose from


@dataclass(frozen=True)
class Complete:
    """Finished lists: ``entries`` (users, list_length) uint16, ``lengths`` (users,), the ``mixed`` ones,
    and ``order`` (users, list_length) int32, the place of each entry in its mixed list.

    ``narrowed`` (users,): items that stand closer to their category than the gap, since no order avoids it;
    ``missed`` (users,): best evergreen items that should be in the list and are not; ``new`` (users,): new items in it.
    """

    entries: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    mixed: Mixed
    order: NDArray[np.int32]
    narrowed: NDArray[np.int32]
    missed: NDArray[np.int64]
    new: NDArray[np.int64]


def compose(users: Sequence[bytes], last_seen_ms: NDArray[np.int64], unseen: NDArray[np.bool_], plan: Plan,
            settings: Settings) -> Complete:
    """Complete lists for ``users``; ``last_seen_ms`` (users,), ``unseen`` (users, pool)."""
    must = _must(last_seen_ms, plan) & unseen
    mixed = _mixed(users, last_seen_ms, unseen, must, plan, settings)
    order, lengths, narrowed = _spaced(mixed, plan, settings)
    entries = _ordered(mixed, order)
    missing = _missing(entries, lengths, must)
    again = np.flatnonzero(missing.any(axis=1))
    if len(again):
        forced = _must_first(Mixed(mixed.entries[again], mixed.lengths[again]), must[again])
        mixed.entries[again] = forced.entries
        order[again], lengths[again], narrowed[again] = _spaced(forced, plan, settings)
        entries = _ordered(mixed, order)
        missing = _missing(entries, lengths, must)
    inside = np.arange(entries.shape[1])[None, :] < lengths[:, None]
    safe = np.where(inside, entries, 0)
    is_new = inside & (safe >= plan.top_count) & (safe < plan.top_count + plan.new_count)
    marked = inside & np.take_along_axis(must, safe, axis=1) if must.shape[1] else inside
    packed = np.where(marked, safe | MISSED_EVERGREEN, safe).astype(np.uint16)
    return Complete(packed, lengths, mixed, order, narrowed, missing.sum(axis=1), is_new.sum(axis=1))


def default_list(plan: Plan, settings: Settings) -> Complete:
    """The list for anyone without one: nothing seen, as if away for a week."""
    week_ago = np.array([plan.moment * 1000 - 7 * DAY_MS])
    unseen = np.ones((1, len(plan.pool)), np.bool_)
    nobody = Plan(**{**plan.__dict__, "best_day": np.full_like(plan.best_day, -1)})
    return compose([b""], week_ago, unseen, nobody, settings)


def _must(last_seen_ms: NDArray[np.int64], plan: Plan) -> NDArray[np.bool_]:
    """Which pool positions are best evergreen items of days since the last visit, shape (users, pool)."""
    must = np.zeros((len(last_seen_ms), len(plan.pool)), np.bool_)
    must[:, plan.best_position] = plan.best_day[None, :] >= (last_seen_ms // DAY_MS)[:, None]
    return must


def _mixed(users: Sequence[bytes], last_seen_ms: NDArray[np.int64], unseen: NDArray[np.bool_], must: NDArray[np.bool_],
           plan: Plan, settings: Settings) -> Mixed:
    width = min(WIDTH_FACTOR * settings.list_length, len(plan.pool))
    away = (plan.moment * 1000 - last_seen_ms) / DAY_MS
    share = mix.new_share(away, Shares(settings.new_share_max, settings.new_share_min, settings.new_share_half_days))
    seeds = mix.user_seeds(users, plan.day, plan.seed)
    order = np.r_[0 : plan.top_count, plan.top_count + plan.new_count : len(plan.pool)].astype(np.int32)
    head = np.floor(mix.HEAD * (1 - share) * settings.list_length).astype(np.int64)
    top = mix.raise_must(unseen[:, order], must[:, order], head, order, width)
    drawn = (plan.top_count + mix.permutations(seeds, plan.new_count)).astype(np.int32)
    new = mix.pack_left(drawn, np.take_along_axis(unseen, drawn, axis=1), width)
    phase = (mix.splitmix64(seeds) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return mix.interleave(top, new, share, phase, width)


def _spaced(mixed: Mixed, plan: Plan,
            settings: Settings) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """As ``space`` gives them: order (users, list_length), lengths, and how often the gap was narrowed."""
    if mixed.entries.shape[1] == 0:
        nothing = np.full((len(mixed.lengths), settings.list_length), mix.EMPTY, np.int32)
        return nothing, mixed.lengths.copy(), np.zeros_like(mixed.lengths)
    categories = np.where(mixed.entries == mix.EMPTY, 0, plan.category[mixed.entries])
    return space(categories, mixed.lengths, gap=settings.gap, limit=settings.list_length)


def _ordered(mixed: Mixed, order: NDArray[np.int32]) -> NDArray[np.int32]:
    """The mixed entries in their order, shape of ``order``, EMPTY where it is."""
    if mixed.entries.shape[1] == 0:
        return order
    entries = np.take_along_axis(mixed.entries, np.maximum(order, 0), axis=1)
    return np.where(order < 0, mix.EMPTY, entries).astype(np.int32)


def _missing(entries: NDArray[np.int32], lengths: NDArray[np.int32], must: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which ``must`` positions (users, pool) did not come into the list."""
    inside = np.arange(entries.shape[1])[None, :] < lengths[:, None]
    rows, places = np.nonzero(inside)
    missing = must.copy()
    missing[rows, entries[rows, places]] = False
    return missing


def _must_first(mixed: Mixed, must: NDArray[np.bool_]) -> Mixed:
    """The same lists with what must be in them in front, both parts in their order."""
    inside = np.arange(mixed.entries.shape[1])[None, :] < mixed.lengths[:, None]
    wanted = inside & np.take_along_axis(must, np.where(inside, mixed.entries, 0), axis=1)
    order = np.argsort(np.where(wanted, 0, np.where(inside, 1, 2)), axis=1, kind="stable")
    return Mixed(np.take_along_axis(mixed.entries, order, axis=1), mixed.lengths)
