"""The client's store: shared by tabs, bounded, and never needed."""

from __future__ import annotations

import json
import threading

from playwright.sync_api import BrowserContext, Page

from tests.client_server import (
    STORED,
    Answer,
    Site,
    card,
    context,
    dropped,
    flush,
    marked,
    page,
    pending,
    record,
    site,
    window,
)
from tests.stack_fixture import Stack

__all__ = ["context", "page", "site", "window"]  # fixtures
LATER: Answer = (503, {"Retry-After": "60"}, "")
# 100 events, with pauses of up to 3 ms that a tab behind another one has, too (its timers come once a second).
WRITE = """(who) => { window.writing = (async () => {
    for (let at = 0; at < 100; at++) {
        nightfeed.event('reaction', who + at);
        const until = performance.now() + Math.random() * 3;
        while (performance.now() < until) {
            await new Promise((done) => {
                const pause = new MessageChannel();
                pause.port1.onmessage = done;
                pause.port2.postMessage(0);
            });
        }
    }
})(); }"""


def test_tabs_that_write_at_the_same_time_lose_nothing(site: Site, window: BrowserContext) -> None:
    """Two tabs are two processes, and localStorage has no locks: all 200 events are kept, and both tabs see them."""
    site.answer = lambda: LATER
    tabs = [window.new_page(), window.new_page()]
    for tab in tabs:
        tab.goto(site.page())
    for tab, who in zip(tabs, "ab", strict=True):
        tab.evaluate(WRITE, who)
    for tab in tabs:
        tab.evaluate("writing")
    for tab in tabs:
        Stack.until(lambda tab=tab: pending(tab) == 200)  # type: ignore[misc]


def test_one_tab_at_a_time_sends_what_all_of_them_made(site: Site, context: BrowserContext) -> None:
    """Three tabs with events of their own and a slow server: never two requests at once, and each event once.

    A tab sees late what another one took from the store, on a busy machine too late: so in one of five rounds.
    """
    at_once, most, lock = 0, 0, threading.Lock()
    slow = threading.Event()

    def answer() -> Answer:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        slow.wait(0.2)
        with lock:
            at_once -= 1
        return STORED

    site.answer = answer
    tabs = [context.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto(site.page())
    every = sorted(f"{who}{at}" for who in "abc" for at in range(60))
    for _ in range(5):
        site.beacons.clear()
        for who, tab in zip("abc", tabs, strict=True):
            record(tab, *(f"{who}{at}" for at in range(60)))
            tab.evaluate("void nightfeed.flush()")
        Stack.until(lambda: all(pending(tab) == 0 for tab in tabs))
        assert set(site.events()) == set(every)
        if sorted(site.events()) == every:
            break
    assert sorted(site.events()) == every
    assert most == 1


def test_what_a_closed_tab_has_left_goes_out_with_the_next_page(site: Site, context: BrowserContext) -> None:
    """Not before the Retry-After that the closed tab was given."""
    answers = [(503, {"Retry-After": "2"}, ""), STORED]
    site.answer = lambda: answers.pop(0)
    tab = context.new_page()
    tab.goto(site.page())
    record(tab, "left")
    flush(tab)
    tab.close()
    tab = context.new_page()
    tab.goto(site.page())
    assert pending(tab) == 1
    Stack.until(lambda: pending(tab) == 0)
    assert site.events() == ["left", "left"]
    assert site.beacons[1].at - site.beacons[0].at >= 2


def test_the_store_is_bounded_and_the_oldest_give_way(site: Site, page: Page) -> None:
    """700 small events: the newest 500 stay; large ones: 64 KB. What is pushed out is counted."""
    site.answer = lambda: LATER
    page.goto(site.page())
    record(page, "first")
    flush(page)
    page.evaluate("for (let i = 1000; i < 1700; i++) nightfeed.event('reaction', 'i' + i, {ts: Date.now() + i})")
    assert (pending(page), dropped(page)) == (500, 201)
    kept = "Object.keys(localStorage).filter((name) => name.includes('{'))"
    items = page.evaluate(f"{kept}.map((name) => JSON.parse(name.slice(name.indexOf('{{'))).item)")
    assert sorted(items) == [f"i{at}" for at in range(1200, 1700)]
    page.evaluate("for (let i = 10; i < 60; i++) nightfeed.search(i + '\u0449'.repeat(2000))")
    assert page.evaluate(f"new Blob([{kept}.join()]).size") <= 65_536 + 500 * len("nightfeed ")
    assert pending(page) + dropped(page) == 751


def test_each_identity_has_a_store_of_its_own(site: Site, page: Page) -> None:
    """What was recorded with ann's token never goes out with ben's, nor with a cookie; names may hold one another."""
    page.goto(site.page())
    for user in ("ann", "ann:b", ""):
        page.evaluate("token => { nightfeed.token = token; }", user and f"v1.k1.{user}.1763740000.mac")
        record(page, f"of-{user}")
        assert pending(page) == 1
    for user in ("ann:b", "ann", ""):
        page.evaluate("token => { nightfeed.token = token; }", user and f"v1.k1.{user}.1763740000.mac")
        flush(page)
    assert [beacon.headers.get("authorization", "..").split(".")[2] for beacon in site.beacons] == ["ann:b", "ann", ""]
    assert [beacon.events[0]["item"] for beacon in site.beacons] == ["of-ann:b", "of-ann", "of-"]


def test_where_storage_throws_the_page_keeps_its_events_in_memory(site: Site, page: Page) -> None:
    """Really: in a sandboxed page localStorage and locks throw a SecurityError. Impressions count and arrive."""
    site.headers = {"Content-Security-Policy": "sandbox allow-scripts"}
    answers = [(503, {"Retry-After": "1"}, ""), STORED]
    site.answer = lambda: answers.pop(0)
    page.goto(site.page(card("a")))
    assert page.evaluate("(() => { try { localStorage; } catch (error) { return error.name; } })()") == "SecurityError"
    Stack.until(lambda: marked(page) == ["a"])
    flush(page)
    assert pending(page) == 1
    Stack.until(lambda: pending(page) == 0)
    assert site.events() == ["a", "a"]


def test_where_storage_is_full_the_page_keeps_its_events_in_memory(site: Site, page: Page) -> None:
    """Really: the site has used up its quota. What is left with the page goes out even within a Retry-After."""
    site.answer = lambda: LATER
    page.goto(site.page(card("a")))
    page.evaluate("""() => {
        for (let size = 2 ** 20; size >= 1; size /= 2) {
            try {
                for (let i = 0; ; i++) localStorage.setItem(`fill${size}-${i}`, 'x'.repeat(size));
            } catch { /* full */ }
        }
    }""")
    Stack.until(lambda: marked(page) == ["a"])
    flush(page)
    assert pending(page) == 1
    assert page.evaluate("Object.keys(localStorage).filter((name) => !name.startsWith('fill'))") == []
    page.goto(site.page(path="/next"))
    site.wait_for(2)
    assert site.events() == ["a", "a"]


def test_a_store_that_others_have_spoilt_does_no_harm(site: Site, page: Page) -> None:
    """Entries that are not ours, and a wait that is nonsense or lies years ahead, as after the clock was set back."""
    page.goto(site.page())
    for wait in ("nonsense", json.dumps({"a": 1}), "", "99999999999999 5", "-1 -1"):
        page.evaluate("wait => { localStorage['nightfeed '] = wait; localStorage.nightfeed = 'x'; }", wait)
        record(page, "a")
        flush(page)
        assert pending(page) == 0, wait
    assert site.events() == ["a"] * 5
