"""GET /feed while things change: items come, go and are edited; lists are of other generations, broken, or gone."""

from __future__ import annotations

import time

from tests.feed_site import DAY, Site, reasons, shown, site, utc, walk
from worker import keyspace
from worker.seen_set import CLICKED, UNCOUNTED, packed, word_of
from worker.store.lists import list_key

__all__ = ["site"]  # a fixture


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


def test_a_listed_item_that_is_posted_anew_is_fresh_and_comes_once(site: Site) -> None:
    """Lists pass it over from then on, whoever's they are; it has the position that is kept for fresh items."""
    ids = [f"l{i}" for i in range(1, 8)]
    site.add(*ids)
    site.publish(1, " ".join(ids), default=" ".join(ids))
    site.give("u1", 1, " ".join(ids))
    site.add("l1", posted=site.now - 60)
    for user in ("u1", "nobody"):
        page = site.stack.feed(user)
        assert shown(page) == "l2 l3 l1 l4 l5 l6 l7"
        assert reasons(page).split()[2] == "fresh"
        assert " ".join(shown(part) for part in walk(site.stack, user, 2)) == "l2 l3 l1 l4 l5 l6 l7"


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
    soon = int(time.time()) + 15
    site.add("later", posted=soon)
    site.add("leaving", expires_at=utc(soon))
    assert time.time() < soon, "importing took too long for this test"
    assert site.ids("u1") == "leaving a"
    site.stack.until(lambda: site.ids("u1") == "later a")
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
    site.stack.redis.hset(list_key("u1"), "u1", b"abc")
    assert site.stack.feed("u1")["source"] == "default"


def test_seen_sets_of_any_size_subtract_exactly(site: Site) -> None:
    """Old buckets of the window count like new ones, others do not."""
    site.add("a", "b", "c", "d")
    first, second, third, _ = site.numbers("abcd")
    bucket = keyspace.bucket_of(int(time.time() * 1000))
    redis = site.stack.redis
    key = keyspace.user_key("seen", "u1")
    redis.append(key, packed([word_of(third, bucket - 5, CLICKED | UNCOUNTED), word_of(2**25 - 1, bucket)]))
    redis.append(key, packed(word_of(second, bucket + at) for at in (-7, 24, 2)))
    for more in ([], range(1000, 42_000)):
        redis.append(key, packed(word_of(number, bucket) for number in (first, *more)))
        assert site.ids("u1") == "d b", "bucket - 7 is outside of the window"
