"""Offline and back: nothing is given up, and the return is noticed."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.client_server import STORED, Site, card, context, flush, marked, page, pending, record, site
from tests.stack_fixture import Stack

__all__ = ["context", "page", "site"]  # fixtures


def test_what_was_seen_offline_arrives_when_the_network_is_back(site: Site, page: Page) -> None:
    """Impressions count offline, too. After several failures the next try would be far away: "online" is the sign."""
    page.goto(site.page(card("a") + card("b", "3000px")))
    page.context.set_offline(True)
    Stack.until(lambda: "a" in marked(page))
    page.evaluate("localStorage['nightfeed '] = `${Date.now() - 1} 6`")
    flush(page)
    wait = page.evaluate("localStorage['nightfeed '].split(' ')[0] - Date.now()")
    assert wait > 50_000
    assert not site.beacons
    page.context.set_offline(False)
    Stack.until(lambda: pending(page) == 0)
    assert sorted(site.events()) == ["a", "b"]


def test_being_online_again_does_not_override_the_servers_wait(site: Site, page: Page) -> None:
    """Retry-After holds: it was the server, not the network, that could not take the events."""
    answers = [(503, {"Retry-After": "3"}, ""), STORED]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page())
    record(page, "a")
    flush(page)
    page.context.set_offline(True)
    page.context.set_offline(False)
    site.wait_for(2)
    assert site.beacons[1].at - site.beacons[0].at >= 3


def test_offline_when_left_nothing_is_lost(site: Site, page: Page) -> None:
    """sendBeacon says yes and sends nothing: the events wait in the store for the next page."""
    page.goto(site.page())
    page.context.set_offline(True)
    record(page, "a")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    page.wait_for_timeout(200)
    assert pending(page) == 1
    page.context.set_offline(False)
    page.goto(site.page(path="/next"))
    Stack.until(lambda: pending(page) == 0)
    assert set(site.events()) == {"a"}
