"""GET /feed on hand-made catalogues and lists: every expected page is worked out by hand."""

from __future__ import annotations

import json
import time

from tests.feed_site import DAY, Site, reasons, shown, site, utc, walk

__all__ = ["site"]  # a fixture


def test_the_list_is_served_in_its_order_without_what_was_seen(site: Site) -> None:
    """Best first; items of an acknowledged impression are gone from the very next page on."""
    site.add("a", "b", "c", "d", "e", "f")
    site.publish(3, "a b c d e f")
    site.give("u1", 3, "f e d c b a")
    assert site.ids("u1") == "f e d c b a"
    site.see("u1", "e b")
    page = site.stack.feed("u1")
    assert (shown(page), page["source"], page["generation"], page["user"]) == ("f d c a", "list", 3, "u1")
    assert (page["cursor"], "exhausted" in page) == (None, False)
    assert site.ids("u2") == "f e d c b a", "what u1 saw is nobody else's"


def test_an_item_carries_its_record_and_why_it_is_there(site: Site) -> None:
    """The position in the pool says top, new or evergreen; the list marks evergreen items the user missed."""
    site.add("a", kind="timely", data={"title": "Ünï", "tags": [1, {}]}, posted=site.now - 2 * DAY)
    site.add("b", "c", "d")
    site.publish(1, "a b c d", top=2, new=1)
    site.give("u1", 1, "a b c d", missed="b")
    page = site.stack.feed("u1")
    assert page["items"][0] == {
        "id": "a", "category": "only-a", "kind": "timely", "posted_at": utc(site.now - 2 * DAY), "reason": "top",
        "data": {"title": "Ünï", "tags": [1, {}]},
    }
    assert (shown(page), reasons(page)) == ("a b c d", "top evergreen new evergreen")


def test_the_answer_is_private_json(site: Site) -> None:
    """No cache may keep it, and nobody else may get it."""
    headers = site.stack.http.get("/feed", headers=site.stack.bearer("u1")).headers
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "private, no-store"
    assert headers["vary"] == "Cookie, Authorization"
    assert site.stack.http.post("/feed").status_code == 405


def test_pages_of_any_length_are_whole(site: Site) -> None:
    """From a few hundred bytes to 400 KB and back: each is put together in the memory that the last one used."""
    names = [f"i{number}" for number in range(100)]
    site.add(*names[:99], data={"title": "4,000 bytes: " + "é" * 2_000})
    site.add(names[99], data={})
    site.publish(4_294_967_295, " ".join(names))
    site.give("u1", 4_294_967_295, " ".join(reversed(names)))
    for size in (1, 99, 2, 50, 1):
        page = site.stack.feed("u1", size)
        assert (page["user"], page["generation"], page["source"]) == ("u1", 4_294_967_295, "list")
        assert shown(page).split() == names[: -size - 1 : -1]
        assert [len(item["data"].get("title", "")) for item in page["items"]] == [0] + [2_013] * (size - 1)
        assert page["cursor"].startswith("1.4294967295.4294967295.")


def test_what_subtraction_breaks_is_spaced_again(site: Site) -> None:
    """The list was spaced; without b and c, e:A would follow a:A within 3 and waits until three others stood there."""
    site.add("a:A", "b:B", "c:C", "d:D", "e:A", "f:E", "g:F", "h:A")
    site.publish(1, "a b c d e f g h")
    site.give("u1", 1, "a b c d e f g h")
    assert site.ids("u1") == "a b c d e f g h"
    site.see("u1", "b c")
    assert site.ids("u1") == "a d f g e h", "h:A is all that is left, two categories too early"


def test_the_gap_narrows_only_as_far_as_it_must(site: Site) -> None:
    """With nothing but A and B left, what was served longest ago comes: they alternate, and order within each stays."""
    site.add("a1:A", "a2:A", "a3:A", "b1:B", "b2:B")
    site.publish(1, "a1 a2 a3 b1 b2")
    site.give("u1", 1, "a1 a2 a3 b1 b2")
    assert site.ids("u1") == "a1 b1 a2 b2 a3"


def test_spacing_goes_on_over_pages(site: Site) -> None:
    """A page begins with what the last one put aside, but not within the gap of its end."""
    site.add("a:A", "b:A", "c:C", "d:D", "e:E", "f:F")
    site.publish(1, "a b c d e f")
    site.give("u1", 1, "a b c d e f")
    assert [shown(page) for page in walk(site.stack, "u1", 2)] == ["a c", "d e", "b f"]


def test_fresh_items_take_their_positions_newest_first(site: Site) -> None:
    """Positions 2 and 8 of every feed, counted over pages; what is older than fresh_days is not fresh."""
    site.add(*(f"l{i}" for i in range(1, 11)))
    site.publish(1, " ".join(f"l{i}" for i in range(1, 11)))
    site.give("u1", 1, " ".join(f"l{i}" for i in range(1, 11)))
    site.add("old", posted=site.now - 8 * DAY)
    site.add("f1", posted=site.now - 600)
    site.add("f2", posted=site.now - 60)
    expected = "l1 l2 f2 l3 l4 l5 l6 l7 f1 l8 l9 l10 old"
    page = site.stack.feed("u1")
    assert shown(page) == expected
    assert reasons(page) == "top top fresh top top top top top fresh top top top default"
    assert " ".join(shown(part) for part in walk(site.stack, "u1", 4)) == expected
    site.see("u1", "f2")
    assert site.ids("u1", 6) == "l1 l2 f1 l3 l4 l5"


def test_a_fresh_item_that_the_run_put_into_no_list_still_waits_for_its_turn(site: Site) -> None:
    """Its category stood within the gap, so the next fresh one goes first and the slot is not lost."""
    site.add("a:A", "b:B", "c:C", "d:D", "e:E", "f:F", "g:G", "h:H")
    site.publish(1, "a b c d e f g h")
    site.give("u1", 1, "a b c d e f g h")
    site.add("x:A", posted=site.now - 60)
    site.add("y:Y", posted=site.now - 120)
    assert site.ids("u1") == "a b y c d e f g x h"


def test_all_the_rest_is_fresh_when_nothing_else_is_left(site: Site) -> None:
    """Fresh items beyond their positions fill the end."""
    site.add("a", "b")
    site.publish(1, "a b")
    site.give("u1", 1, "a b")
    site.add("x", posted=site.now - 30)
    site.add("y", posted=site.now - 20)
    assert site.ids("u1") == "a b y x"


def test_running_out_goes_from_the_list_to_older_content_and_ends(site: Site) -> None:
    """list → default → older → what no list names → exhausted; each says so in source, and nothing comes twice."""
    site.add("a", "b", "c", "d", "e", "x")
    site.publish(4, "a b c", default="c b", older="e d c", known=6)
    site.give("u1", 4, "a c")
    assert [(shown(page), page["source"], reasons(page)) for page in walk(site.stack, "u1", 1)] == [
        ("a", "list", "top"), ("c", "list", "top"), ("b", "default", "default"),
        ("e", "fallback", "default"), ("d", "fallback", "default"), ("x", "fallback", "default"),
    ]
    site.see("u1", "a c")
    assert (site.ids("u1"), site.stack.feed("u1", 1)["source"]) == ("b e d x", "default")
    site.see("u1", "b e d")
    assert (site.ids("u1"), site.stack.feed("u1")["source"]) == ("x", "fallback")
    site.see("u1", "x")
    page = site.stack.feed("u1")
    assert (page["items"], page["cursor"], page["exhausted"]) == ([], None, True)


def test_who_has_no_list_gets_the_default_one(site: Site) -> None:
    """With the current generation and a reason of its own, minus what they have seen."""
    site.add("a", "b", "c")
    site.publish(5, "a b c", default="b c a")
    page = site.stack.feed("new-here")
    assert (shown(page), page["source"], page["generation"], reasons(page)) == (
        "b c a", "default", 5, "default default default")
    site.see("new-here", "c")
    assert site.ids("new-here") == "b a"


def test_a_visitor_without_a_token_gets_one_and_the_default_list(site: Site) -> None:
    """And what they see under that token is gone from then on."""
    site.add("a", "b")
    site.publish(1, "a b", default="a b")
    answer = site.stack.http.get("/feed")
    bearer = {"Authorization": f"Bearer {answer.headers['nightfeed-token']}"}
    site.stack.http.cookies.clear()
    assert shown(answer.json()) == "a b"
    body = json.dumps({"events": [{"event": "impression", "item": "a", "ts": int(time.time() * 1000)}]})
    assert site.stack.http.post("/beacon", content=body, headers=bearer).status_code == 204
    again = site.stack.http.get("/feed", headers=bearer).json()
    assert (shown(again), again["user"]) == ("b", answer.json()["user"])


def test_before_the_first_run_the_newest_come_first(site: Site) -> None:
    """No generation at all: generation 0, source default, and minus what was seen."""
    site.add("a", posted=site.now - 3 * DAY)
    site.add("b", posted=site.now - DAY)
    site.add("c", posted=site.now - 2 * DAY)
    site.add("ancient", posted=site.now - 30 * DAY)
    page = site.stack.feed("u1")
    assert (shown(page), page["source"], page["generation"]) == ("b c a ancient", "default", 0)
    site.see("u1", "c")
    assert site.ids("u1") == "b a ancient"


def test_an_empty_site_answers_with_an_empty_array(site: Site) -> None:
    """`[]`, which a careless encoder would write as an object."""
    site.stack.sync()
    answer = site.stack.http.get("/feed", headers=site.stack.bearer("u1"))
    assert '"items":[]' in answer.text
    assert answer.json()["exhausted"] is True
