"""The client, beacon.js, in real browsers on the real stack: what counts, what does not, and how it is delivered."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests import browser_helpers, edge_state
from tests.browser_helpers import SITE, Visit, arrive, catalogue, people, seen_ids, store_of
from tests.stack_fixture import Stack
from worker.seen_set import CLICKED
from worker.store import users

# When the page became hidden or visible, and when a card was marked: [what, ms of the page's monotonic clock].
DIARY = """
    window.diary = [];
    const note = (what) => diary.push([what, performance.now()]);
    document.addEventListener('visibilitychange', () => note(document.visibilityState));
    document.addEventListener('nightfeed:seen', () => note('seen'));
"""


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Visit]:
    """A person's page in the shared browser."""
    people(stack, "ann")
    with browser_helpers.visiting(stack, browser) as visit:
        yield visit


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """The one window of an ordinary Chromium, in which a tab can be behind another one."""
    with browser_helpers.ordinary_chromium(browser.browser_type) as context:
        yield context


@pytest.fixture
def tabs(stack: Stack, window: BrowserContext) -> Iterator[tuple[Visit, Page]]:
    """Two tabs: one to visit with, the other one in front of it. Nothing is left of an earlier test."""
    people(stack, "ann")
    window.clear_cookies()
    first, other = window.new_page(), window.new_page()
    first.add_init_script(DIARY)
    other.bring_to_front()
    visit = Visit(stack, first)
    yield visit, other
    visit.page.evaluate("localStorage.clear()")
    for page in (first, other):
        page.close()
    window.unroute_all()
    visit.check()


def is_hidden(visit: Visit) -> bool:
    """Whether the browser itself says that the page cannot be seen."""
    state: list[object] = visit.page.evaluate("[document.visibilityState, document.hasFocus()]")
    return state == ["hidden", False]


def test_a_hidden_tab_counts_nothing_until_it_is_shown(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """A page opened behind another tab (really hidden: no focus, visibilityState "hidden") waits for its viewer.

    Then the cards in view get their second like anywhere else.
    """
    catalogue(stack, 20)
    visit, _ = tabs
    visit.demo("ann")
    assert is_hidden(visit)
    visit.page.wait_for_timeout(1800)
    assert is_hidden(visit)
    assert not visit.marked()
    assert visit.page.evaluate("nightfeed.pending()") == 0
    assert not seen_ids(stack, "ann")
    visit.page.bring_to_front()
    shown = visit.look()
    visit.send()
    arrive(stack, "ann", shown)


def test_a_tab_hidden_within_the_second_starts_a_new_second(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """Half a second before and any time while hidden count nothing: a whole second after the return does."""
    catalogue(stack, 20)
    visit, other = tabs
    visit.demo("ann")
    visit.page.bring_to_front()
    visit.page.wait_for_timeout(400)
    other.bring_to_front()
    visit.page.wait_for_timeout(1500)
    assert is_hidden(visit)
    assert not visit.marked()
    visit.page.bring_to_front()
    visit.look()
    diary = visit.page.evaluate("diary")
    returned = max(at for what, at in diary if what == "visible")
    assert [what for what, _ in diary].count("visible") == 2
    assert all(at >= returned + 995 for what, at in diary if what == "seen")


def test_a_minimised_window_counts_nothing(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """The same for a window that is put away, by the browser's own window state."""
    catalogue(stack, 20)
    visit, _ = tabs
    visit.page.bring_to_front()
    with minimised(visit.page):
        visit.demo("ann")
        assert is_hidden(visit)
        visit.page.wait_for_timeout(1500)
        assert not visit.marked()
    visit.look()


def test_a_window_in_view_without_the_focus_counts_nothing(stack: Stack, visit: Visit) -> None:
    """Visible beside another window that has the focus: cards scrolled to count nothing until the focus comes.

    In Playwright's browser, whose tabs never hide: with its emulation of focus switched off, the tab in front has it.
    """
    catalogue(stack, 20)
    visit.demo("ann")
    seen = visit.look()
    other = visit.page.context.new_page()
    for page in (visit.page, other):
        page.context.new_cdp_session(page).send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    other.bring_to_front()
    visit.until("!document.hasFocus() && document.visibilityState === 'visible'")
    visit.page.evaluate("scrollTo(0, 3000)")
    visit.page.wait_for_timeout(1500)
    assert visit.marked() == seen
    visit.page.bring_to_front()
    assert not visit.look() & seen


@contextmanager
def minimised(page: Page) -> Iterator[None]:
    """Put the page's window away, and get it back."""
    session = page.context.new_cdp_session(page)
    number = session.send("Browser.getWindowForTarget")["windowId"]
    for state in ("minimized", "normal"):
        session.send("Browser.setWindowBounds", {"windowId": number, "bounds": {"windowState": state}})
        if state == "minimized":
            yield
    session.detach()


def test_reading_time_stops_while_the_tab_is_hidden(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """Dwell of the article that a page is about: what the page was visible for, without the time behind a tab."""
    catalogue(stack, 2)
    visit, other = tabs
    article = '<article data-item="i000" data-dwell>An article.</article>'
    visit.page.bring_to_front()
    visit.site(SITE.replace("<main></main>", article).replace("fetch(", "0 && fetch("))
    user = visit.page.evaluate("fetch('/feed').then((answer) => answer.json()).then((page) => page.user)")
    visit.page.wait_for_timeout(600)
    other.bring_to_front()
    visit.page.wait_for_timeout(1500)
    assert is_hidden(visit)
    visit.page.bring_to_front()
    visit.page.wait_for_timeout(300)
    visit.send()
    changes = visit.page.evaluate("[...diary, ['end', performance.now()]]")
    hidden, shown = (next(at for what, at in changes if what == word) for word in ("hidden", "visible"))
    visible = hidden + changes[-1][1] - shown
    number = edge_state.number(stack, "i000")
    dwell = stack.until(lambda: dwell_ms(stack, user, number) >= 700 and dwell_ms(stack, user, number))
    assert dwell <= visible
    assert not visit.posted()["click", "i000"]


def dwell_ms(stack: Stack, user: str, number: int) -> int:
    """The time on an item that Redis has of a user."""
    known = users.load(store_of(stack), user)
    return sum(bucket.acts[number].dwell_ms for bucket in known.buckets if number in bucket.acts)


def test_hiding_the_tab_sends_at_once_what_was_seen(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """Not by the two-second timer, which a hidden page may never see, but by sendBeacon, with the cookie."""
    catalogue(stack, 20)
    visit, other = tabs
    visit.page.bring_to_front()
    visit.site()
    visit.page.wait_for_selector("[data-seen]")
    other.bring_to_front()
    visit.wait(lambda: any(request.resource_type == "ping" for request in visit.requests))
    user = visit.page.get_attribute("body", "data-user")
    arrive(stack, str(user), visit.marked())


def test_going_back_to_a_page_counts_nothing_twice(stack: Stack, tabs: tuple[Visit, Page]) -> None:
    """Left for another page and come back to by the back/forward cache: the page goes on, with what it has seen."""
    catalogue(stack, 20)
    visit, _ = tabs
    visit.page.bring_to_front()
    visit.demo("ann")
    shown = visit.look()
    visit.page.evaluate("addEventListener('pageshow', (event) => { window.restored = event.persisted; })")
    visit.allow("404")  # that page has no icon
    visit.page.goto(stack.url + "/healthz")
    arrive(stack, "ann", shown)
    visit.requests.clear()
    visit.page.go_back(wait_until="commit")
    visit.until("window.restored === true")
    assert visit.marked() == shown
    visit.page.wait_for_timeout(1300)
    last = visit.cards()[-1]
    visit.scroll_to(last)
    visit.until("id => document.querySelector(`[data-item=${id}][data-seen]`)", last)
    visit.send()
    stack.until(lambda: last in seen_ids(stack, "ann"))
    assert visit.posted()["impression", last] == 1
    assert not {item for _, item in visit.posted()} & shown
    assert all(edge_state.counts(stack, item) == {"i": 1} for item in shown)


def test_a_site_needs_one_script_tag_and_its_visitors_are_known_by_cookie(
    stack: Stack, browser: Browser, visit: Visit
) -> None:
    """The whole integration on a page of a site: over loads the same person, and what they saw does not return.

    Another browser is another person, who is still shown it. Chromium takes the Secure cookie over plain HTTP here
    because the host itself, 127.0.0.1 as well as localhost, is trustworthy.
    """
    catalogue(stack, 30)
    first = visit.site().cards()
    user = visit.page.get_attribute("body", "data-user")
    assert user is not None
    seen = visit.look()
    assert 2 <= len(seen) <= 4
    arrive(stack, user, seen)
    (cookie,) = visit.page.context.cookies()
    assert cookie["name"] == stack.settings.cookie_name
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert visit.page.evaluate("document.cookie") == ""
    visit.page.reload()
    visit.page.wait_for_selector("[data-item]")
    assert visit.page.get_attribute("body", "data-user") == user
    assert not set(visit.cards()) & seen
    assert set(visit.cards()) >= set(first) - seen
    with browser_helpers.visiting(stack, browser) as neighbour:
        assert seen <= set(neighbour.site().cards())
        assert neighbour.page.get_attribute("body", "data-user") not in (None, user)


def test_a_click_that_leaves_the_page_is_recorded(stack: Stack, visit: Visit) -> None:
    """The ordinary link of an ordinary page: the click is in Redis although the page is gone."""
    catalogue(stack, 20)
    visit.site(SITE.replace("#read", "/healthz"))
    user, item = str(visit.page.get_attribute("body", "data-user")), visit.cards()[1]
    visit.until("!!window.nightfeed?.flush")
    visit.page.click(f'[data-item="{item}"] a')
    visit.page.wait_for_url("**/healthz")
    stack.until(lambda: edge_state.seen_items(stack, user).get(edge_state.number(stack, item), 0) & CLICKED)


def test_the_script_loaded_twice_counts_once(stack: Stack, visit: Visit) -> None:
    """A second script tag, as by a tag manager, changes nothing: each event leaves the browser once."""
    catalogue(stack, 20)
    tag = '<script src="/beacon.js" async></script>'
    visit.site(SITE.replace(tag, tag + tag.replace("beacon.js", "beacon.js?2")))
    visit.page.add_script_tag(url="/beacon.js?3")
    seen = visit.look()
    clicked = visit.cards()[0]
    visit.page.click(f'[data-item="{clicked}"] a')
    visit.send()
    arrive(stack, str(visit.page.get_attribute("body", "data-user")), seen)
    assert set(visit.posted()) == {*(("impression", item) for item in seen), ("click", clicked)}
    assert set(visit.posted().values()) == {1}


def test_blocked_beacons_wait_and_arrive_once(stack: Stack, visit: Visit) -> None:
    """While /beacon cannot be reached the page works and keeps its events, also over a reload; each arrives once."""
    catalogue(stack, 30)
    visit.allow("ERR_FAILED")
    visit.page.route("**/beacon", lambda route: route.abort())
    visit.demo("ann")
    seen = visit.look()
    visit.send()
    visit.wait(lambda: visit.requests)
    assert visit.page.evaluate("nightfeed.pending()") == len(seen)
    visit.page.reload()
    assert visit.loaded().cards(), "a feed comes whether or not beacons do"
    assert visit.page.evaluate("nightfeed.pending()") >= len(seen)
    visit.page.unroute_all()
    stack.until(lambda: seen_ids(stack, "ann") >= seen)
    visit.until("nightfeed.pending() === 0")
    assert all(edge_state.counts(stack, item) == {"i": 1} for item in seen)
    assert visit.page.evaluate("nightfeed.dropped") == 0


def test_the_script_is_small_and_cheap_to_ask_for_again(stack: Stack) -> None:
    """At most 4096 bytes as it travels; cached for minutes, then asked for by its ETag."""
    with stack.http.stream("GET", "/beacon.js", headers={"Accept-Encoding": "gzip"}) as answer:
        travelled = b"".join(answer.iter_raw())
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(travelled) <= 4096
    plain = stack.http.get("/beacon.js", headers={"Accept-Encoding": "identity"})
    assert zlib.decompress(travelled, 31) == plain.content
    assert plain.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert re.search(r"max-age=[1-9]\d*", plain.headers["Cache-Control"])
    assert "Accept-Encoding" in plain.headers["Vary"]
    for tag in (plain.headers["ETag"], answer.headers["ETag"]):
        again = stack.http.get("/beacon.js", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
