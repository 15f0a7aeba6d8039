"""GET /feed page by page: cursors, page sizes, stability, and what settings change."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.feed_site import DAY, Site, shown, site, walk
from tests.stack_fixture import Stack

__all__ = ["site"]  # a fixture


def test_the_same_page_again_is_the_same_page(site: Site) -> None:
    """Byte for byte, with either worker, while nothing was seen or published."""
    site.add(*(f"i{n}:c{n % 5}" for n in range(30)))
    first = site.stack.feed("u1", 7)
    second = site.stack.feed("u1", 7, first["cursor"])
    for _ in range(8):
        assert site.stack.feed("u1", 7)["items"] == first["items"]
        assert site.stack.feed("u1", 7, first["cursor"]) == second


def test_a_new_list_begins_at_its_beginning(site: Site) -> None:
    """A cursor of a walk through another generation's lists, or of a walk begun yesterday."""
    site.add("a", "b", "c", "d")
    site.publish(1, "a b c d", default="a b c d")
    old = site.stack.feed("u1", 2)["cursor"]
    assert shown(site.stack.feed("u1", 2, old)) == "c d"
    assert shown(site.stack.feed("u1", 2, old.replace(str(old.split(".")[3]), str(site.now - 2 * DAY)))) == "a b"
    site.publish(2, "d c b a", default="d c b a")
    assert shown(site.stack.feed("u1", 2, old)) == "d c"


BAD_CURSORS = [
    "x", "0", "0.", "0.x", "0.99999999999", "2.1.1.1.0.1.0.0.0.0...", "1.1.1.1.0.1.0.0.0.0..",
    "1.1.1.1.2.1.0.0.0.0...", "1.1.1.1.0.6.0.0.0.0...", "1.1.1.1.0.1.99999999999.0.0.0...", "1.1.1.1.0.1.0.0.0.0..1x.",
    "1.1.1.1.0.1.0.0.0.0..12.",
    "1.1.1.1.0.1.0.0.0.0...1t", "1.-1.1.1.0.1.0.0.0.0...", "1.1.1.1.0.1.0.0.0.0.1e9..", " ", "%00",
    "1.1.1.1.0.1.0.0.0.0.." + "_".join(["1t"] * 33) + ".", "1.1.1.1.0.1.0.0.0.0..." + "_".join("123456789"), "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_cursor_that_feed_never_gave_is_refused(stack: Stack, cursor: str) -> None:
    """400, and what to do instead."""
    answer = stack.http.get("/feed", params={"cursor": cursor}, headers=stack.bearer("u1"))
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert "leave it out" in answer.json()["error"]


def test_a_made_up_cursor_shows_nothing_that_may_not_be_shown(site: Site) -> None:
    """Hidden, seen, and numbers of no item, named as put aside; an index behind everything."""
    site.add("a", "b", "c")
    site.add("hidden", hidden=True)
    site.publish(1, "a b c", default="a b c")
    site.see("u1", "b")
    now, (first, second, _, hidden) = int(time.time()), site.numbers(["a", "b", "c", "hidden"])
    cursor = f"1.0.1.{now}.0.5.4294967295.0.0.4294967295..{first}t_{second}n_{hidden}e_0d_4294967295o.{hidden}_{second}"
    page = site.stack.feed("u1", 20, cursor)
    assert (shown(page), page["cursor"]) == ("a", None)


@pytest.mark.parametrize("n", ["0", "101", "-1", "1.5", "x", "", "1e1", "0x10", "999", "\uff11"])
def test_n_is_from_1_to_100(stack: Stack, n: str) -> None:
    """Anything else is refused."""
    answer = stack.http.get("/feed", params={"n": n}, headers=stack.bearer("u1"))
    assert (answer.status_code, answer.json()) == (400, {"error": "n must be a whole number from 1 to 100"})


def test_n_items_and_20_without_saying(site: Site) -> None:
    """Unknown arguments change nothing."""
    site.add(*(f"i{n}" for n in range(120)))
    bearer = site.stack.bearer("u1")
    for query, size in (("", 20), ("?n=1", 1), ("?n=100&x=1", 100), ("?cursor=&utm=x", 20)):
        assert len(site.stack.http.get(f"/feed{query}", headers=bearer).json()["items"]) == size


def test_repeats_come_only_where_the_site_chose_them(fresh_stack: Callable[..., Stack]) -> None:
    """When nothing unseen is left, seen items come again, in pages, as fallback."""
    site = Site(fresh_stack(repeats=True, gap=0))
    site.add("a", "b", "c")
    site.publish(1, "a b c", default="c b a")
    site.see("u1", "a b")
    assert site.ids("u1") == "c"
    site.see("u1", "c")
    pages = walk(site.stack, "u1", 2)
    assert [(shown(page), page["source"], "exhausted" in page) for page in pages] == [
        ("c b", "fallback", False), ("a", "fallback", False)]


def test_fresh_positions_exist_for_every_allowed_setting(fresh_stack: Callable[..., Stack]) -> None:
    """fresh_every 2 has no position with the remainder 2: it is 0 then. fresh_days counts from now."""
    site = Site(fresh_stack(fresh_every=2, fresh_days=1))
    site.add("a", "b", "c")
    site.publish(1, "a b c", default="a b c")
    site.add("x", posted=site.now - 60)
    site.add("y", posted=site.now - 2 * DAY + 60)
    assert site.ids("u1") == "x a b c y"
