"""What happens in a visit: which items are shown at which position, and what the person does with them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.sample.clock import DAY
from scripts.sample.people import Floats, Ints, People, Visits

Bools = NDArray[np.bool_]
CHUNK = 512  # visits at a time: bounds the memory of the score matrix
MAX_SHOWN = 60
HALF_LIFE_MS = 1.5 * DAY * 1000  # of a timely item's appeal
BASE_CLICK = -1.75  # logit of a click on a middling item at the first position
POSITION_POWER = 0.4  # examination falls as position^-power
MAX_DWELL_MS = 1_200_000


@dataclass(frozen=True)
class Items:
    """The catalogue as arrays of I rows; times in Unix ms, ``quality`` standard normal."""

    category: Ints
    timely: Bools
    posted: Ints
    expires: Ints
    hidden: Bools
    quality: Floats


@dataclass(frozen=True)
class Shown:
    """Every impression and what followed, N rows.

    Times in Unix ms; 0 in ``clicked`` and ``dwell`` means never.
    """

    user: Ints
    item: Ints
    position: Ints
    ts: Ints
    clicked: Ints
    dwell: Ints
    liked: Bools
    converted: Bools
    hid: Bools


def appeal(items: Items, ts: Ints) -> Floats:
    """(V, I) logit of freshness at times ``ts`` (V,): 0 for evergreen, 1.2 falling to -1 for timely."""
    age = (ts[:, None] - items.posted).astype(np.float32)
    return np.where(items.timely, 2.2 * np.exp2(-np.maximum(age, 0) / HALF_LIFE_MS) - 1.0, 0.0)


def choose(
    items: Items, seen: Bools, start: Ints, counts: Ints, rng: np.random.Generator
) -> tuple[Ints, Bools]:
    """The items shown in each visit, best first, as an editor would: quality, freshness and chance.

    Args:
        items: the catalogue, I rows.
        seen: (V, I) what each visit's person has been shown before.
        start: (V,) Unix ms.
        counts: (V,) how many to show.

    Returns:
        (V, MAX_SHOWN) rows of ``items``, and which of those entries hold an item.
    """
    score = (0.5 * items.quality + 0.9 * appeal(items, start)).astype(np.float32)
    score += rng.gumbel(size=score.shape).astype(np.float32)
    live = (items.posted <= start[:, None]) & (items.expires > start[:, None]) & ~items.hidden & ~seen
    score[~live] = -np.inf
    width = min(MAX_SHOWN, score.shape[1])
    best = np.argpartition(-score, width - 1, axis=1)[:, :width]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(score, best, 1), axis=1, kind="stable"), 1)
    valid = np.take_along_axis(live, best, 1) & (np.arange(width) < counts[:, None])
    return best, valid


def click_probability(affinity: Floats, position: Ints) -> Floats:
    """Examination times attraction: position^-power · sigmoid(base + affinity); positions from 1."""
    attraction: Floats = 1 / (1 + np.exp(-(BASE_CLICK + affinity)))
    return attraction * position**-POSITION_POWER


def simulate(items: Items, people: People, visits: Visits, rng: np.random.Generator) -> Shown:
    """All visits in each person's order: a person is never shown an item twice."""
    seen = np.zeros((len(people.rhythm), len(items.category)), bool)
    parts = []
    for turn in range(int(visits.turn.max(initial=-1)) + 1):
        rows = np.flatnonzero(visits.turn == turn)
        for at in range(0, len(rows), CHUNK):
            chosen = rows[at : at + CHUNK]
            parts.append(_session(items, people, seen, visits.user[chosen], visits.start[chosen], rng))
    return Shown(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _session(
    items: Items, people: People, seen: Bools, user: Ints, start: Ints, rng: np.random.Generator
) -> tuple[NDArray[np.generic], ...]:
    counts = 1 + rng.geometric(1 / people.depth[user])
    shown, valid = choose(items, seen[user], start, counts, rng)
    position = np.broadcast_to(np.arange(1, shown.shape[1] + 1), shown.shape)
    fresh = np.take_along_axis(appeal(items, start), shown, 1)
    affinity = people.taste[user[:, None], items.category[shown]] + 0.7 * items.quality[shown] + 0.8 * fresh
    clicks = valid & (rng.random(shown.shape) < click_probability(affinity, position))
    dwell = np.where(clicks, rng.lognormal(10.1 + 0.22 * affinity, 0.9), 0)
    dwell = np.where(clicks, np.clip(dwell, 800, MAX_DWELL_MS), 0).astype(np.int64)
    pause = rng.integers(400, 3000, shown.shape)
    glance = (1000 + rng.exponential(2200, shown.shape)).astype(np.int64)
    spent = np.where(valid, glance + np.where(clicks, pause + dwell, 0), 0)
    ts = start[:, None] + np.cumsum(spent, axis=1) - np.where(clicks, pause + dwell, 0)
    seen[np.repeat(user, valid.sum(1)), shown[valid]] = True
    liked = clicks & (rng.random(shown.shape) < 0.05 * np.exp(np.clip(0.5 * affinity, -2, 1.2)))
    converted = clicks & (rng.random(shown.shape) < 0.008)
    hid = valid & ~clicks & (affinity < -1) & (rng.random(shown.shape) < 0.004)
    columns = (
        np.broadcast_to(user[:, None], shown.shape),
        shown,
        position,
        ts,
        np.where(clicks, ts + pause, 0),
        dwell,
        liked,
        converted,
        hid,
    )
    return tuple(column[valid] for column in columns)
