"""Pages on the real stack as a person sees them, and a Chromium whose tabs can really be hidden.

Two browsers are used. The ``browser`` fixture is driven by Playwright, which holds each page visible and focused for
ever and switches the back/forward cache off. ``ordinary_chromium`` starts the same program without any of that
(``no_defaults``): there a tab behind another one, or a minimised window, has ``document.visibilityState == "hidden"``
and no focus, and a page that is left and come back to is the same one. Nothing is overridden in the page.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, BrowserType, ConsoleMessage, Page, Request

from tests.conftest import BROWSER_ARGS, BROWSERS
from tests.stack_fixture import PATIENCE_S, Stack
from worker.catalogue.item import check
from worker.store import items, users
from worker.store.connect import Store

# Half of the element in view, computed without the client: ids of the cards that are.
HALF_IN_VIEW = """() => [...document.querySelectorAll('[data-item]')].filter((card) => {
    const {top, bottom, left, right, width, height} = card.getBoundingClientRect();
    const shown = (from, to, limit) => Math.max(0, Math.min(to, limit) - Math.max(from, 0));
    return shown(left, right, innerWidth) * shown(top, bottom, innerHeight) >= width * height / 2;
}).map((card) => card.dataset.item)"""
CATEGORIES = ("news", "cooking", "sport", "culture", "science", "travel")
SVG = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9"><rect width="16" height="9" fill="#357"/>'
       '<circle cx="8" cy="4.5" r="3" fill="#fc6"/></svg>')  # fmt: skip
# Ten lines that a site adds, in a page whose server is not ours.
SITE = """<!doctype html><html lang="en"><head><title>A site</title><link rel="icon" href="data:,">
<style>article { height: 300px; margin: 20px; background: #eee }</style>
<script src="/beacon.js" async></script>
</head><body><main></main><script>
  fetch('/feed?n=20').then((answer) => answer.json()).then((page) => {
    document.body.dataset.user = page.user;
    for (const item of page.items) {
      const card = document.createElement('article');
      card.dataset.item = item.id;
      card.innerHTML = '<a href="#read">read</a>';
      document.querySelector('main').append(card);
    }
  });
</script></body></html>"""


class Visit:
    """One page of one person: what the browser complained of, which events it sent, and shorthands to look at it."""

    def __init__(self, stack: Stack, page: Page) -> None:
        self.stack, self.page = stack, page
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self._allowed: list[re.Pattern[str]] = []
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._requested)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _requested(self, request: Request) -> None:
        if request.url.endswith("/beacon"):
            self.requests.append(request)

    def allow(self, pattern: str) -> None:
        """This test provokes what the browser says and ``pattern`` matches."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """The browser said nothing else in its console, and no script failed."""
        loud = [text for text in self.complaints if not any(known.search(text) for known in self._allowed)]
        assert not loud, loud

    def demo(self, user: str | None = None) -> Visit:
        """Open the demo page as a sample person or, without one, as a visitor; wait for the cards."""
        self.page.goto(self.stack.url + "/demo" + (f"?as={user}" if user else ""))
        return self.loaded()

    def loaded(self) -> Visit:
        """Wait until the demo page has shown what its feed gave."""
        self.page.wait_for_selector('#feed[aria-busy="false"]', state="attached")
        return self

    def site(self, html: str = SITE, path: str = "/some-page") -> Visit:
        """Open a page of a site that is not the demo, under the stack's own origin, and wait for its cards."""
        self.page.context.route(
            self.stack.url + path, lambda route: route.fulfill(body=html, content_type="text/html")
        )
        self.page.goto(self.stack.url + path)
        self.page.wait_for_selector("[data-item]")
        return self

    @property
    def user(self) -> str:
        """The person that the demo page says it is."""
        return self.page.inner_text("#user")

    def cards(self) -> list[str]:
        """Ids of the items on the page, in order."""
        found: list[str] = self.page.eval_on_selector_all("[data-item]", "all => all.map((c) => c.dataset.item)")
        return found

    def marked(self) -> set[str]:
        """Ids of the items that the page shows as seen."""
        return set(self.page.eval_on_selector_all("[data-seen]", "all => all.map((c) => c.dataset.item)"))

    def in_view(self) -> set[str]:
        """Ids of the items that are half in view at this moment."""
        return set(self.page.evaluate(HALF_IN_VIEW))

    def look(self) -> set[str]:
        """Stay until all cards in view are marked as seen, which takes their second. Returns those in view."""
        shown = self.in_view()
        assert shown
        self.stack.until(lambda: shown <= self.marked())
        return shown

    def scroll_to(self, item: str) -> None:
        """Turn the wheel until the item stands at the top of the view, or the page ends; loading may move it."""
        self.stack.until(lambda: self._stands(item))

    def _stands(self, item: str) -> bool:
        off, ends = self.page.evaluate(
            """(item) => [document.querySelector(`[data-item="${item}"]`).getBoundingClientRect().top - 10,
                          scrollY + innerHeight >= document.documentElement.scrollHeight - 1]""", item)  # fmt: skip
        if abs(off) < 3 or (ends and off > 0):
            return True
        self.page.mouse.wheel(0, off)
        self.page.wait_for_timeout(100)
        return False

    def until(self, condition: str, arg: Any = None) -> None:
        """Wait until a condition holds in the page (its policy forbids the eval of Playwright's wait_for_function)."""
        self.stack.until(lambda: self.page.evaluate(condition, arg))

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds here; the browser's reports come in meanwhile."""
        self.stack.until(lambda: self.page.evaluate("1") and condition())

    def send(self) -> None:
        """Have the client send what it holds."""
        self.page.evaluate("nightfeed.flush()")

    def posted(self) -> Counter[tuple[str, str]]:
        """How often each (event, item) left the browser, over all requests of this page."""
        bodies = [json.loads(request.post_data or '{"events":[]}') for request in self.requests]
        return Counter((event["event"], event.get("item", "")) for body in bodies for event in body["events"])


def store_of(stack: Stack) -> Store:
    """The stack's Redis as the worker's modules take it."""
    return Store(stack.redis, stack.settings, stack.run)


def seen_ids(stack: Stack, user: str) -> set[str]:
    """What Redis says the user has seen, as item ids."""
    numbers = users.seen(store_of(stack), user)
    return set(items.ids_of(store_of(stack), sorted(numbers)).values())


def arrive(stack: Stack, user: str, shown: set[str]) -> None:
    """Wait until what was shown is seen in Redis; nothing else may be."""
    stack.until(lambda: seen_ids(stack, user) >= shown)
    assert seen_ids(stack, user) == shown


def catalogue(stack: Stack, count: int, **changes: Any) -> list[str]:
    """Put ``count`` items into the catalogue, evenly over six categories, every second with a picture; their ids."""
    pictures = stack.run / "demo/pictures"
    for folder in (pictures.parent, pictures):
        folder.mkdir(mode=0o700, exist_ok=True)
    (pictures / "sun.svg").write_text(SVG)
    records = [
        stack.item(f"i{at:03d}", category=CATEGORIES[at % len(CATEGORIES)], **changes,
                   data={"title": f"Story number {at}", "url": f"/demo/item/{at}",
                         **({"image": "/demo/pictures/sun.svg"} if at % 2 else {})})
        for at in range(count)
    ]  # fmt: skip
    put(stack, records)
    return [str(record["id"]) for record in records]


def put(stack: Stack, records: list[dict[str, Any]]) -> None:
    """Put records into the catalogue and wait until the edge serves them and nothing of the test before."""
    stack.sync()  # the emptied catalogue first: its first version would look like that of the last test
    items.put(store_of(stack), [check(record) for record in records])
    stack.sync()


def people(stack: Stack, *users: str) -> None:
    """The sample people of the demo page."""
    rows = [{"user": user, "label": f"sample {user}", "token": stack.token(user)} for user in users]
    (stack.run / "demo").mkdir(mode=0o700, exist_ok=True)
    path = stack.run / "demo/people.json"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)  # it holds tokens
    path.write_text(json.dumps({"people": rows}))


@contextmanager
def visiting(stack: Stack, browser: Browser, width: int = 400, height: int = 800) -> Iterator[Visit]:
    """A new person at the browser, with one column of cards; at the end its console must have been silent."""
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        visit = Visit(stack, context.new_page())
        yield visit
        visit.check()
    finally:
        context.close()


@contextmanager
def ordinary_chromium(chromium: BrowserType, **preferences: Any) -> Iterator[BrowserContext]:
    """A Chromium without Playwright's overrides: its one context, whose pages are tabs of one window.

    ``preferences`` are those of its profile, as its settings page would store them.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)))
    profile = Path(tempfile.mkdtemp(prefix="nf-chromium-"))
    (profile / "Default").mkdir()
    (profile / "Default/Preferences").write_text(json.dumps({"profile": preferences}))
    command = [program, *BROWSER_ARGS, "--remote-debugging-port=0", f"--user-data-dir={profile}",
               "--window-size=400,900", "about:blank"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _debugging_port(process, profile / "DevToolsActivePort")
        browser = chromium.connect_over_cdp(f"http://127.0.0.1:{port}", no_defaults=True)
        yield browser.contexts[0]
        # In order: a Chromium that is killed has children that still write into the profile.
        browser.new_browser_cdp_session().send("Browser.close")
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        shutil.rmtree(profile, ignore_errors=True)


def _debugging_port(process: subprocess.Popen[bytes], path: Path) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or not path.read_text().strip():
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        assert time.monotonic() < deadline, "Chromium did not open its debugging port"
        time.sleep(0.02)
    return int(path.read_text().split()[0])
