"""A site with nothing on it but the client: it serves pages and beacon.js, notes each beacon and answers as told.

Here a test decides what /beacon answers and when; what the real edge answers is tested with the real stack.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests import browser_helpers
from tests.stack_fixture import PATIENCE_S, ROOT, Stack

SCRIPT = ROOT / "nginx/static/beacon.js"
TAG = '<script src="/beacon.js"></script>'
Answer = tuple[int, dict[str, str], str]
STORED: Answer = (204, {}, "")


@dataclass(frozen=True)
class Beacon:
    """One request: ``at`` is the monotonic clock in s, ``headers`` have lower-case names."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it carries."""
        found: list[dict[str, Any]] = json.loads(self.body)["events"]
        return found


class Site(ThreadingHTTPServer):
    """Pages by path; ``answer`` makes each beacon's answer and may wait; ``beacons`` are noted when they have come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server_port}"
        self.pages: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.beacons: list[Beacon] = []
        self.methods: list[str] = []
        self.answer: Callable[[], Answer] = lambda: STORED

    def page(self, html: str = "", path: str = "/page", tag: str = TAG) -> str:
        """Make a page, and return its address."""
        head = '<!doctype html><html lang="en"><title>A page</title><link rel="icon" href="data:,">'
        self.pages[path] = f"{head}<style>body {{ margin: 0 }}</style>{tag}<body>{html}</body></html>"
        return self.url + path

    def events(self, name: str = "") -> list[str]:
        """Items of all events that came, or of those with a name; of searches, the query."""
        every = [event for beacon in list(self.beacons) for event in beacon.events]
        return [event.get("item") or event["query"] for event in every if name in ("", event["event"])]

    def wait_for(self, count: int, seconds: float = PATIENCE_S) -> None:
        """Wait until so many beacons came."""
        Stack.until(lambda: len(self.beacons) >= count, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away in mid-request is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    """One connection to the site."""

    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A page, or the script."""
        if self.path.startswith("/beacon.js"):
            self._send(200, {"Content-Type": "text/javascript"}, SCRIPT.read_text())
        elif self.path in self.server.pages:
            self._send(200, {"Content-Type": "text/html", **self.server.headers}, self.server.pages[self.path])
        else:
            self._send(404, {}, "")

    def do_POST(self) -> None:
        """A beacon."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.methods.append("POST")
        self.server.beacons.append(Beacon(time.monotonic(), self.path, headers, body))
        self._send(*self.server.answer())

    def do_OPTIONS(self) -> None:
        """A preflight, which a beacon must never need."""
        self.server.methods.append("OPTIONS")
        self._send(403, {}, "")

    def _send(self, status: int, headers: dict[str, str], body: str) -> None:
        self.send_response(status)
        origin = {"Access-Control-Allow-Origin": self.headers.get("Origin", "*"),
                  "Access-Control-Allow-Credentials": "true"}  # fmt: skip
        length = {} if status == 204 else {"Content-Length": str(len(body.encode()))}
        for name, value in {**origin, **headers, **length}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def running() -> Iterator[Site]:
    """A site that answers until the block ends."""
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of the test's own."""
    with running() as site:
        yield site


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new person at the browser, with a window of 400 by 800."""
    context = browser.new_context(viewport={"width": 400, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; no script in it may fail."""
    page, errors = context.new_page(), list[str]()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert not errors, errors


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """The one window of an ordinary Chromium: a tab behind another one is really hidden, and pages are kept alive."""
    with browser_helpers.ordinary_chromium(browser.browser_type) as context:
        yield context


def record(page: Page, *names: str) -> None:
    """Have the client record a reaction to each item."""
    page.evaluate("names => names.forEach((name) => nightfeed.event('reaction', name))", list(names))


def pending(page: Page) -> int:
    """How many events the client holds."""
    held: int = page.evaluate("nightfeed.pending()")
    return held


def dropped(page: Page) -> int:
    """How many events the page has given up."""
    lost: int = page.evaluate("nightfeed.dropped")
    return lost


def flush(page: Page) -> None:
    """Send what is held, as far as the client may now."""
    page.evaluate("nightfeed.flush()")


def marked(page: Page) -> list[str]:
    """Ids of the cards whose impression counted, in the page's order."""
    found: list[str] = page.eval_on_selector_all("[data-seen]", "all => all.map((card) => card.dataset.item)")
    return found


def card(item: str, height: str = "300px", more: str = "") -> str:
    """The markup of a card as wide as the page."""
    return f'<div data-item="{item}" style="height: {height}; {more}">{item}</div>'
