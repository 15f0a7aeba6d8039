"""Pages of two other sites in a real browser: the one in allowed_origins shows the feed, the other can do nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests import browser_helpers
from tests.browser_helpers import SITE, Visit, arrive, catalogue
from tests.edge_state import now_ms, users, written
from tests.stack_fixture import Stack

# What a page could try: each attempt says what it could read, or how it was stopped.
TRIES = """async ([url, item, ts]) => {
    const body = JSON.stringify({events: [{event: 'impression', item, ts}]});
    const attempt = (promise) => promise.then((read) => read, (error) => error.name);
    const credentials = 'include', method = 'POST';
    return {
        feed: await attempt(fetch(url + '/feed', {credentials}).then((a) => a.text())),
        blind_feed: await attempt(fetch(url + '/feed', {credentials, mode: 'no-cors'}).then((a) => a.text())),
        bearer: await attempt(fetch(url + '/feed', {headers: {Authorization: 'Bearer x'}}).then((a) => a.text())),
        beacon: await attempt(fetch(url + '/beacon', {method, body, credentials}).then((a) => a.status)),
        blind_beacon: await attempt(fetch(url + '/beacon', {method, body, credentials, mode: 'no-cors'})
            .then((a) => a.status)),
        queued: navigator.sendBeacon(url + '/beacon', body),
        picture: await new Promise((done) => {
            const image = new Image();
            image.onload = () => done('loaded');
            image.onerror = () => done('refused');
            image.src = `${url}/pixel.gif?item=${item}&ts=${ts}`;
        }),
    };
}"""


class _Pages(BaseHTTPRequestHandler):
    """Every address of this server is the same page, under whatever name the browser knows it."""

    html = ""

    def do_GET(self) -> None:
        body = self.html.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def pages() -> Iterator[ThreadingHTTPServer]:
    """A web server that stands for both other sites: names under .localhost are sites of their own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Pages", (_Pages,), {}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def embedding(**settings: Any) -> Iterator[Stack]:
    """A stack of one's own, with 20 items; its error log must stay clean."""
    stack = Stack(cookie_same_site="None", **settings)
    try:
        catalogue(stack.up(), 20)
        yield stack
        assert stack.unexpected_log() == []
    finally:
        stack.close()


def embedded(stack: Stack) -> str:
    """The page of browser_helpers, as a site embeds it that is not the edge's own: with the edge's address."""
    html = SITE.replace('src="/beacon.js"', f'src="{stack.url}/beacon.js"')
    return html.replace("fetch('/feed?n=20')", f"fetch('{stack.url}/feed?n=20', {{credentials: 'include'}})")


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_listed_page_shows_the_feed_and_another_can_do_nothing(
    pages: ThreadingHTTPServer, browser: Browser, partitioned: bool
) -> None:
    """What a person looks at on the listed site is seen; the other site's page reads and writes nothing of it.

    Without Partitioned their cookie does come along with that page's requests, which is what must not matter.
    """
    port = pages.server_address[1]
    listed, other = f"http://listed.localhost:{port}", f"http://other.localhost:{port}"
    settings = {"allowed_origins": [listed], "cookie_partitioned": partitioned}
    with embedding(**settings) as stack, visiting(stack, browser) as visit:
        pages.RequestHandlerClass.html = embedded(stack)  # type: ignore[attr-defined]
        seen, user = look_at(visit, listed)
        arrive(stack, user, seen)
        assert list(users(stack)) == [user]
        visit.page.reload()
        visit.page.wait_for_selector("[data-item]")
        assert visit.page.get_attribute("body", "data-user") == user
        assert not set(visit.cards()) & seen
        read_token_and_use_it(visit, user)
        before = written(stack)
        visit.allow("blocked by CORS policy|Failed to load resource|Failed to fetch")
        assert attack(visit, other) is not partitioned
        assert written(stack) == before


@contextmanager
def visiting(stack: Stack, browser: Browser) -> Iterator[Visit]:
    """A page in a Chromium that takes cookies of other sites; at the end its console must have been silent."""
    with browser_helpers.ordinary_chromium(browser.browser_type, cookie_controls_mode=0) as context:
        visit = Visit(stack, context.new_page())
        visit.page.bring_to_front()
        yield visit
        visit.check()


def look_at(visit: Visit, origin: str) -> tuple[set[str], str]:
    """Open a page of the listed site and look at it for a second. What was seen, and by whom."""
    visit.page.goto(origin + "/any-page")
    visit.page.wait_for_selector("[data-item]")
    user = visit.page.get_attribute("body", "data-user")
    assert user is not None
    assert user.startswith("a-")
    seen = visit.look()
    visit.send()
    return seen, user


def read_token_and_use_it(visit: Visit, user: str) -> None:
    """Where browsers block cookies of other sites: a listed page has the token by header and sends it by header."""
    found = visit.page.evaluate("""async (url) => {
        const first = await fetch(url + '/feed', {credentials: 'omit'});
        const token = first.headers.get('Nightfeed-Token');
        const again = await fetch(url + '/feed', {credentials: 'omit', headers: {Authorization: 'Bearer ' + token}});
        return [(await first.json()).user, (await again.json()).user, token];
    }""", visit.stack.url)
    assert found[0] == found[1] != user
    assert found[0] in found[2]


def attack(visit: Visit, origin: str) -> bool:
    """Try everything from a page of the other site. Whether the browser carried the person's cookie along."""
    carried: list[bool] = []
    visit.page.on("requestfinished", lambda request: carried.append("cookie" in request.all_headers()))
    visit.page.goto(origin + "/any-page")
    found = visit.page.evaluate(TRIES, [visit.stack.url, "i019", now_ms()])
    assert found == {
        "feed": "TypeError", "blind_feed": "", "bearer": "TypeError", "beacon": "TypeError", "blind_beacon": 0,
        "queued": True, "picture": "refused",
    }  # fmt: skip
    assert visit.page.get_attribute("body", "data-user") is None
    assert not visit.cards()
    visit.page.wait_for_timeout(300)
    return any(carried)
