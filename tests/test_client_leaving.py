"""What goes out when a page is hidden or left, and that nothing is given up before it was answered."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.client_server import STORED, TAG, Site, card, context, flush, page, pending, record, site, window
from tests.stack_fixture import Stack

__all__ = ["context", "page", "site", "window"]  # fixtures
# Every type of event that a script asks to be told of, and how each beacon leaves.
SPY = """
    window.types = new Set();
    const listen = EventTarget.prototype.addEventListener;
    EventTarget.prototype.addEventListener = function (type, ...rest) {
        types.add(type);
        return listen.call(this, type, ...rest);
    };
    window.ways = [];
    const send = navigator.sendBeacon.bind(navigator), call = window.fetch;
    navigator.sendBeacon = (...all) => { ways.push('beacon'); return send(...all); };
    window.fetch = (url, how = {}) => { ways.push(how.keepalive ? 'keepalive' : 'fetch'); return call(url, how); };
"""
# Shows a card, and leaves before its second is over.
LEAVE = """(card) => {
    // Of the events that tell of the return the first one counts, by when it came and not by when it got here.
    for (const type of ['visibilitychange', 'pageshow']) addEventListener(type, (event) => {
        if (document.visibilityState === 'visible') window.back ||= event.timeStamp;
        if (type === 'pageshow') window.restored = [event.persisted, window.back];
    }, true);
    addEventListener('nightfeed:seen', () => { window.counted = performance.now(); });
    document.body.innerHTML = card;
    setTimeout(() => { location.href = '/other'; }, 300);
}"""


def test_hidden_and_left_are_the_moments_and_never_unload(site: Site, window: BrowserContext) -> None:
    """A tab behind another one has sent at once by sendBeacon; unload, which closes the way back, is not asked for."""
    tab, other = window.new_page(), window.new_page()
    tab.add_init_script(SPY)
    tab.goto(site.page())
    tab.bring_to_front()
    asked = set(tab.evaluate("[...types]"))
    assert asked >= {"visibilitychange", "pagehide"}
    assert not asked & {"unload", "beforeunload"}
    record(tab, "a")
    other.bring_to_front()
    site.wait_for(1)
    assert tab.evaluate("document.visibilityState") == "hidden"
    assert tab.evaluate("ways[0]") == "beacon"
    assert site.events()[0] == "a"
    Stack.until(lambda: pending(tab) == 0)


def test_a_page_that_comes_back_from_the_cache_goes_on(site: Site, window: BrowserContext) -> None:
    """Left within the second, and come back to by the back button: the same page, and a whole new second."""
    tab = window.new_page()
    tab.bring_to_front()
    site.page(path="/other")
    for _ in range(5):  # on a machine so busy that leaving took longer than a second, again
        tab.goto(site.page())
        tab.evaluate(LEAVE, card("a"))
        tab.wait_for_url("**/other")
        tab.wait_for_timeout(1200)
        tab.go_back(wait_until="commit")
        Stack.until(lambda: tab.evaluate("window.restored && window.counted"))
        persisted, returned, counted = tab.evaluate("[...restored, counted]")
        assert persisted
        if counted > returned:
            break
    assert counted >= returned + 995
    record(tab, "later")
    tab.goto(site.page(path="/other"))
    Stack.until(lambda: set(site.events()) == {"a", "later"})


@pytest.mark.parametrize("beacon", ["() => false", "undefined"])
def test_a_beacon_that_the_browser_does_not_take_goes_by_fetch(site: Site, page: Page, beacon: str) -> None:
    """sendBeacon answers false, or is switched off: fetch with keepalive, at once, and the page can be gone."""
    page.add_init_script(SPY + f"navigator.sendBeacon = {beacon};")
    page.goto(site.page())
    record(page, "a")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    assert page.evaluate("ways") == ["keepalive"]
    site.wait_for(1)
    assert site.events() == ["a"]
    Stack.until(lambda: pending(page) == 0)


def test_what_is_more_than_the_browser_takes_stays_for_the_next_page(site: Site, page: Page) -> None:
    """Really: 64 KB may be under way when a page is left. What neither way took comes later, and nothing is lost."""
    hold = threading.Event()
    site.answer = lambda: (hold.wait(20), STORED)[1]
    page.goto(site.page())
    page.evaluate("for (let i = 0; i < 40; i++) navigator.sendBeacon('/else', 'x'.repeat(1200))")
    page.evaluate("for (let i = 10; i < 40; i++) nightfeed.search(i + 'x'.repeat(1900))")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    assert pending(page) == 30
    hold.set()
    page.goto(site.page(path="/next"))
    Stack.until(lambda: pending(page) == 0)
    sent = [event["query"][:2] for beacon in site.beacons if beacon.path == "/beacon" for event in beacon.events]
    assert set(sent) == {str(at) for at in range(10, 40)}


def test_a_beacon_that_was_refused_is_sent_again_by_the_next_page(site: Site, page: Page) -> None:
    """A page does not learn what its last request was answered: 503 here. Only an answer ends an event."""
    answers = [(503, {"Retry-After": "60"}, ""), STORED]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page())
    record(page, "a")
    page.goto(site.page(path="/next"))
    site.wait_for(2)
    Stack.until(lambda: pending(page) == 0)
    assert site.events() == ["a", "a"]


def test_a_click_that_leaves_the_page_has_gone_out(site: Site, page: Page) -> None:
    """At once, not with the next batch; the next page has no client that could send it."""
    page.goto(site.page('<a data-item="a" href="/next">A</a>'))
    site.page(path="/next", tag="")
    page.click("a")
    page.wait_for_url("**/next")
    site.wait_for(1)
    assert set(site.events()) == {"a"}


def test_with_a_token_the_last_request_carries_it(site: Site, page: Page) -> None:
    """sendBeacon cannot: so fetch with keepalive, without cookies, from the page that is going."""
    page.goto(site.page(tag=TAG.replace(">", ' data-token="v1.k1.ann.1763740000.mac">', 1)))
    record(page, "a")
    site.page(path="/next", tag="")
    page.goto(site.url + "/next")
    site.wait_for(1)
    assert site.beacons[0].headers["authorization"] == "Bearer v1.k1.ann.1763740000.mac"
    assert site.events() == ["a"]


def test_what_the_page_calls_returns_when_it_was_answered(site: Site, page: Page) -> None:
    """flush() before a sign-in or a reload: after it nothing is held that was recorded before."""
    site.answer = lambda: (threading.Event().wait(0.3), STORED)[1]
    page.goto(site.page())
    record(page, "a")
    page.evaluate("void nightfeed.flush()")
    record(page, "b")
    flush(page)
    assert pending(page) == 0
    assert site.events() == ["a", "b"]
