"""POST /beacon: what is stored, what is counted, and what the answers promise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.edge_state import counts, now_ms, number, seen, seen_items, totals, users, written
from tests.stack_fixture import Stack
from worker import keyspace
from worker.seen_set import CLICKED, word_of

DAY_MS = keyspace.DAY_MS


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the items a1 to a9."""
    stack.import_items(stack.item(f"a{i}") for i in range(1, 10))
    return stack


def event(name: str, item: str = "a1", **fields: Any) -> dict[str, Any]:
    return {"event": name, "item": item, **fields}


def test_204_means_that_every_event_is_stored(items: Stack) -> None:
    """One beacon with every kind of event, answered without a body."""
    answer = items.beacon("u1", [
        event("impression", position=3, list=17), event("click"), event("dwell", ms=2500),
        event("reaction", kind="like"), event("conversion"), event("hide"), {"event": "search", "query": "brød — ☕"},
    ])
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert counts(items, "a1") == {"i": 1, "c": 1, "d": 2500, "r": 1, "v": 1, "h": 1}
    assert seen_items(items, "u1") == {number(items, "a1"): CLICKED}
    assert list(users(items)) == ["u1"]


def test_a_search_is_kept_with_its_time_and_needs_no_item(items: Stack) -> None:
    """Newest last; the same search delivered again is the same search."""
    now = now_ms()
    searches = [{"event": "search", "query": query, "ts": now + i} for i, query in enumerate(["sour dough", ":é"])]
    for _ in range(2):
        assert items.beacon("u1", searches).status_code == 204
    kept = items.redis.lrange(keyspace.user_key("searches", "u1"), 0, -1)
    assert [entry.decode() for entry in kept] == [f"{now} sour dough", f"{now + 1} :é"]


def test_partly_valid_stores_the_valid_and_names_the_rest(items: Stack) -> None:
    """200 with the index, from 0, of each rejected event, in order, and why."""
    answer = items.beacon("u1", [
        event("impression", "nothing-like-it"), event("impression", "a1"), event("wave"), event("click", "a2"),
    ])
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 2
    rejected = answer.json()["rejected"]
    assert [entry["index"] for entry in rejected] == [0, 2]
    assert rejected[0]["error"] == "unknown item: nothing-like-it"
    assert rejected[1]["error"].startswith('"event" is "wave": must be impression, click,')
    assert counts(items, "a1") == {"i": 1}


def test_three_deliveries_at_once_count_once(items: Stack) -> None:
    """Idempotent by state, also when the same beacon arrives concurrently."""
    batch = [event("impression"), event("click"), event("dwell", ms=4000), event("reaction", kind="like")]
    batch = [{**entry, "ts": now_ms()} for entry in batch]
    with ThreadPoolExecutor(3) as pool:
        for user in (f"u{i}" for i in range(20)):
            answers = list(pool.map(lambda _, user=user: items.beacon(user, batch).status_code, range(3)))
            assert answers == [204, 204, 204]
    assert counts(items, "a1") == {"i": 20, "c": 20, "d": 80_000, "r": 20}


STORY = [event("impression"), event("click"), event("dwell", ms=700), event("hide")]


def test_every_order_of_arrival_gives_the_same_totals(items: Stack) -> None:
    """24 orders of four events, each event in its own beacon; one person each."""
    now = now_ms()
    for at, order in enumerate(itertools.permutations(STORY)):
        for entry in order:
            assert items.beacon(f"p{at}", [{**entry, "ts": now}]).status_code == 204
        assert seen_items(items, f"p{at}") == {number(items, "a1"): CLICKED}, order
    assert counts(items, "a1") == {"i": 24, "c": 24, "d": 24 * 700, "h": 24}


def test_every_order_within_one_beacon_gives_the_same_totals(items: Stack) -> None:
    """The same, with the four events in one beacon."""
    for at, order in enumerate(itertools.permutations(STORY)):
        assert items.beacon(f"p{at}", list(order)).status_code == 204
    assert counts(items, "a1") == {"i": 24, "c": 24, "d": 24 * 700, "h": 24}


def test_whatever_a_person_did_makes_the_item_seen(items: Stack) -> None:
    """Seen at once; a click counts only once there is an impression, the rest by itself."""
    for first in ("click", "dwell", "reaction", "conversion", "hide"):
        items.beacon(f"u-{first}", [event(first, ms=9, kind="x")])
        assert number(items, "a1") in seen_items(items, f"u-{first}")
    assert counts(items, "a1") == {"d": 9, "r": 1, "v": 1, "h": 1}


def test_an_event_lands_in_the_day_and_bucket_of_its_own_time(items: Stack) -> None:
    """Back-dated events count for their day; the set lives as long as its newest bucket."""
    now = now_ms()
    times = [now, now - 30 * DAY_MS, now - 60 * DAY_MS + 5000]
    batch = [event("impression", f"a{i}", ts=ts) for i, ts in enumerate(times, 1)]
    assert items.beacon("u1", batch).status_code == 204
    for i, ts in enumerate(times, 1):
        count_key = keyspace.partition_key("count", keyspace.partition_of("u1"), ts // DAY_MS)
        assert totals(items, count_key) == {number(items, f"a{i}"): {"i": 1}}
        assert word_of(number(items, f"a{i}"), keyspace.bucket_of(ts)) in seen(items, "u1")
    newest = keyspace.bucket_of(now)
    assert items.redis.expiretime(keyspace.user_key("seen", "u1")) == keyspace.bucket_expiry(newest, 60, "u1")
    assert users(items) == {"u1": keyspace.visit_of(now)}


def test_an_impression_is_a_repeat_in_any_live_bucket(items: Stack) -> None:
    """Seen 50 days ago, seen again today: one impression, in the day of the first."""
    first = now_ms() - 50 * DAY_MS
    items.beacon("u1", [event("impression", ts=first)])
    items.beacon("u1", [event("impression")])
    key = keyspace.partition_key("count", keyspace.partition_of("u1"), first // DAY_MS)
    assert totals(items, key) == {number(items, "a1"): {"i": 1}}
    assert counts(items, "a1") == {"i": 1}


def test_time_on_an_item_is_capped(items: Stack) -> None:
    """600 s for a person and item, however many dwells say more."""
    now = now_ms()
    items.beacon("u1", [event("dwell", ms=500_000, ts=now + i) for i in range(3)])
    items.beacon("u1", [event("dwell", ms=86_400_000, ts=now + 9)])
    assert counts(items, "a1") == {"d": 600_000}


def test_every_key_of_a_person_expires(items: Stack) -> None:
    """Memory is bounded by the active users: nothing of them stays for ever but what the night trims."""
    items.beacon("u1", [event("impression"), event("hide"), {"event": "search", "query": "x"}])
    keys = [key for key in written(items) if not key.startswith("users:")]
    assert len(keys) == 4
    assert all(items.redis.ttl(key) > 0 for key in keys)


def test_a_user_in_the_event_changes_nothing(items: Stack) -> None:
    """Who it is, the token says."""
    assert items.beacon("u1", [event("impression", user="u2")]).status_code == 204
    assert list(users(items)) == ["u1"]


def test_unknown_fields_are_ignored(items: Stack) -> None:
    """A newer client can talk to an older edge."""
    body = {"events": [event("impression", ts=now_ms(), new={"deep": [1, {"a": None}]})], "version": 2}
    assert items.http.post("/beacon", json=body).status_code == 204


def test_a_full_beacon_of_100_events_and_64_kib_is_taken(items: Stack) -> None:
    """The limits themselves are allowed."""
    batch = [event("impression", f"a{1 + i % 9}", ts=now_ms(), note="") for i in range(100)]
    body = json.dumps({"events": batch}, separators=(",", ":"))
    batch[0]["note"] = "x" * (65536 - len(body))
    body = json.dumps({"events": batch}, separators=(",", ":"))
    assert len(body) == 65536
    assert items.http.post("/beacon", content=body).status_code == 204


def test_any_content_type_is_taken(items: Stack) -> None:
    """text/plain avoids a preflight, sendBeacon chooses its own."""
    for content_type in ("text/plain", "application/json", "application/x-www-form-urlencoded", ""):
        answer = items.beacon("u1", [event("impression")], headers={"Content-Type": content_type})
        assert answer.status_code == 204, content_type


def test_a_chunked_body_is_taken(items: Stack) -> None:
    """A body without a length, in several pieces."""
    body = json.dumps({"events": [event("impression", ts=now_ms())] * 50}).encode()

    def pieces() -> Iterator[bytes]:
        yield from (body[i:i + 700] for i in range(0, len(body), 700))

    assert items.http.post("/beacon", content=pieces(), headers=items.bearer("u1")).status_code == 204
    assert counts(items, "a1") == {"i": 1}


def test_an_item_counts_from_the_moment_it_was_imported(stack: Stack) -> None:
    """An unknown id is not remembered as unknown."""
    assert stack.beacon("u1", [event("impression", "late")]).status_code == 422
    stack.worker("items", "import", "-", input=json.dumps(stack.item("late")))
    assert stack.beacon("u1", [event("impression", "late")]).status_code == 204


def test_a_removed_item_is_unknown(items: Stack) -> None:
    """Two seconds after it was removed at the latest."""
    items.worker("items", "remove", "a1")
    items.sync()
    assert items.beacon("u1", [event("impression")]).json()["rejected"][0]["error"] == "unknown item: a1"
