"""Scoring: how good every item is, from its statistics and its freshness. Pure.

``score = freshness * (weight_clicks · CTR/mean + weight_dwell · dwell/mean + weight_social · social/mean)``

* CTR is the lower end of Wilson's interval (E. B. Wilson 1927, z = 1) around the click-through rate after
  ``prior_impressions`` impressions at the catalogue's own rate were added (empirical Bayes): one click of one
  impression stays close to the mean, and of two equal rates the one that is better known wins.
* Dwell is the time spent per impression, smoothed alike. Social is ``log(1 + social + reactions)``.
* Each part is divided by the catalogue's mean, so that weights compare parts and not units.

With the other items fixed, more clicks never lower an item's own score: the smoothed rate grows faster than
the mean it is divided by, and so does its lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HOUR, DAY = 3600, 86_400
# What the catalogue's means are taken to be before anything is known, and how many trials that belief counts for.
CTR_BEFORE, DWELL_BEFORE_MS, TRIALS_BEFORE = 0.02, 1000.0, 50.0


@dataclass(frozen=True)
class Weights:
    """How the parts of a score count. ``prior_impressions`` must be positive."""

    clicks: float = 0.6
    dwell: float = 0.25
    social: float = 0.15
    prior_impressions: float = 200.0


def freshness(age: NDArray[np.int64], evergreen: NDArray[np.bool_], *, half_life_hours: float,
              evergreen_days: int) -> Floats:
    """Freshness in [0, 1] by age in seconds, shape (items,); never rises with age.

    Evergreen items: 1 until they are ``evergreen_days`` old, then 0. Timely ones: ``2^(-age / half-life)``.
    Negative ages (posted in the future) give 0: such an item is not out yet.
    """
    timely = np.exp2(-np.maximum(age, 0) / (half_life_hours * HOUR))
    lasting = (age <= evergreen_days * DAY).astype(np.float64)
    fresh: Floats = np.where(age < 0, 0.0, np.where(evergreen, lasting, timely))
    return fresh


def wilson_lower(rate: Floats, trials: Floats, z: float = 1.0) -> Floats:
    """Lower end of Wilson's interval for ``rate`` (0 to 1) seen in ``trials`` > 0; never falls as the rate rises."""
    spread = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    lower: Floats = (rate + z * z / (2 * trials) - spread) / (1 + z * z / trials)
    return np.maximum(lower, 0.0)


def quality(impressions: Floats, clicks: Floats, dwell_ms: Floats, social: Floats, weights: Weights) -> Floats:
    """Quality of every item, shape (items,), about ``sum of weights`` for an average one; never negative.

    All inputs are (items,) and non-negative; clicks above the impressions are cut to them.
    """
    clicks = np.minimum(clicks, impressions)
    known = impressions + weights.prior_impressions
    mean_ctr = _mean(clicks, impressions, CTR_BEFORE)
    rate = (clicks + weights.prior_impressions * mean_ctr) / known
    mean_dwell = _mean(dwell_ms, impressions, DWELL_BEFORE_MS)
    dwell = (dwell_ms + weights.prior_impressions * mean_dwell) / known
    logs = np.log1p(social)
    parts: Floats = weights.clicks * wilson_lower(rate, known) / mean_ctr
    parts += weights.dwell * dwell / mean_dwell
    parts += weights.social * logs / _mean(logs, np.ones_like(logs), 1.0)
    return parts


def rank(score: Floats, posted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the items, best first; of equal scores the newer, then the one with the lower index."""
    return np.lexsort((np.arange(len(score)), -posted, -score))


def _mean(parts: Floats, wholes: Floats, before: float) -> float:
    """The catalogue's mean rate, with ``before`` held for TRIALS_BEFORE trials so that it is never 0 or undefined."""
    return float((parts.sum() + TRIALS_BEFORE * before) / (wholes.sum() + TRIALS_BEFORE))
