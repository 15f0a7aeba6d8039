"""GET /feed on hand-made catalogues and lists: every expected page is worked out by hand."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.feed_site import DAY, Site, reasons, shown, utc, walk
from tests.stack_fixture import SYNC_SECONDS, Stack
from worker import keyspace


@pytest.fixture
def site(stack: Stack) -> Site:
    """An empty site on the session's stack, whose edge has forgotten the last test's."""
    stack.sync()
    return Site(stack)


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
    time.sleep(SYNC_SECONDS)
    answer = site.stack.http.get("/feed", headers=site.stack.bearer("u1"))
    assert '"items":[]' in answer.text
    assert answer.json()["exhausted"] is True


def test_hidden_and_removed_items_are_gone_within_two_seconds(site: Site) -> None:
    """On lists that were published before; and back when they are shown again. Seen is kept over a removal."""
    site.add("a", "b", "c", "d")
    site.publish(1, "a b c d", default="a b c d")
    site.give("u1", 1, "a b c d")
    assert site.ids("u1") == "a b c d"
    site.stack.worker("items", "hide", "b")
    site.stack.until(lambda: all(site.ids("u1") == "a c d" for _ in range(4)), seconds=2)
    site.stack.worker("items", "remove", "c")
    site.stack.until(lambda: all(site.ids("u2") == "a d" for _ in range(4)), seconds=2)
    site.see("u1", "a")
    site.stack.worker("items", "unhide", "b")
    site.stack.worker("items", "remove", "a")
    site.add("a")
    assert (site.ids("u1"), site.ids("u2")) == ("b d", "a b d")


def test_a_changed_record_is_served_as_it_is_now(site: Site) -> None:
    """Texts of items are cached at the edge; a change drops them."""
    site.add("a", "b", data={"title": "first"})
    assert [item["data"]["title"] for item in site.stack.feed("u1")["items"]] == ["first", "first"]
    site.add("a", data={"title": "second"})
    titles = {item["id"]: item["data"]["title"] for item in site.stack.feed("u1")["items"]}
    assert titles == {"a": "second", "b": "first"}


def test_a_catalogue_that_outgrows_its_room_is_known_whole(site: Site) -> None:
    """Rows are in memory that grows by doubling from 4,096; more than 5,000 changes at once are read as a whole."""
    site.add("first", *(f"x{i}" for i in range(4_090)), hidden=True)
    site.add("a", "b", "c", "d", "e", "f", "g", "h")
    assert site.ids("u1", 100) == "h g f e d c b a"
    site.add(*(f"y{i}" for i in range(5_100)), hidden=True)
    site.add("first", "last", posted=site.now - DAY)
    assert site.ids("u1", 100) == "last first h g f e d c b a"


def test_items_come_and_go_at_their_times(site: Site) -> None:
    """posted_at in the future: not yet; expires_at in the past: not any more. The clock alone decides."""
    site.add("a")
    soon = int(time.time()) + 4
    site.add("later", posted=soon)
    site.add("leaving", expires_at=utc(soon))
    assert time.time() < soon, "importing took too long for this test"
    assert site.ids("u1") == "leaving a"
    site.stack.until(lambda: site.ids("u1") == "later a", seconds=8)
    assert time.time() >= soon


def test_a_list_of_another_generation_is_read_with_its_own_pool(site: Site) -> None:
    """Before a switch a list is newer, after it older than the generation; positions mean nothing in another pool."""
    site.add("a", "b", "c")
    site.publish(1, "a b c", default="a")
    site.give("u1", 1, "c b")
    site.publish(2, "b c a", default="a")
    page = site.stack.feed("u1")
    assert (shown(page), page["generation"], page["source"]) == ("c b a", 1, "default")
    site.stack.redis.delete(keyspace.key("pool", 7))
    site.stack.redis.copy(keyspace.key("pool", 2), keyspace.key("pool", 3))
    site.stack.redis.setrange(keyspace.key("pool", 3), 4, (3).to_bytes(4, "little"))
    site.give("u2", 3, "a c b")
    assert (site.ids("u2"), site.stack.feed("u2")["generation"]) == ("a c b", 3)


def test_a_list_whose_pool_is_gone_counts_as_none(site: Site) -> None:
    """Someone who was away for long gets the default list."""
    site.add("a", "b")
    site.publish(9, "a b", default="b a")
    site.give("u1", 1, "a b")
    page = site.stack.feed("u1")
    assert (shown(page), page["source"], page["generation"]) == ("b a", "default", 9)


def test_a_broken_list_is_reported_and_counts_as_none(site: Site) -> None:
    """A feed always answers."""
    site.stack.expect_log("ignored a published list: a list of 3 bytes is shorter than its header")
    site.add("a")
    site.publish(1, "a", default="a")
    site.stack.redis.set(keyspace.user_key("list", "u1"), b"abc")
    assert site.stack.feed("u1")["source"] == "default"


def test_seen_sets_of_any_size_subtract_exactly(site: Site) -> None:
    """Beyond set-max-intset-entries Redis keeps another structure; and old buckets count like new ones."""
    site.add("a", "b", "c", "d")
    first, second, third, _ = site.numbers("abcd")
    bucket = keyspace.bucket_of(int(time.time() * 1000))
    redis = site.stack.redis
    redis.sadd(keyspace.user_key("seen", "u1", bucket), first, *range(1000, 10_000))
    redis.sadd(keyspace.user_key("seen", "u1", bucket - 2), third, -third, third + keyspace.MARKER, 2**40)
    redis.sadd(keyspace.user_key("seen", "u1", bucket - 5), second)
    assert redis.object("encoding", keyspace.user_key("seen", "u1", bucket)) == b"hashtable"
    assert site.ids("u1") == "d b", "bucket - 5 is outside of the window"


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


def test_with_redis_stopped_the_last_default_list_is_served(site: Site) -> None:
    """Within about the timeout, page by page, without what expired or was just seen; and as before when it goes on."""
    site.stack.expect_log("failed to ask Redis|cannot follow Redis for now")
    site.add("a", "b", "c", "d")
    soon = int(time.time()) + 8
    site.add("leaving", expires_at=utc(soon))
    site.publish(6, "a b c leaving d", default="a b leaving c d")
    site.give("stopped", 6, "d c b a")
    site.see("stopped", "b")
    site.stack.signal("redis", signal.SIGSTOP)
    try:
        begun = time.monotonic()
        page = site.stack.feed("stopped", 3)
        assert time.monotonic() - begun < 1
        assert (shown(page), page["source"], page["generation"]) == ("a leaving c", "fallback", 6)
        assert page["user"] == "stopped"
        following = site.stack.feed("stopped", 3, page["cursor"])
        assert (shown(following), following["source"], following["cursor"]) == ("d", "fallback", None)
        site.stack.until(lambda: site.ids("stopped") == "a c d", seconds=12)
    finally:
        site.stack.signal("redis", signal.SIGCONT)
    site.stack.until(lambda: site.stack.feed("stopped")["source"] == "list")
    assert shown(site.stack.feed("stopped", 2, page["cursor"])) == "d c", "a cursor of the fallback begins the list"


def test_new_nginx_workers_answer_without_redis(site: Site) -> None:
    """They know nothing yet; what the old ones rendered outlives them, and the clock still counts."""
    site.stack.expect_log("failed to ask Redis|cannot follow Redis for now")
    site.add("a", "b")
    site.add("leaving", expires_at=utc(time.time() + 5))
    site.publish(2, "a b leaving", default="b leaving a")
    site.stack.signal("redis", signal.SIGSTOP)
    try:
        old = set(workers(site.stack))
        site.stack.signal("nginx", signal.SIGHUP)
        site.stack.until(lambda: len(set(workers(site.stack)) - old) == 2)
        with httpx.Client(base_url=site.stack.url, timeout=10) as client:
            bearer = site.stack.bearer("reloaded")
            pages = [client.get("/feed", headers=bearer).json() for _ in range(3)]
            assert {page["source"] for page in pages} == {"fallback"}
            site.stack.until(lambda: shown(client.get("/feed", headers=bearer).json()) == "b a", seconds=8)
    finally:
        site.stack.signal("redis", signal.SIGCONT)
    site.stack.until(lambda: site.stack.feed("reloaded")["source"] == "default")


def test_without_redis_and_without_any_list_a_feed_is_empty_and_says_so(fresh_stack: Callable[..., Stack]) -> None:
    """200, fallback, and not exhausted: there may well be more."""
    stack = fresh_stack()
    stack.expect_log("failed to ask Redis|cannot follow Redis for now")
    time.sleep(SYNC_SECONDS)
    stack.signal("redis", signal.SIGSTOP)
    try:
        page: dict[str, Any] = stack.feed("u1")
        assert page == {"user": "u1", "generation": 0, "source": "fallback", "items": [], "cursor": None}
    finally:
        stack.signal("redis", signal.SIGCONT)


def workers(stack: Stack) -> list[int]:
    """Process ids of nginx's workers."""
    pid = stack.part("nginx").pid()
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]
