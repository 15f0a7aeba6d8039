"""The demo page in a real browser on the real stack: what is seen goes, what is not stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests import browser_helpers, edge_state
from tests.browser_helpers import Visit, arrive, catalogue, people, put, seen_ids
from tests.stack_fixture import Stack
from worker.seen_set import CLICKED, UNCOUNTED


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Visit]:
    """A person's page; "ann" and "ben" are sample people."""
    people(stack, "ann", "ben")
    with browser_helpers.visiting(stack, browser) as visit:
        yield visit


def test_what_was_in_view_for_a_second_is_seen_and_gone_at_the_next_load(stack: Stack, visit: Visit) -> None:
    """Cards in view for a second are marked, recorded, and not served again; those below stay, in their order."""
    catalogue(stack, 30)
    first = visit.demo("ann").cards()
    at_top = visit.look()
    visit.scroll_to(first[6])
    seen = at_top | visit.look()
    assert 4 <= len(seen) <= 8
    assert visit.marked() == seen
    visit.send()
    arrive(stack, "ann", seen)
    visit.page.reload()
    assert visit.loaded().cards() == stack_pages(stack, "ann")
    assert set(visit.cards()) >= set(first) - seen
    assert not set(visit.cards()) & seen


def stack_pages(stack: Stack, user: str) -> list[str]:
    """The first page of the feed, by another client than the browser."""
    return [item["id"] for item in stack.feed(user)["items"]]


def test_the_reload_button_sends_what_was_just_seen_before_it_asks_for_more(stack: Stack, visit: Visit) -> None:
    """Without waiting for the client's timer, nothing seen comes back; the rest does."""
    catalogue(stack, 20)
    first = visit.demo("ann").cards()
    seen = visit.look()
    visit.page.click("#reload")
    visit.until("id => document.querySelector('[data-item]')?.dataset.item !== id", first[0])
    assert sorted(visit.loaded().cards()) == sorted(set(first) - seen)
    assert seen_ids(stack, "ann") == seen


def test_a_card_that_rushes_by_is_not_seen(stack: Stack, visit: Visit) -> None:
    """A card in view for less than a second is neither marked nor recorded, and is served again."""
    catalogue(stack, 20)
    first = visit.demo("ann").cards()
    visit.look()
    passed = rush_past(visit, first[6:16])
    visit.scroll_to(first[-1])
    visit.look()
    visit.send()
    stack.until(lambda: first[-1] in seen_ids(stack, "ann"))
    assert passed not in visit.marked() | seen_ids(stack, "ann")
    visit.page.reload()
    assert passed in visit.loaded().cards()


def rush_past(visit: Visit, items: list[str]) -> str:
    """Show an item for half a second; on a machine so busy that it took longer, try the next one."""
    for item in items:
        milliseconds = visit.page.evaluate(
            """async (item) => {
                const card = document.querySelector(`[data-item="${item}"]`), from = performance.now();
                card.scrollIntoView();
                await new Promise((done) => setTimeout(done, 500));
                scrollTo(0, 0);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return performance.now() - from;
            }""", item)  # fmt: skip
        if milliseconds < 900:
            return item
    raise AssertionError("no item could be shown for less than a second")


def test_a_click_is_recorded_once_whichever_comes_first(stack: Stack, visit: Visit) -> None:
    """Clicked before its impression, or after: one impression and one click are counted, the item is marked."""
    catalogue(stack, 20)
    first = visit.demo("ann").cards()
    patient, quick = first[0], first[-1]  # the last is out of view: it is not seen until somebody scrolls there
    visit.page.evaluate("(item) => document.querySelector(`[data-item=\"${item}\"] a`).click()", quick)
    number = edge_state.number(stack, quick)
    stack.until(lambda: edge_state.seen_items(stack, "ann").get(number))
    assert edge_state.seen_items(stack, "ann")[number] == CLICKED | UNCOUNTED
    visit.page.click("#close")
    visit.look()
    visit.page.click(f'[data-item="{patient}"] a')
    visit.page.click("#close")
    visit.page.click(f'[data-item="{patient}"] a')
    visit.page.click("#close")
    visit.page.locator(f'[data-item="{quick}"]').scroll_into_view_if_needed()
    visit.look()
    for item in (quick, patient):
        stack.until(lambda item=item: edge_state.counts(stack, item) == {"i": 1, "c": 1})  # type: ignore[misc]
        assert edge_state.seen_items(stack, "ann")[edge_state.number(stack, item)] == CLICKED


def test_like_and_hide_arrive_and_a_hidden_item_does_not_come_back(stack: Stack, visit: Visit) -> None:
    """The dialog's buttons: one reaction however often it is pressed; a hidden item goes at once and for good."""
    catalogue(stack, 20)
    liked, hidden = visit.demo("ann").cards()[:2]
    visit.page.click(f'[data-item="{liked}"] a')
    visit.page.click("#like")
    visit.page.click("#like")
    assert visit.page.get_attribute("#like", "aria-pressed") == "true"
    visit.page.keyboard.press("Escape")
    visit.page.click(f'[data-item="{hidden}"] a')
    assert visit.page.get_attribute("#like", "aria-pressed") == "false"
    visit.page.click("#hide")
    assert hidden not in visit.cards()
    visit.send()
    stack.until(lambda: edge_state.counts(stack, liked).get("r"))
    stack.until(lambda: edge_state.counts(stack, hidden).get("h"))
    assert edge_state.counts(stack, liked)["r"] == 1
    assert edge_state.counts(stack, hidden)["h"] == 1
    assert visit.posted()["reaction", liked] == 1
    visit.page.reload()
    assert hidden not in visit.loaded().cards()


def test_a_new_visitor_stays_the_same_one_and_is_nobody_else(stack: Stack, visit: Visit) -> None:
    """The minted identity outlives reloads and looking in as somebody else; another new visitor starts from nothing."""
    catalogue(stack, 20)
    first = visit.demo().cards()
    visitor = visit.user
    assert visitor.startswith("a-")
    seen = visit.look()
    visit.send()
    arrive(stack, visitor, seen)
    assert set(visit.demo("ann").cards()) == set(first)
    assert visit.user == "ann"
    assert visit.demo().user == visitor
    assert sorted(visit.cards()) == sorted(set(first) - seen)
    with visit.page.expect_navigation():
        visit.page.click("#new-visitor")
    assert visit.loaded().user.startswith("a-")
    assert visit.user != visitor
    assert set(visit.cards()) == set(first)
    assert not visit.page.context.cookies(), "the demo speaks with tokens: one browser is many people"
    assert not seen_ids(stack, "ann")


def test_each_sample_person_has_a_list_of_their_own(stack: Stack, visit: Visit) -> None:
    """After a night, ann's list lacks what she saw and ben's has it; switching by the links shows each their own."""
    ids = catalogue(stack, 40)
    read = ids[:15]
    stack.beacon("ann", [{"event": "impression", "item": item} for item in read])
    stack.beacon("ben", [{"event": "impression", "item": ids[-1]}])
    stack.worker("nightly")
    hers = visit.demo("ann").cards()
    assert visit.page.inner_text("#source") == "own list"
    assert visit.page.inner_text("#generation") == "1"
    assert visit.page.inner_text(".person[aria-current] b") == "ann"
    with visit.page.expect_navigation():
        visit.page.click(".person:has-text('sample ben')")
    his = visit.loaded().cards()
    assert visit.user == "ben"
    assert not set(hers) & set(read)
    assert set(his) & set(read)
    assert ids[-1] not in his
    assert visit.page.get_attribute(".page", "data-list") == "1"


def test_scrolling_to_the_end_shows_everything_once_and_never_one_category_in_a_row(stack: Stack, visit: Visit) -> None:
    """Pages load by themselves while cards are being seen: each item once, at least three others between a category."""
    ids = catalogue(stack, 84)
    visit.demo("ann")
    for _ in range(100):
        visit.page.mouse.wheel(0, 3000)
        if visit.page.inner_text("#message").startswith("That is all"):
            break
        visit.page.wait_for_timeout(50)
    shown = visit.cards()
    assert sorted(shown) == sorted(ids)
    assert visit.page.locator(".page").count() >= 5
    categories = visit.page.locator(".category").all_inner_texts()
    assert all(len(set(categories[at : at + 4])) == 4 for at in range(len(categories) - 3))


def test_when_everything_is_seen_the_page_says_so(stack: Stack, visit: Visit) -> None:
    """No repeats and no empty page without a word."""
    ids = catalogue(stack, 3)
    stack.beacon("ann", [{"event": "impression", "item": item} for item in ids])
    assert visit.demo("ann").cards() == []
    assert visit.page.inner_text("#message").startswith("You have seen everything")


def test_pictures_load_and_everything_has_a_name(stack: Stack, visit: Visit) -> None:
    """Every image has loaded and carries alt text, each card and control has a name, and nothing overflows the page."""
    catalogue(stack, 12)
    visit.page.set_viewport_size({"width": 1280, "height": 1600})
    visit.demo("ann").until("[...document.images].every((image) => image.complete)")
    look = "all => all.map((image) => [image.naturalWidth > 0, image.getAttribute('alt')])"
    images = visit.page.eval_on_selector_all("img", look)
    # The title is the card's name, so the picture has an empty one: a screen reader need not say it twice.
    assert images == [[True, ""]] * 6
    named = "all => all.map((e) => (e.getAttribute('aria-label') || e.innerText).trim())"
    for selector in ("article.card", "button:not(dialog *):not([hidden])", "a", "#feed", "nav"):
        assert all(visit.page.eval_on_selector_all(selector, named)), selector
    titles = visit.page.eval_on_selector_all("article.card", named)
    assert sorted(titles) == sorted(f"Story number {at}" for at in range(12))
    assert visit.page.get_attribute("html", "lang") == "en"
    for width in (1280, 390, 320):
        visit.page.set_viewport_size({"width": width, "height": 800})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_can_be_used_by_keyboard(stack: Stack, visit: Visit) -> None:
    """Enter on a card's link opens it, Escape closes it and gives the focus back."""
    catalogue(stack, 6)
    first = visit.demo("ann").cards()[0]
    visit.page.focus(f'[data-item="{first}"] a')
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#detail").is_visible()
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#detail").is_visible()
    assert visit.page.evaluate("document.activeElement.closest('[data-item]').dataset.item") == first
    stack.until(lambda: edge_state.seen_items(stack, "ann").get(edge_state.number(stack, first), 0) & CLICKED)


def test_an_items_data_cannot_run_in_the_page(stack: Stack, visit: Visit) -> None:
    """Markup in a title is text, a javascript: link leads nowhere, a foreign picture and inline scripts are refused."""
    put(stack, [stack.item("evil", data={
        "title": "<img src=x onerror='window.hacked=1'>", "url": "javascript:window.hacked=1",
        "image": "https://elsewhere.invalid/spy.png",
    })])  # fmt: skip
    visit.allow("Content Security Policy")
    visit.demo("ann")
    assert visit.page.inner_text(".card h2") == "<img src=x onerror='window.hacked=1'>"
    assert visit.page.get_attribute(".card a", "href") == "#"
    visit.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
    visit.until("!document.images.length")
    assert visit.page.evaluate("window.hacked") is None
    assert any("elsewhere.invalid" in text for text in visit.complaints)
    assert any("script" in text for text in visit.complaints)


def test_without_the_beacon_the_feed_still_works(stack: Stack, visit: Visit) -> None:
    """An extension blocks beacon.js: cards, dialog and paging work, and the page says what is missing."""
    catalogue(stack, 30)
    visit.allow("ERR_FAILED")
    visit.page.route("**/beacon.js", lambda route: route.abort())
    first = visit.demo("ann").cards()
    assert len(first) == 20
    visit.until("document.querySelector('#pending').innerText === 'beacon blocked'")
    visit.page.click(f'[data-item="{first[0]}"] a')
    visit.page.click("#like")
    visit.page.click("#hide")
    visit.scroll_to(first[-1])
    visit.until("document.querySelectorAll('[data-item]').length === 29")
    assert not seen_ids(stack, "ann")


def test_without_sample_people_or_any_item_the_page_still_stands(stack: Stack, visit: Visit) -> None:
    """A bare stack: no people.json and an empty catalogue."""
    stack.sync()
    (stack.run / "demo/people.json").unlink()
    visit.allow("404")
    assert visit.demo().cards() == []
    assert visit.user.startswith("a-")
    assert visit.page.inner_text("#message")
