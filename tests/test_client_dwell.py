"""Reading time: visible, focused, with input lately, on a clock that nobody can set, and capped.

Hours pass here in moments: Playwright's clock moves the page's timers, performance.now() and Date.
"""

from __future__ import annotations

from playwright.sync_api import Page

from tests.client_server import Site, context, page, site

__all__ = ["context", "page", "site"]  # fixtures
ARTICLE = '<article data-item="a" data-dwell style="height: 3000px">An article.</article>'
MINUTE = 60_000


def read(site: Site, page: Page) -> list[tuple[str, int]]:
    """Every reading time so far: item and ms. It has been sent, or is in the store, or both.

    Nothing waits for an answer: the page's timers stand still, and while hours pass in a moment requests time out.
    """
    stored = page.evaluate("""void nightfeed.flush(), Object.keys(localStorage)
        .filter((name) => name.startsWith('nightfeed {')).map((name) => JSON.parse(name.slice(10)))""")
    sent = [event for beacon in list(site.beacons) for event in beacon.events]
    told = {event["ts"]: event for event in sent + stored if event["event"] == "dwell"}
    return [(event["item"], event["ms"]) for _, event in sorted(told.items())]


def dwells(site: Site, page: Page) -> list[int]:
    """The same without the items."""
    return [ms for _, ms in read(site, page)]


def open_article(site: Site, page: Page) -> int:
    """Open the page with its clocks in the test's hand, standing still. Returns the reading time (ms) until then."""
    page.clock.install()
    page.goto(site.page(ARTICLE))
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))  # in s
    return sum(dwells(site, page))


def test_time_counts_until_30_seconds_after_the_last_input(site: Site, page: Page) -> None:
    """Nine seconds of scrolling, then an hour at lunch: 39 seconds. The next input starts it again."""
    before = open_article(site, page)
    for _ in range(10):
        page.evaluate("dispatchEvent(new Event('scroll'))")
        page.clock.run_for(1000)
    page.clock.run_for(60 * MINUTE)
    assert sum(dwells(site, page)) == before + 39_000
    page.evaluate("dispatchEvent(new Event('pointermove'))")
    page.clock.run_for(5000)
    assert sum(dwells(site, page)) == before + 44_000


def test_no_event_is_longer_than_a_minute_and_no_page_longer_than_ten(site: Site, page: Page) -> None:
    """Half an hour of steady reading is ten minutes, told in parts; a sleeping computer's gap is cut off, too."""
    open_article(site, page)
    for _ in range(90):
        page.evaluate("dispatchEvent(new Event('keydown'))")
        page.clock.run_for(20_000)
    parts = dwells(site, page)
    assert max(parts) <= MINUTE
    assert sum(parts) == 10 * MINUTE
    assert len(parts) >= 10


def test_setting_the_wall_clock_changes_no_reading_time(site: Site, page: Page) -> None:
    """Date leaps a day ahead and a week back; the time read is that of the monotonic clock."""
    before = open_article(site, page)
    page.evaluate("""() => {
        const now = Date.now;
        window.shift = 0;
        Date.now = () => now() + shift;
    }""")
    page.clock.run_for(2000)
    page.evaluate("shift = 86_400_000")
    page.clock.run_for(3000)
    page.evaluate("shift = -7 * 86_400_000")
    page.clock.run_for(4000)
    assert sum(dwells(site, page)) == before + 9000


def test_without_the_focus_no_time_passes(site: Site, page: Page) -> None:
    """The window beside another one that is being written in."""
    before = open_article(site, page)
    page.clock.run_for(3000)
    other = page.context.new_page()
    for tab in (page, other):
        tab.context.new_cdp_session(tab).send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    other.bring_to_front()
    page.clock.run_for(200)
    assert page.evaluate("[document.visibilityState, document.hasFocus()]") == ["visible", False]
    page.clock.run_for(20_000)
    away = sum(dwells(site, page))
    assert before + 3000 <= away <= before + 3200
    page.bring_to_front()
    page.clock.run_for(1000)
    assert away + 1000 <= sum(dwells(site, page)) <= away + 1200


def test_each_article_of_one_page_has_its_own_time(site: Site, page: Page) -> None:
    """A site that swaps the article without a new page: the time goes to the one that was there."""
    before = open_article(site, page)
    page.clock.run_for(4000)
    page.evaluate("document.querySelector('article').dataset.item = 'b'")
    page.clock.run_for(7000)
    page.evaluate("document.querySelector('article').remove()")
    page.clock.run_for(9000)
    found = read(site, page)
    assert {item: sum(ms for one, ms in found if one == item) for item, _ in found} == {
        "a": before + 4000, "b": 7000}  # fmt: skip
