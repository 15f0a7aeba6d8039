"""The network comes and goes at random under a page that is read: what was seen arrives, and counts exactly once.

NIGHTFEED_FAULTS=full makes it a minute. The seed is printed; NIGHTFEED_SEED repeats a run as far as a browser can.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests import browser_helpers, edge_state
from tests.browser_helpers import Visit, catalogue, people, seen_ids
from tests.stack_fixture import PATIENCE_S, Stack

SECONDS = 60 if os.environ.get("NIGHTFEED_FAULTS") == "full" else 12
LOST = "ERR_(FAILED|INTERNET_DISCONNECTED|NETWORK_CHANGED|EMPTY_RESPONSE|ABORTED)|status of 503"

# What was marked as seen, by the page itself, so that nothing is missed while it is left.
DIARY = """addEventListener('nightfeed:seen', (event) => {
    sessionStorage.diary = `${sessionStorage.diary || ''} ${event.detail.item}`;
});"""


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Visit]:
    """Ann's page."""
    people(stack, "ann")
    with browser_helpers.visiting(stack, browser) as visit:
        visit.allow(LOST)
        visit.page.add_init_script(DIARY)
        yield visit


def test_cut_and_restored_at_random_every_impression_counts_once(stack: Stack, visit: Visit) -> None:
    """Offline, requests that fail on the way there or on the way back (stored, but not answered), a 503: all at random.

    The page is scrolled and reloaded meanwhile. At the end: every card that was marked is seen in Redis, nothing
    else is, and each has one impression in the counters.
    """
    seed = int(os.environ.get("NIGHTFEED_SEED", time.time_ns() % 10**6))
    print(f"NIGHTFEED_SEED={seed}")
    rng = random.Random(seed)
    catalogue(stack, 200)
    visit.demo("ann")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        weather(visit, rng)
        for _ in range(rng.randrange(1, 4)):
            visit.page.mouse.wheel(0, rng.randrange(200, 900))
            visit.page.wait_for_timeout(rng.randrange(300, 1500))
        if rng.random() < 0.3:
            fair(visit)  # without it there would be no page to read
            visit.page.reload()
            visit.loaded()
    fair(visit)
    # Last comes a page with nothing to see, which sends what is left.
    tag = f'<script src="/beacon.js" data-token="{stack.token("ann")}"></script>'
    visit.site(f'<link rel="icon" href="data:,">{tag}<p data-item="">The end</p>')
    marked = set(visit.page.evaluate("sessionStorage.diary").split())
    # After failures the client waits, for less than twice as long as they lasted.
    sent = "nightfeed.flush().then(() => nightfeed.pending() === 0)"
    Stack.until(lambda: visit.page.evaluate(sent), PATIENCE_S + 2 * SECONDS)
    assert len(marked) >= 5
    assert seen_ids(stack, "ann") == marked
    assert {item: edge_state.counts(stack, item).get("i") for item in marked} == dict.fromkeys(marked, 1)
    assert visit.page.evaluate("nightfeed.dropped") == 0


def weather(visit: Visit, rng: random.Random) -> None:
    """One of five states of the network until the next call."""
    fair(visit)
    match rng.choice(("fair", "offline", "lost", "unanswered", "overloaded")):
        case "offline":
            visit.page.context.set_offline(True)
        case "lost":
            visit.page.route("**/beacon", lambda route: route.abort())
        case "unanswered":
            visit.page.route("**/beacon", lambda route: (route.fetch(), route.abort()))
        case "overloaded":
            visit.page.route("**/beacon", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}))


def fair(visit: Visit) -> None:
    """The network works."""
    visit.page.context.set_offline(False)
    visit.page.unroute_all(behavior="wait")
