"""POST /identify: an anonymous person's history becomes part of a signed-in person's, once, however often."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge_state import counts, now_ms, number, seen_items, written
from tests.identify_site import ANN, act, ask, items
from tests.stack_fixture import Stack
from worker import keyspace
from worker.store import stats
from worker.store import users as people
from worker.store.connect import open_store


def test_what_was_seen_anonymously_never_comes_back_after_signing_in(items: Stack) -> None:
    """In the feed at once, and for both people: the browser is the anonymous one again after signing out."""
    act(items, ANN, ("impression", "i1"), ("impression", "i2"))
    act(items, "u1", ("impression", "i2"), ("impression", "i3"))
    answer = ask(items)
    assert (answer.status_code, answer.json()) == (200, {"user": "u1", "anonymous": ANN, "adopted": 1})
    assert "set-cookie" not in answer.headers
    assert {item["id"] for item in items.feed("u1", 20)["items"]} == {"i4", "i5", "i6"}
    assert {item["id"] for item in items.feed(ANN, 20)["items"]} == {"i3", "i4", "i5", "i6"}


def test_a_person_counts_once_and_asking_again_changes_nothing(items: Stack) -> None:
    """Two impressions and clicks of one person are one; what only one of the two counted stays."""
    act(items, ANN, ("impression", "i1"), ("click", "i1"), ("impression", "i2"), ("impression", "i3"), ("click", "i3"))
    act(items, "u1", ("impression", "i1"), ("click", "i1"), ("impression", "i2"), ("impression", "i4"))
    assert counts(items, "i1") == {"i": 2, "c": 2}
    ask(items)
    expected = {"i1": {"i": 1, "c": 1}, "i2": {"i": 1}, "i3": {"i": 1, "c": 1}, "i4": {"i": 1}}
    assert {name: counts(items, name) for name in expected} == expected
    before = written(items)
    for _ in range(3):
        assert ask(items).json()["adopted"] == 0
    assert written(items) == before
    # Late deliveries to either, and what the one had done and the other not, count nothing twice.
    for user in (ANN, "u1"):
        act(items, user, ("impression", "i1"), ("click", "i1"), ("impression", "i2"))
    act(items, "u1", ("impression", "i3"), ("click", "i3"))
    assert {name: counts(items, name) for name in expected} == expected


def test_what_happens_after_a_merge_is_merged_by_the_next(items: Stack) -> None:
    """The browser goes on anonymously; both then see the same item and click it."""
    act(items, ANN, ("impression", "i1"))
    ask(items)
    act(items, ANN, ("impression", "i2"), ("click", "i1"))
    act(items, "u1", ("impression", "i2"), ("click", "i1"))
    assert (counts(items, "i1"), counts(items, "i2")) == ({"i": 1, "c": 2}, {"i": 2})
    ask(items)
    assert (counts(items, "i1"), counts(items, "i2")) == ({"i": 1, "c": 1}, {"i": 1})


def test_a_click_and_an_impression_on_two_devices_make_a_click_that_counts(items: Stack) -> None:
    """A click without an impression waits for one: here it comes with the other history."""
    act(items, ANN, ("click", "i1"))
    act(items, "u1", ("impression", "i1"))
    assert counts(items, "i1") == {"i": 1}
    for _ in range(2):
        ask(items)
        assert counts(items, "i1") == {"i": 1, "c": 1}
    act(items, "u1", ("click", "i1"))
    assert counts(items, "i1") == {"i": 1, "c": 1}


def test_what_neither_counted_counts_with_its_first_impression(items: Stack) -> None:
    """Known from a click alone: seen, and the first impression afterwards counts both."""
    act(items, ANN, ("click", "i1"))
    ask(items)
    assert "i1" not in {item["id"] for item in items.feed("u1", 20)["items"]}
    act(items, "u1", ("impression", "i1"))
    assert counts(items, "i1") == {"i": 1, "c": 1}


__all__ = ["items"]  # a fixture

STEPS = st.lists(st.one_of(
    st.just("merge"),
    st.tuples(st.sampled_from([ANN, "u1"]), st.sampled_from(["impression", "click"]), st.sampled_from(["i1", "i2"])),
), max_size=14)  # fmt: skip


@settings(max_examples=40)
@given(steps=STEPS)
def test_whatever_the_order_after_a_merge_the_two_are_one_person(items: Stack, steps: list[Any]) -> None:
    """Against the plain rule: an impression by either counts once, and a click by either, given an impression."""
    items.redis.delete(*(items.redis.keys("seen:*") + items.redis.keys("count:*") + items.redis.keys("lent:*")
                         + [b"none"]))
    did = set()
    for step in [*steps, "merge"]:
        if step == "merge":
            ask(items)
        else:
            user, kind, item = step
            act(items, user, (kind, item))
            did.add((kind, item))
    for item in ("i1", "i2"):
        shown, clicked = ("impression", item) in did, ("click", item) in did
        expected = {"i": 1} if shown else {}
        if shown and clicked:
            expected["c"] = 1
        assert counts(items, item) == expected
    assert seen_items(items, "u1").keys() == {number(items, item) for _, item in did}


def test_two_devices_become_one_person(items: Stack) -> None:
    """Three counts of one item by one person are one."""
    other = "a-fedcba9876543210"
    for user in (ANN, other, "u1"):
        act(items, user, ("impression", "i1"))
    for _ in range(2):
        ask(items)
        ask(items, other)
    assert counts(items, "i1") == {"i": 1}


def test_the_next_night_knows_one_impression_also_across_days(items: Stack) -> None:
    """Nine days apart, rolled up before the merge: the sum over the days is one, and never less than nothing."""
    then = now_ms() - 11 * keyspace.DAY_MS
    for user, ts in ((ANN, then), ("u1", now_ms() - 2 * keyspace.DAY_MS)):
        line = json.dumps({"user": user, "event": "impression", "item": "i1", "ts": ts})
        items.worker("events", "import", "-", input=line)
    items.worker("nightly", "--force")
    ask(items)
    items.worker("nightly", "--force")
    today = now_ms() // keyspace.DAY_MS
    [row] = stats.totals(open_store(items.run), range(today - 30, today + 1))
    assert row["impressions"] == 1


def test_reading_time_reactions_searches_and_the_last_visit_go_along(items: Stack) -> None:
    """Totals add up once; searches stand in the order of time."""
    now = now_ms()
    act(items, ANN, ("impression", "i1"), ("dwell", "i1", {"ms": 3000}), ("reaction", "i1", {"kind": "like"}))
    act(items, "u1", ("impression", "i1"), ("dwell", "i1", {"ms": 2000, "ts": now - 5}))
    for user, query, ts in ((ANN, "rye", now - 3000), ("u1", "oats", now - 2000), (ANN, "barley", now - 1000)):
        items.beacon(user, [{"event": "search", "query": query, "ts": ts}])
    items.beacon(ANN, [{"event": "search", "query": "late", "ts": now + 60000}])
    for _ in range(2):
        ask(items)
        told = people.export(open_store(items.run), "u1")
        assert [(act["item"], act["dwell_ms"], act["counted"]) for act in told["acts"]] == [("i1", 5000, 3)]
        assert [search["query"] for search in told["searches"]] == ["rye", "oats", "barley", "late"]
        assert told["last_seen_ms"] == keyspace.visit_of(now + 60000)
    act(items, ANN, ("dwell", "i1", {"ms": 1000, "ts": now - 7}))
    ask(items)
    [merged] = people.export(open_store(items.run), "u1")["acts"]
    assert (merged["dwell_ms"], merged["counted"]) == (6000, 4)


def test_everything_that_is_taken_over_expires(items: Stack) -> None:
    """No key without an end, for someone who had none before."""
    act(items, ANN, ("impression", "i1"), ("dwell", "i1", {"ms": 3000}), ("reaction", "i2", {"kind": "like"}))
    items.beacon(ANN, [{"event": "search", "query": "rye"}])
    ask(items, user="new")
    keys = items.redis.keys("*:new") + items.redis.keys(f"lent:*:{ANN}")
    assert len(keys) == 4
    ends = {key: items.redis.expiretime(key) for key in keys}
    assert all(end > now_ms() // 1000 + 59 * 86400 for end in ends.values()), ends
    assert seen_items(items, "new").keys() == seen_items(items, ANN).keys()
