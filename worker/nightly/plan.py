"""The plan of a generation: its pool and all else that every list is made from. Pure.

The plan is written before the first list, so that a run that was killed goes on with the same one.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.nightly import fresh, score
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_EVERGREEN, POOL_LIMIT

DAY = 86_400


@dataclass(frozen=True)
class Catalogue:
    """What a run knows of every item, by item number - 1: ``meta`` of dtype META and statistics (items,) float64."""

    meta: NDArray[Any]
    impressions: NDArray[np.float64]
    clicks: NDArray[np.float64]
    dwell_ms: NDArray[np.float64]
    reactions: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """One generation.

    ``pool`` (n,) uint32 item numbers: top, new, best evergreen of past days; ``category`` (n,) int32.
    ``best_position`` (k,) int32 and ``best_day`` (k,) int32 (days since 1970) say which evergreen items nobody misses.
    ``top_score`` (top_count,) float64. ``older`` uint32: all live items, best first.
    """

    generation: int
    date: dt.date
    seed: int
    max_item: int
    top_count: int
    new_count: int
    pool: NDArray[np.uint32]
    category: NDArray[np.int32]
    best_position: NDArray[np.int32]
    best_day: NDArray[np.int32]
    top_score: NDArray[np.float64]
    older: NDArray[np.uint32]

    @property
    def moment(self) -> int:
        """00:00 UTC of the run's date, Unix seconds."""
        return moment_of(self.date)

    @property
    def day(self) -> int:
        """The run's date in days since 1970."""
        return self.moment // DAY


def moment_of(date: dt.date) -> int:
    """00:00 UTC of ``date`` in Unix seconds. Days are UTC days: every one has exactly one midnight."""
    return (date - dt.date(1970, 1, 1)).days * DAY


def live(meta: NDArray[Any], moment: int) -> NDArray[np.bool_]:
    """Which items can be shown at ``moment`` (Unix s), shape (items,): out, not expired, hidden or removed."""
    expires = meta["expires"].astype(np.int64)
    shown = (meta["flags"] & (FLAG_HIDDEN | FLAG_REMOVED)) == 0
    result: NDArray[np.bool_] = shown & (meta["posted"] < moment) & ((expires == 0) | (expires > moment))
    return result


def build(catalogue: Catalogue, date: dt.date, generation: int, seed: int, settings: Settings) -> Plan:
    """Score the catalogue at ``date`` and choose top, new and the best of past days."""
    meta, moment = catalogue.meta, moment_of(date)
    posted = meta["posted"].astype(np.int64)
    age, evergreen = moment - posted, meta["kind"] == KIND_EVERGREEN
    shown = live(meta, moment)
    value = _score(catalogue, age, evergreen, shown, settings)
    new = shown & fresh.is_new(age, catalogue.impressions, min_impressions=settings.min_impressions)
    ranking = score.rank(value, posted)
    ranking = ranking[shown[ranking]]
    scored = ranking[~new[ranking] & (value[ranking] > 0)]
    top = scored[: settings.top_size]
    rng = np.random.default_rng([seed, moment // DAY])
    drawn = fresh.draw(np.flatnonzero(new), min(settings.new_size, POOL_LIMIT - len(top)), rng)
    best, best_day = best_of_days(scored[evergreen[scored]], posted, moment, settings)
    extra = best[~np.isin(best, top)][: POOL_LIMIT - len(top) - len(drawn)]
    pool = np.concatenate([top, drawn, extra])
    place = np.full(len(meta) + 1, -1, np.int32)
    place[pool] = np.arange(len(pool))
    kept = place[best] >= 0
    return Plan(
        generation, date, seed, len(meta), len(top), len(drawn), (pool + 1).astype(np.uint32),
        meta["category"][pool].astype(np.int32), place[best][kept], best_day[kept].astype(np.int32),
        value[top], (ranking + 1).astype(np.uint32),
    )


def _score(catalogue: Catalogue, age: NDArray[np.int64], evergreen: NDArray[np.bool_], shown: NDArray[np.bool_],
           settings: Settings) -> NDArray[np.float64]:
    """Scores (items,), 0 for what is not shown: neither do such items count in the catalogue's means."""
    weights = score.Weights(settings.weight_clicks, settings.weight_dwell, settings.weight_social,
                            settings.prior_impressions)
    social = catalogue.meta["social"] + catalogue.reactions
    value = np.zeros(len(age))
    value[shown] = score.quality(catalogue.impressions[shown], catalogue.clicks[shown], catalogue.dwell_ms[shown],
                                 social[shown], weights)
    return value * score.freshness(age, evergreen, half_life_hours=settings.half_life_hours,
                                   evergreen_days=settings.evergreen_days)


def best_of_days(ranked: NDArray[np.int64], posted: NDArray[np.int64], moment: int,
                 settings: Settings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ``best_per_day`` first of ``ranked`` for each day of posting in the evergreen period: items, and their days.

    ``ranked`` holds item indices best first; so does the result.
    """
    days = posted[ranked] // DAY
    recent = days >= moment // DAY - settings.evergreen_days
    ranked, days = ranked[recent], days[recent]
    by_day = np.argsort(days, kind="stable")
    starts = np.r_[True, np.diff(days[by_day]) > 0] if len(by_day) else np.zeros(0, bool)
    run_start = np.maximum.accumulate(np.where(starts, np.arange(len(by_day)), 0))
    chosen = np.sort(by_day[np.arange(len(by_day)) - run_start < settings.best_per_day])
    return ranked[chosen], days[chosen]
