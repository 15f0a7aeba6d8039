"""A page that the browser prepares before anybody asked for it: really prerendered, by speculation rules."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.client_server import Site, card, site
from tests.conftest import BROWSER_ARGS, BROWSERS
from tests.stack_fixture import PATIENCE_S, Stack

__all__ = ["site"]  # fixtures
# Goes on to the next page after five seconds by itself, and has it prerendered until then.
FIRST = """<a href="/next">Next</a>
<script type="speculationrules">{"prerender": [{"urls": ["/next"], "eagerness": "immediate"}]}</script>
<script>setTimeout(() => document.querySelector('a').click(), 5000)</script>"""
# The page tells the server itself what happens to it, and when, in Unix ms: nobody can look into it.
DIARY = """<script>
    const now = () => String(performance.timeOrigin + performance.now());
    const tell = (event) => fetch('/diary', {method: 'POST', body: JSON.stringify({events: [{event, item: now()}]})});
    if (document.prerendering) {
        tell('prerendering');
        nightfeed.search('by the page');
        void nightfeed.flush();
    }
    document.addEventListener('prerenderingchange', () => tell('activated'));
    addEventListener('nightfeed:seen', () => tell('seen'));
</script>"""


@contextmanager
def chromium(url: str, profile: Path) -> Iterator[None]:
    """A Chromium that shows a page, and that nothing drives: whoever drives one forbids it to prerender."""
    program = next(filter(None, map(shutil.which, BROWSERS)))
    command = [program, *BROWSER_ARGS, f"--user-data-dir={profile}", "--window-size=400,900", url]
    # A group of its own: the program has children.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_S)


def test_a_prerendered_page_counts_nothing_before_it_is_opened(site: Site, tmp_path: Path) -> None:
    """Prepared for seconds with a card in its view: no request, not even one that the page itself asks for.

    Once it is opened, the card gets its second.
    """
    site.page(card("a") + DIARY, path="/next")
    with chromium(site.page(FIRST), tmp_path):
        Stack.until(lambda: site.events("impression"))
    told = {beacon.events[0]["event"]: float(beacon.events[0]["item"])
            for beacon in site.beacons if beacon.path == "/diary"}  # fmt: skip
    assert told["activated"] >= told["prerendering"] + 1500, "there was time to count too early"
    assert told["seen"] >= told["activated"] + 995
    first = min(beacon.at for beacon in site.beacons if beacon.path == "/beacon") - time.monotonic() + time.time()
    assert first * 1000 >= told["activated"] - 100, "a request before it was opened"
    assert set(site.events("impression")) == {"a"}
    assert set(site.events("search")) == {"by the page"}
