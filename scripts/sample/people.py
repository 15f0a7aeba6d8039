"""Who the visitors are: their tastes, how deep they read, and the days and hours on which they come."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.sample.clock import DAY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RHYTHMS = ("daily", "weekend", "weekly", "occasional", "lapsed", "newcomer", "one-off")
SHARES = (0.045, 0.08, 0.11, 0.12, 0.185, 0.13, 0.33)
CHRONOTYPES = (7.5, 12.5, 20.5)  # the hour of the day, UTC, around which a person comes
NEWCOMER_DAYS = 12
CERTAIN = 9.0  # the rate of a day that defines the rhythm
TASTE_SPREAD = 0.35  # concentration of the Dirichlet tastes: below 1, few categories take most


@dataclass(frozen=True)
class People:
    """The visitors, one row a person.

    rhythm: (U,) index into RHYTHMS. taste: (U, C) logit added for a category, about -2 to 2.
    depth: (U,) mean items scrolled past in a visit. activity: (U,) multiplier of visit rates, heavy-tailed.
    """

    rhythm: Ints
    taste: Floats
    depth: Floats
    activity: Floats
    hour: Floats


@dataclass(frozen=True)
class Visits:
    """All visits, sorted by person, then time.

    user: (V,) row of the person. start: (V,) Unix ms. turn: (V,) 0 for a person's first visit.
    """

    user: Ints
    start: Ints
    turn: Ints


def make_people(users: int, shares: Floats, rng: np.random.Generator) -> People:
    """``users`` people; ``shares`` (C,) is how much of the catalogue each category has.

    Tastes are Dirichlet around the catalogue's shares; the logit is a damped, clipped ln(taste / share).
    """
    tastes = rng.dirichlet(TASTE_SPREAD * len(shares) * shares, users)
    logits = np.clip(0.8 * np.log(tastes / shares + 0.06), -2.0, 2.0)
    return People(
        rhythm=rng.choice(len(RHYTHMS), users, p=SHARES),
        taste=logits,
        depth=np.clip(rng.lognormal(2.35, 0.55, users), 3, 45),
        activity=np.clip(rng.lognormal(0, 0.55, users), 0.3, 4),
        hour=rng.choice(CHRONOTYPES, users, p=(0.3, 0.25, 0.45)),
    )


def visit_rates(people: People, weekdays: Ints, rng: np.random.Generator) -> Floats:
    """(U, D) expected visits of each person on each day; ``weekdays`` (D,) is 0 for Monday."""
    users, days = len(people.rhythm), len(weekdays)
    rates = np.zeros((users, days))
    index = np.arange(days)
    weekend = weekdays >= 5
    own_day = rng.integers(0, 7, (users, 1)) == weekdays
    joined = days - 1 - rng.integers(0, min(NEWCOMER_DAYS, days), (users, 1))
    last = rng.integers(0, max(days - 10, 1), (users, 1))
    once = rng.integers(0, days, (users, 1))
    by_rhythm: dict[str, Floats] = {
        "daily": np.full((users, days), 0.95),
        "weekend": np.tile(np.where(weekend, 0.75, 0.03), (users, 1)),
        "weekly": np.where(own_day, 0.85, 0.02),
        "occasional": np.full((users, days), 0.05),
        "lapsed": np.where(
            index == last, CERTAIN, np.where(index < last, rng.uniform(0.05, 0.5, (users, 1)), 0.0)
        ),
        "newcomer": np.where(index == joined, CERTAIN, np.where(index > joined, 0.35, 0.0)),
        "one-off": np.where(index == once, CERTAIN, 0.0),
    }
    for code, name in enumerate(RHYTHMS):
        rates[people.rhythm == code] = by_rhythm[name][people.rhythm == code]
    return np.where(rates == CERTAIN, CERTAIN, rates * people.activity[:, None])


def make_visits(people: People, midnights: Ints, rng: np.random.Generator) -> Visits:
    """Visits on the days that start at ``midnights`` (D,), Unix seconds of 00:00 UTC."""
    rates = visit_rates(people, (midnights // DAY + 3) % 7, rng)
    comes = rng.random(rates.shape) < 1 - np.exp(-1.6 * rates)
    extra = rng.poisson(0.18 * np.clip(rates, 0, 3) * (rates < CERTAIN) * (rates > 0.5))
    user, day = np.nonzero(comes)
    again = np.repeat(np.arange(len(user)), extra[user, day])
    hour = np.concatenate([rng.normal(people.hour[user], 1.6), rng.uniform(6, 23, len(again))]) % 24
    user, day = np.concatenate([user, user[again]]), np.concatenate([day, day[again]])
    start = (midnights[day] * 1000 + hour * 3_600_000).astype(np.int64)
    order = np.lexsort((start, user))
    user, start = user[order], start[order]
    return Visits(user, start, np.arange(len(user)) - np.searchsorted(user, user))
