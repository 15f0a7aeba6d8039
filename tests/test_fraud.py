"""Someone at one address who wants an item up: every route and every trick with identities, as far as the limits go.

What the stack counts for them is put into the statistics of a catalogue of the size and spread of a real site's, and
scored as the night does. The bound is worked out from the limits alone, and stands in docs/security.md.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.crowd import Growth, Visitor, click, impression, running
from tests.edge_state import counts, now_ms
from tests.stack_fixture import Stack
from worker.config import Settings
from worker.nightly.score import Weights, quality

FULL = os.environ.get("NIGHTFEED_FAULTS") == "full"
# The hour's limits, and a tenth of them. How much counts does not depend on them: counted_per_network and the cap on
# reading time are the defaults in both.
LIMITS = {} if FULL else {"new_users_per_hour": 40, "user_events_per_hour": 300}
DEFAULTS = Settings()
PEOPLE, CAP_MS = DEFAULTS.counted_per_network, DEFAULTS.dwell_cap_anonymous_s * 1000
DAY_MS = 86_400_000
TARGET, ADDRESS = "target", "10.250.1.77"
# What docs/security.md states of items of median impressions: what they gain, as a share of the average score (the
# usual one of them, any of them), and as a share of all ranks (any of them).
STATED_USUAL, STATED_SCORE, STATED_RANKS = 0.03, 0.08, 0.08

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """Statistics of 30 days, each (items,)."""

    impressions: Floats
    clicks: Floats
    dwell_ms: Floats
    social: Floats

    def scores(self) -> Floats:
        """As the night scores them, with the default settings."""
        weights = Weights(DEFAULTS.weight_clicks, DEFAULTS.weight_dwell, DEFAULTS.weight_social,
                          DEFAULTS.prior_impressions)
        return quality(self.impressions, self.clicks, self.dwell_ms, self.social, weights)

    def moved(self, at: int, more: dict[str, int]) -> Catalogue:
        """The same with what was counted added to one item."""
        def plus(values: Floats, by: int) -> Floats:
            changed = values.copy()
            changed[at] += by
            return changed

        return Catalogue(plus(self.impressions, more.get("i", 0)), plus(self.clicks, more.get("c", 0)),
                         plus(self.dwell_ms, more.get("d", 0)), plus(self.social, more.get("r", 0)))


def realistic(items: int = 2400, median: float = 5000) -> Catalogue:
    """Impressions log-normal around ``median``, 5 % clicked on average, a minute read per click, social around 20."""
    rng = np.random.default_rng(20261121)
    impressions = np.round(rng.lognormal(np.log(median), 1.0, items))
    clicks = rng.binomial(impressions.astype(np.int64), rng.beta(5, 95, items)).astype(np.float64)
    dwell_ms = np.round(clicks * rng.lognormal(np.log(50_000), 0.6, items))
    return Catalogue(impressions, clicks, dwell_ms, np.round(rng.lognormal(np.log(20), 1.0, items)))


def gain(catalogue: Catalogue, at: int, more: dict[str, int]) -> tuple[float, int]:
    """What an item gains, as a share of the average score, and by how many places it moves up."""
    before, after = catalogue.scores(), catalogue.moved(at, more).scores()
    places = int((before > before[at]).sum() - (after > after[at]).sum())
    return float((after[at] - before[at]) / before.mean()), places


def most(days: int = 1) -> dict[str, int]:
    """The most that the rules let one network's anonymous people add to an item."""
    people = PEOPLE * days
    return {"i": people, "c": people, "d": people * CAP_MS, "r": people}


def of_median_impressions(catalogue: Catalogue) -> list[int]:
    """The items in the middle tenth by impressions."""
    order = np.argsort(catalogue.impressions)
    return [int(at) for at in order[len(order) * 45 // 100:len(order) * 55 // 100]]


# --- the bound, from the limits alone ---------------------------------------------------------------------------


def closed_form(impressions: float, ctr: float, dwell_ms: float, social: float) -> float:
    """The gain of an average item, as docs/security.md has it: each counted person's part in what is known of the item.

    ``impressions`` are the item's; ``ctr``, ``dwell_ms`` (an impression) and ``social`` both its own and the mean.
    """
    known = impressions + DEFAULTS.prior_impressions
    clicked = DEFAULTS.weight_clicks * PEOPLE / (known * ctr)
    read = DEFAULTS.weight_dwell * PEOPLE * CAP_MS / (known * dwell_ms)
    liked = DEFAULTS.weight_social * np.log1p(PEOPLE / (1 + social)) / np.log1p(social)
    return float(clicked + read + liked)


SHARES = [(0, 0.37), (100, 0.25), (1000, 0.065), (5000, 0.02), (50_000, 0.01)]


@pytest.mark.parametrize(("impressions", "share"), SHARES)
def test_the_gain_of_an_average_item_is_what_the_documents_say(impressions: float, share: float) -> None:
    """The table in docs/security.md, worked out by the closed form and by the score itself."""
    catalogue = realistic()
    ctr = catalogue.clicks.sum() / catalogue.impressions.sum()
    dwell_ms = catalogue.dwell_ms.sum() / catalogue.impressions.sum()
    row = (impressions, impressions * ctr, impressions * dwell_ms, 20.0)
    with_it = Catalogue(*(np.append(values, value) for values, value in zip(
        (catalogue.impressions, catalogue.clicks, catalogue.dwell_ms, catalogue.social), row, strict=True)))
    gained, places = gain(with_it, len(catalogue.impressions), most())
    said = closed_form(impressions, ctr, dwell_ms, 20.0)
    print(f"{impressions:6.0f} impressions: closed form {said:.1%}, scored {gained:.1%} of an average score, "
          f"{places} of {len(catalogue.impressions)} places")
    assert gained < share
    assert said < share
    assert abs(gained - said) < 0.1 * said


def test_the_limits_alone_keep_an_item_of_median_impressions_below_the_bound() -> None:
    """Whatever its own clicks and reading time: the middle tenth of the catalogue, one by one."""
    catalogue = realistic()
    below_the_bound(catalogue, most())


def below_the_bound(catalogue: Catalogue, more: dict[str, int], days: int = 1) -> None:
    """What is counted in addition moves no item of median impressions further than is stated. Prints how far."""
    gains = [gain(catalogue, at, more) for at in of_median_impressions(catalogue)]
    usual, score = float(np.median([score for score, _ in gains])), max(score for score, _ in gains)
    places, ranks = max(places for _, places in gains), len(catalogue.impressions)
    print(f"with {more} an item of median impressions gains {usual:.2%} of an average score, at most {score:.2%}, "
          f"and at most {places} of {ranks} places")
    assert usual < STATED_USUAL * days
    assert score < STATED_SCORE * days
    assert places < STATED_RANKS * days * ranks


def test_who_is_not_counted_at_all_moves_nothing() -> None:
    """The measure itself: nothing added, nothing gained; ten times as many people would break the bound."""
    catalogue = realistic()
    middle = of_median_impressions(catalogue)
    assert gain(catalogue, middle[0], {}) == (0.0, 0)
    assert max(gain(catalogue, at, most(10))[0] for at in middle) > STATED_SCORE


# --- the attack on the real stack -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    """A stack with the default rules and 120 items."""
    # A busy machine must not spare the edge an event.
    with running(redis_timeout_ms=10_000, **LIMITS) as stack:
        stack.import_items([stack.item(TARGET), *(stack.item(f"a{at}") for at in range(120))])
        yield stack


def everything(item: str = TARGET, **fields: Any) -> list[dict[str, Any]]:
    """All that could help an item: clicks before impressions, long reading in pieces, reactions of many kinds."""
    now = now_ms() - 200_000
    reading = [{"event": "dwell", "item": item, "ms": 86_400_000, "ts": now + at} for at in range(5)]
    liking = [{"event": "reaction", "item": item, "kind": f"kind{at}"} for at in range(40)]
    return [{**event, **fields} for event in (click(item), impression(item), click(item), *reading, *liking)]


class Attacker:
    """One address, and whatever a program can send from there."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.rng = stack, random.Random(7)
        self.sent = 0

    def at(self, token: str | None = None, forged: bool = False) -> Visitor:
        """A new face at the address; ``forged``: with another's address in front, as a header of its own."""
        front = f"203.0.113.{self.rng.randrange(256)}, " if forged else ""
        return Visitor(self.stack, front + ADDRESS, token)

    def new_identity(self) -> None:
        """A token by /feed, all of it three times, what lies in the past, and a hundred other items."""
        face = self.at(forged=self.rng.random() < 0.5).arrive()
        for _ in range(3):
            self.send(face, everything())
        for days in (1, 8, 18, 28):
            self.send(face, everything(ts=now_ms() - days * DAY_MS))
        self.send(face, [impression(f"a{at}") for at in range(100)])
        face.pixel(TARGET, event="click")

    def dropped_cookie(self) -> None:
        """No token at all, one that is forged, and pictures."""
        signed = self.stack.token("victim").rsplit(".", 1)[0]
        for token in (None, f"{signed}.{'A' * 43}", "v1.k1.a-me.1.x"):
            self.send(self.at(token), everything())
            self.at(token).pixel(TARGET)

    def click_alone(self) -> None:
        """Clicks of identities that have no impression."""
        face = self.at().arrive()
        for _ in range(3):
            self.send(face, [click(TARGET)])

    def loop(self, events: int) -> int:
        """One identity that goes on until it is refused, or has sent so many events; how many were taken."""
        face, taken = self.at().arrive(), 0
        while taken < events and self.send(face, everything() * 2):
            taken += len(everything()) * 2
        return taken

    def send(self, face: Visitor, events: list[dict[str, Any]]) -> bool:
        """A beacon; whether it was taken."""
        self.sent += 1
        return face.beacon(*events).status_code < 300


def test_an_hour_of_everything_from_one_address_stays_below_the_bound(site: Stack) -> None:
    """Identities until the address has no more, by eight connections at once; a loop until the person has no more."""
    day, growth, attacker, settings = time.time() // 86_400, Growth(site), Attacker(site), site.settings
    assert attacker.loop(2 * settings.user_events_per_hour) <= settings.user_events_per_hour
    tricks = [attacker.new_identity] * 6 + [attacker.click_alone, attacker.dropped_cookie]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(tricks[at % len(tricks)]) for at in range(settings.new_users_per_hour + 10)]:
            done.result()
    assert growth("nightfeed_identities_total") == settings.new_users_per_hour
    assert growth.dropped().keys() >= {"new_users", "user_events"}
    days = 1 + int(time.time() // 86_400 != day)
    counted = counts(site, TARGET)
    assert counted == {"i": PEOPLE, "c": PEOPLE, "d": PEOPLE * CAP_MS, "r": PEOPLE} or days == 2
    assert all(counted[letter] <= by for letter, by in most(days).items())
    print(f"{attacker.sent} beacons and {settings.new_users_per_hour} identities from one address")
    below_the_bound(realistic(), counted, days)


def test_one_signed_in_person_counts_once(site: Stack) -> None:
    """Whoever the site has signed in, at any number of addresses, at any speed."""
    token = site.token("keen-reader")
    with ThreadPoolExecutor(8) as pool:
        faces = [Visitor(site, f"10.251.{at}.1", token) for at in range(5)]
        for answer in pool.map(lambda face: face.beacon(*everything("a119")), faces):
            assert answer.status_code == 204
    assert counts(site, "a119") == {"i": 1, "c": 1, "d": DEFAULTS.dwell_cap_s * 1000, "r": 1}
