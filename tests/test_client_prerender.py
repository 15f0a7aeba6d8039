"""A page that the browser prepares before anybody asked for it: really prerendered, by speculation rules."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.client_server import Site, card, site
from tests.conftest import BROWSER_ARGS, BROWSERS
from tests.stack_fixture import Stack

__all__ = ["site"]  # fixtures
# Goes on to the next page after three seconds by itself, and has it prerendered until then.
FIRST = """<a href="/next">Next</a>
<script type="speculationrules">{"prerender": [{"urls": ["/next"], "eagerness": "immediate"}]}</script>
<script>setTimeout(() => document.querySelector('a').click(), 3000)</script>"""
# The page tells the server itself what happens to it, and when on its own clock: nobody can look into it.
DIARY = """<script>
    const tell = (event) => fetch('/diary', {
        method: 'POST', body: JSON.stringify({events: [{event, item: String(performance.now())}]}),
    });
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
        process.wait(10)


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
    paths = [beacon.path for beacon in site.beacons]
    assert paths.index("/beacon") >= paths.index("/diary", 1), "the second entry says that it was opened"
    assert set(site.events("impression")) == {"a"}
    assert set(site.events("search")) == {"by the page"}
