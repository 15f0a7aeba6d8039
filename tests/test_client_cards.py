"""Which elements the client finds, and when their impression counts."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page

from tests.client_server import Site, card, context, flush, marked, page, pending, site
from tests.stack_fixture import Stack

__all__ = ["context", "page", "site"]  # fixtures
SECOND = 1000
LATE = 1600  # ms: what has not counted by then will not


def counted(page: Page, *items: str) -> None:
    """Wait until these cards, and after a while still only these, are marked as seen."""
    Stack.until(lambda: set(marked(page)) >= set(items))
    page.wait_for_timeout(LATE - SECOND)
    assert marked(page) == list(items)


def test_cards_that_come_later_are_found_by_themselves(site: Site, page: Page) -> None:
    """Appended, inside of other new elements, by innerHTML, and an element that only now becomes a card."""
    page.goto(site.page('<main></main><p id="plain">Text</p>'))
    page.evaluate("""
        const main = document.querySelector('main');
        main.append(Object.assign(document.createElement('p'), {innerText: 'a'}));
        main.firstChild.dataset.item = 'appended';
        const outer = document.createElement('section');
        outer.innerHTML = '<div><p data-item="deep">b</p></div>';
        main.append(outer);
        outer.insertAdjacentHTML('afterend', '<p data-item="markup">c</p>');
        document.querySelector('#plain').dataset.item = 'named';
    """)
    counted(page, "appended", "deep", "markup", "named")


def test_a_card_that_goes_before_its_second_is_over_does_not_count(site: Site, page: Page) -> None:
    """Removed, made invisible, or given to another item, which then gets a second of its own."""
    page.goto(site.page("".join(card(item, "90px") for item in ("gone", "unseen", "first", "stays"))))
    page.wait_for_timeout(SECOND / 2)
    page.evaluate("""
        const find = (item) => document.querySelector(`[data-item=${item}]`);
        find('gone').remove();
        find('unseen').style.display = 'none';
        find('first').dataset.item = 'second';
    """)
    counted(page, "second", "stays")


def test_an_element_used_for_the_next_item_loses_its_mark_and_counts_again(site: Site, page: Page) -> None:
    """As lists that recycle their rows do; the event "nightfeed:seen" bubbles with each item's id."""
    page.goto(site.page(card("a", "90px")))
    page.evaluate("window.heard = []; addEventListener('nightfeed:seen', (event) => heard.push(event.detail.item))")
    counted(page, "a")
    page.evaluate("document.querySelector('[data-item]').dataset.item = 'b'")
    assert marked(page) == []
    counted(page, "b")
    flush(page)
    assert page.evaluate("heard") == ["a", "b"]
    assert site.events("impression") == ["a", "b"]


def test_an_item_on_two_cards_counts_once(site: Site, page: Page) -> None:
    """Say in the feed and in a "most read" box; scrolled out and in again it does not count again either."""
    page.goto(site.page(card("a", "90px") * 2 + card("b", "3000px")))
    Stack.until(lambda: "a" in marked(page))
    page.evaluate("scrollTo(0, 1500)")
    page.wait_for_timeout(200)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(LATE)
    flush(page)
    assert site.events("impression").count("a") == 1


def test_half_of_the_pixels_is_the_border(site: Site, context: BrowserContext) -> None:
    """At the lower edge of a view of 800: 48 % of one card, 52 % of another; and 52 % cut off by a scroller."""
    row = "".join(card(item, "90px", "flex: none; width: 250px") for item in ("shown", "cut", "far"))
    pages = ('<div style="height: 656px"></div>' + card("under"), '<div style="height: 644px"></div>' + card("over"),
             f'<div style="display: flex; overflow-x: auto; width: 370px">{row}</div>')  # fmt: skip
    tabs = [context.new_page() for _ in pages]
    for at, tab in enumerate(tabs):
        tab.goto(site.page(pages[at], path=f"/{at}"))
    tabs[-1].wait_for_timeout(LATE)
    assert [marked(tab) for tab in tabs] == [[], ["over"], ["shown"]]


def test_what_is_taller_than_two_views_counts_when_it_fills_half_of_one(site: Site, context: BrowserContext) -> None:
    """Half of its own pixels can never be in view. A quarter of the view is not enough, a little over half is."""
    tabs = [context.new_page() for _ in range(3)]
    for tab, views in zip(tabs, (2.5, 20, 150), strict=True):
        tab.goto(site.page('<div style="height: 800px"></div>' + card("tall", f"{views * 800}px")))
        tab.mouse.wheel(0, 200)
    tabs[-1].wait_for_timeout(LATE)
    assert [marked(tab) for tab in tabs] == [[], [], []]
    for tab in tabs:
        tab.mouse.wheel(0, 312)
    for tab in tabs:
        counted(tab, "tall")


def test_scrolled_into_step_by_step_a_tall_article_counts(site: Site, page: Page) -> None:
    """As by a reader's wheel: the browser tells of it at few of the steps."""
    page.goto(site.page('<div style="height: 800px"></div>' + card("tall", "40000px")))
    for _ in range(12):
        page.mouse.wheel(0, 40)
        page.wait_for_timeout(30)
    counted(page, "tall")


def test_the_attribute_is_the_sites_choice(site: Site, page: Page) -> None:
    """data-attribute of the tag names it; data-item then means nothing."""
    tag = '<script src="/beacon.js" data-attribute="data-story"></script>'
    page.goto(site.page('<p data-story="a">A</p><p data-item="b">B</p>', tag=tag))
    Stack.until(lambda: pending(page))
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p data-story=\"c\">C</p>')")
    Stack.until(lambda: pending(page) == 2 or "c" in site.events())
    flush(page)
    assert site.events() == ["a", "c"]


def test_ids_that_the_server_would_refuse_are_ignored(site: Site, page: Page) -> None:
    """Empty, with a blank, too long: no event and no mark, and their neighbour counts."""
    page.goto(site.page("".join(card(item, "90px") for item in ("", "a b", "x" * 129, "fine"))))
    counted(page, "fine")
    page.evaluate("nightfeed.event('hide', ''); nightfeed.event('hide'); nightfeed.event('hide', 'a b')")
    flush(page)
    assert site.events() == ["fine"]


def test_where_a_card_stands_is_told_with_it(site: Site, page: Page) -> None:
    """Its place among the page's cards, or what data-position says; the list from the nearest data-list."""
    page.goto(site.page(f'<ul data-list="17">{card("a", "90px")}{card("b", "90px")}</ul>'
                        '<p data-item="c" data-position="40" data-list="18">C</p>'))  # fmt: skip
    counted(page, "a", "b", "c")
    flush(page)
    found = [(event["item"], event["position"], event.get("list")) for event in site.beacons[0].events]
    assert found == [("a", 0, 17), ("b", 1, 17), ("c", 40, 18)]
