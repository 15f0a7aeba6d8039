"""What the client does with each answer, and what its requests look like."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from playwright.sync_api import Page

from tests.client_server import TAG, Answer, Site, context, dropped, flush, page, pending, record, running, site
from tests.stack_fixture import Stack

__all__ = ["context", "page", "site"]  # fixtures
BACK_OFF = 1.5  # s: the longest first wait


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_server_refuses_for_good_is_never_sent_again(site: Site, page: Page, status: int) -> None:
    """400, 413 and 422: one request, the batch is given up and counted, and the next events go out."""
    site.answer = lambda: (status, {}, '{"error": "no"}')
    page.goto(site.page())
    record(page, "a", "b")
    flush(page)
    assert (pending(page), dropped(page)) == (0, 2)
    site.answer = lambda: (204, {}, "")
    record(page, "c")
    flush(page)
    page.wait_for_timeout(BACK_OFF * 1000)
    assert [[event["item"] for event in beacon.events] for beacon in site.beacons] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("status", [429, 503])
def test_what_was_not_stored_is_sent_again_after_retry_after(site: Site, page: Page, status: int) -> None:
    """429 and 503: nothing before the time that the answer names, neither by flush() nor by another page; then once."""
    answers: list[Answer] = [(status, {"Retry-After": "2"}, '{"error": "later"}'), (204, {}, "")]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page())
    record(page, "a")
    flush(page)
    flush(page)
    page.goto(site.page(path="/next"))
    flush(page)
    assert len(site.beacons) == 1
    assert pending(page) == 1
    site.wait_for(2)
    assert site.beacons[1].at - site.beacons[0].at >= 2
    assert site.beacons[1].body == site.beacons[0].body
    Stack.until(lambda: pending(page) == 0)
    assert dropped(page) == 0
    assert page.evaluate("Object.keys(localStorage)") == []


def test_retry_after_may_be_a_date(site: Site, page: Page) -> None:
    """The other form of the header."""
    moment = int(time.time()) + 4
    answers: list[Answer] = [(503, {"Retry-After": formatdate(moment, usegmt=True)}, ""), (204, {}, "")]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page())
    record(page, "a")
    flush(page)
    site.wait_for(2)
    assert time.time() >= moment - 0.1


def test_without_retry_after_the_wait_grows(site: Site, page: Page) -> None:
    """500 twice: a second, then two, each with up to half as much again."""
    site.answer = lambda: (500, {}, "") if len(site.beacons) < 3 else (204, {}, "")
    page.goto(site.page())
    record(page, "a")
    flush(page)
    site.wait_for(3)
    first, second, third = (beacon.at for beacon in site.beacons)
    assert second - first >= 1
    assert third - second >= 2


def test_events_that_the_server_rejects_one_by_one_are_not_sent_again(site: Site, page: Page) -> None:
    """200: the valid ones are stored and the others will never be; both are done with, and the lost ones counted."""
    body = {"accepted": 1, "rejected": [{"index": 0, "error": "unknown item"}]}
    site.answer = lambda: (200, {"Content-Type": "application/json"}, json.dumps(body))
    page.goto(site.page())
    record(page, "a", "b")
    flush(page)
    assert (pending(page), dropped(page)) == (0, 1)
    page.wait_for_timeout(BACK_OFF * 1000)
    assert len(site.beacons) == 1


def test_a_200_that_is_not_the_servers_keeps_the_events(site: Site, page: Page) -> None:
    """The log-in page of a hotel's network answers anything with 200: that is no acknowledgement."""
    answers: list[Answer] = [(200, {"Content-Type": "text/html"}, "<h1>Welcome</h1>"), (204, {}, "")]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page())
    record(page, "a")
    flush(page)
    assert (pending(page), dropped(page)) == (1, 0)
    site.wait_for(2)
    Stack.until(lambda: pending(page) == 0)


def test_no_batch_has_more_than_100_events(site: Site, page: Page) -> None:
    """230 events: 100, 100 and 30, oldest first."""
    page.goto(site.page())
    page.evaluate("for (let i = 100; i < 330; i++) nightfeed.event('reaction', 'i' + i, {ts: Date.now() + i})")
    flush(page)
    assert [len(beacon.events) for beacon in site.beacons] == [100, 100, 30]
    assert site.events() == [f"i{at}" for at in range(100, 330)]


def test_no_batch_is_larger_than_16_kb(site: Site, page: Page) -> None:
    """Counted in bytes of UTF-8, not in characters; an event that no batch could hold is given up at once."""
    page.goto(site.page())
    page.evaluate("for (let i = 10; i < 30; i++) nightfeed.search(i + '\u0449'.repeat(1000))")
    page.evaluate("nightfeed.search('x'.repeat(16_000))")
    flush(page)
    sizes = [len(beacon.body) for beacon in site.beacons]
    assert max(sizes) <= 16_384
    assert len(sizes) <= 4, "and none is much smaller than it must be"
    assert len(set(site.events("search"))) == 20
    assert (pending(page), dropped(page)) == (0, 1)


def test_half_a_character_does_not_spoil_its_batch(site: Site, page: Page) -> None:
    """A lone surrogate, as a cut string has, arrives as the replacement character; a whole pair arrives as it is."""
    page.goto(site.page())
    page.evaluate("nightfeed.search('cut \\ud83d'); nightfeed.search('whole \\ud83d\\ude00')")
    flush(page)
    assert sorted(site.events()) == ["cut \ufffd", "whole \U0001f600"]


def test_a_beacon_to_another_origin_is_text_and_needs_no_preflight(site: Site, page: Page) -> None:
    """The configured path on another host: a plain-text POST, which browsers send without asking with OPTIONS first."""
    with running() as other:
        tag = f'<script src="/beacon.js" data-path="{other.url}/in/events"></script>'
        page.goto(site.page(tag=tag))
        record(page, "a")
        flush(page)
        assert (other.methods, other.events()) == (["POST"], ["a"])
        assert other.beacons[0].path == "/in/events"
        assert other.beacons[0].headers["content-type"].startswith("text/plain")
        assert not site.beacons


def test_loaded_twice_it_is_one_client(site: Site, page: Page) -> None:
    """Two tags and one from a tag manager: one object, and a click leaves the page once."""
    page.goto(site.page('<p data-item="a">A</p>', tag=TAG * 2))
    page.evaluate("window.first = nightfeed.flush")
    page.add_script_tag(url="/beacon.js?again")
    page.click("p")
    flush(page)
    assert page.evaluate("first === nightfeed.flush")
    assert site.events("click") == ["a"]
