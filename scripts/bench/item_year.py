"""A year of a site's items and what was shown of them, as arrays. Pure; everything follows from the generator.

The site posts ITEMS_PER_DAY items a day, half of them evergreen. An item is shown from the day after it was posted,
evergreen ones for EVERGREEN_DAYS, timely ones for TIMELY_DAYS with falling weight. How often follows Zipf's law.
Row ``i`` of every array is the item with the number ``i + 1``, as the catalogue numbers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.packing import STATS

DAY = 86_400
DAYS = 365
ITEMS_PER_DAY = 400
ITEMS = DAYS * ITEMS_PER_DAY
CATEGORIES = 20
CATEGORY_SKEW = 0.8  # the largest of 20 categories has 20 % of the items
ZIPF = 0.9
EVERGREEN_DAYS, TIMELY_DAYS = 90, 30
TIMELY_SHARE = 0.4  # of all impressions
TIMELY_HALF_LIFE_DAYS = 1.5
WINDOW = 60  # days of visits
SLOTS = 16_384  # resolution of a day's table of what was shown
# Impressions a day, whatever the number of users: every size of the benchmark has the same scores.
IMPRESSIONS_PER_DAY = 2_800_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Year:
    """Items in order of posting. ``day`` is the run's date in days since 1970; ``posted`` (items,) Unix s."""

    day: int
    posted: NDArray[np.int64]
    evergreen: NDArray[np.bool_]
    category: NDArray[np.int64]
    popularity: Floats
    click_rate: Floats
    dwell_ms: Floats
    social: NDArray[np.int64]

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which items the site has taken out of its catalogue by the run's date, shape (items,)."""
        age = self.day - self.posted // DAY
        return age > np.where(self.evergreen, EVERGREEN_DAYS, TIMELY_DAYS)


def make(day: int, rng: np.random.Generator) -> Year:
    """The year before ``day`` (days since 1970)."""
    within = np.sort(rng.integers(1, DAY, (DAYS, ITEMS_PER_DAY)), axis=1)
    posted = ((day - DAYS + np.arange(DAYS))[:, None] * DAY + within).ravel()
    shares = np.arange(1, CATEGORIES + 1) ** -CATEGORY_SKEW
    rank = rng.permutation(ITEMS)
    appeal = (1 - rank / ITEMS) ** 8  # the popular ones are clicked more, too
    return Year(
        day=day,
        posted=posted,
        evergreen=rng.random(ITEMS) < 0.5,
        category=rng.choice(CATEGORIES, ITEMS, p=shares / shares.sum()),
        popularity=np.power(rank + 1.0, -ZIPF),
        click_rate=np.minimum((0.015 + 0.05 * appeal) * rng.lognormal(0.0, 0.15, ITEMS), 0.5),
        dwell_ms=(1500 + 3000 * appeal) * rng.lognormal(0.0, 0.2, ITEMS),
        social=rng.lognormal(1.0 + 2.0 * appeal, 1.0).astype(np.int64),
    )


def shown(year: Year, day: int) -> Floats:
    """Each item's share of the impressions of ``day``, shape (items,), sum 1."""
    age = day - year.posted // DAY
    weight = year.popularity * (age >= 1)
    lasting = np.where(year.evergreen & (age <= EVERGREEN_DAYS), weight, 0.0)
    fading = weight * np.exp2(-np.maximum(age, 0) / TIMELY_HALF_LIFE_DAYS)
    fading[year.evergreen | (age > TIMELY_DAYS)] = 0.0
    share: Floats = (1 - TIMELY_SHARE) * lasting / lasting.sum() + TIMELY_SHARE * fading / fading.sum()
    return share


def shown_tables(year: Year, rng: np.random.Generator) -> NDArray[np.uint32]:
    """What was shown, shape (WINDOW, SLOTS): row ``k - 1`` has the item numbers of the day ``k`` days before the run.

    An item has as many slots as its share of the day, so that drawing a slot is drawing an impression.
    """
    tables = np.empty((WINDOW, SLOTS), np.uint32)
    for back in range(1, WINDOW + 1):
        places = (np.arange(SLOTS) + rng.random(SLOTS)) / SLOTS
        ends = np.cumsum(shown(year, year.day - back))
        tables[back - 1] = np.minimum(np.searchsorted(ends, places * ends[-1], side="right"), ITEMS - 1) + 1
    return tables


def statistics(year: Year, day: int, rng: np.random.Generator) -> NDArray[Any]:
    """The rolled-up statistics of ``day``: rows of dtype STATS, sorted by item."""
    impressions = rng.poisson(shown(year, day) * IMPRESSIONS_PER_DAY)
    there = np.flatnonzero(impressions)
    rows = np.zeros(len(there), STATS)
    rows["item"], rows["impressions"] = there + 1, impressions[there]
    rows["clicks"] = rng.binomial(impressions[there], year.click_rate[there])
    rows["dwell_ms"] = impressions[there] * year.dwell_ms[there]
    rows["reactions"] = rng.binomial(rows["clicks"], 0.08)
    rows["conversions"] = rng.binomial(rows["clicks"], 0.01)
    return rows
