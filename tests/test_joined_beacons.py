"""Plain beacons of many people in one call of ``nightfeed_plain``: each is stored as if it had been alone."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import edge_state
from tests.edge_state import now_ms, seen_items, users
from tests.recorded_person import NOW, Person
from tests.stack_fixture import Stack
from worker.credentials import erasure_keys
from worker.keyspace import (
    DAY_MS,
    bucket_expiry,
    bucket_of,
    day_expiry,
    live_buckets,
    partition_key,
    partition_of,
    user_key,
    visit_of,
)
from worker.seen_set import live_mask, packed, word_of

IMPRESSION = 1 << 25
CLOSER = -1  # a reply
AGAIN = VISITED = 128
# One moment in each of several live buckets.
MOMENTS = [NOW - days * DAY_MS for days in (0, 15, 25, 59)]
PEOPLE = 40
MAX_PEOPLE = 32  # in one call
APART_S = 0.01  # so that they arrive in this order: the first one speaks for all
WAIT_S = 0.3  # until all have arrived

Batch = tuple[str, dict[int, int]]  # a user, and the moment of an impression by item number, all of one day


def joined(stack: Stack, batches: list[Batch], day: int, described: int = MAX_PEOPLE,
           visited: frozenset[str] = frozenset()) -> list[Any]:  # fmt: skip
    """One call for plain events of several people, all of one visit: the reply of each. Only the first ``described``
    are told of but by their keys; the visit of those ``visited`` is said to be written."""
    (visit,) = {visit_of(max(times.values())) for _, times in batches}
    partitions = [partition_of(user) for user, _ in batches]
    keys = [partition_key("count", partitions[0], day), *(user_key("seen", user) for user, _ in batches)]
    keys += [partition_key("erased", partition) for partition in partitions]
    keys += [partition_key("users", partition_of(user)) for user, _ in batches if user not in visited]
    people, counts, names = b"", b"", set[str]()
    for user, times in batches[:described]:
        expiry = bucket_expiry(bucket_of(max(times.values())), 60, user)
        length = len(user) - 1 + (VISITED if user in visited else 0)
        people += struct.pack("<IBB", expiry, length, len(times) + (AGAIN if user in names else 0))
        names.add(user)
        people += packed(word_of(number, bucket_of(ts)) for number, ts in times.items())
        counts += packed(number + IMPRESSION for number in times)
    mask = live_mask(live_buckets(NOW, 60))
    arguments = [mask, day_expiry(day), erasure_keys(stack.run)[0], visit, len(batches), people, counts]
    replies: list[Any] = stack.redis.fcall("nightfeed_plain", len(keys), *keys, *arguments)
    told = dict(zip(replies[::2], replies[1::2], strict=True))
    return [told.get(place, len(times)) for place, (_, times) in enumerate(batches, 1)]


def counted(stack: Stack, person: Person) -> dict[tuple[str, str], int]:
    """(item, letter) -> counter, of a person's items, over all partitions and days."""
    return {(person.names[number], letter): by for number, counters in edge_state.totals(stack).items()
            if number in person.names for letter, by in counters.items()}  # fmt: skip


# What one has done before: events on the items a, b and c at those moments.
histories = st.lists(
    st.tuples(st.sampled_from(["impression", "click", "hide"]), st.sampled_from("abc"), st.sampled_from(MOMENTS)),
    max_size=4,
)
shown = st.sets(st.sampled_from("abc"), min_size=1)


@settings(max_examples=60)
@given(people=st.lists(st.tuples(histories, shown), min_size=1, max_size=5), moment=st.sampled_from(MOMENTS))
def test_people_in_one_call_are_stored_as_each_alone(stack: Stack, people: list[Any], moment: int) -> None:
    """Replies, seen sets, visits, expiries and counts are those of calls of nightfeed_record, whatever was before; also
    where the caller knows that a visit is there, or a later one, and does not name the key it is in."""
    together, alone = [Person(stack) for _ in people], [Person(stack) for _ in people]
    for one, twin, (history, _) in zip(together, alone, people, strict=True):
        for person in (one, twin):
            person.deliver([(name, item, ts, None) for name, item, ts in history])
    batches = [(one.user, {one.numbers[item]: moment for item in sorted(items)})
               for one, (_, items) in zip(together, people, strict=True)]  # fmt: skip
    visited = frozenset(one.user for one in together if (one.stored()[2] or 0) >= visit_of(moment))
    replies = joined(stack, batches, moment // DAY_MS, visited=visited)
    for one, twin, (_, items), reply in zip(together, alone, people, replies, strict=True):
        done = twin.deliver([("impression", item, moment, None) for item in sorted(items)])
        assert reply == done.impressions + done.clicks * 2**7 + done.repeats * 2**14
        assert one.words() == twin.words()
        assert one.stored()[2] == twin.stored()[2], "the visit"
        expiries = [stack.redis.expiretime(person.key("seen")) // 86400 for person in (one, twin)]
        assert abs(expiries[0] - expiries[1]) <= 1, "the same but for the jitter by user, of a day"
        assert counted(stack, one) == counted(stack, twin)


def test_a_person_may_stand_in_a_call_several_times(stack: Stack) -> None:
    """From several tabs: what the first of them changes is known to the next."""
    one, other = Person(stack), Person(stack)
    batches = [(one.user, {one.numbers["a"]: NOW}), (other.user, {other.numbers["a"]: NOW}),
               (one.user, {one.numbers["a"]: NOW, one.numbers["b"]: NOW})]  # fmt: skip
    assert joined(stack, batches, NOW // DAY_MS) == [1, 1, 1 + 2**14]
    assert one.seen() == {"a", "b"}, "and each item has one word"
    assert counted(stack, one) == {("a", "i"): 1, ("b", "i"): 1}


def test_whoever_was_erased_is_left_to_nightfeed_record(stack: Stack) -> None:
    """Nothing of them is written by the call, and the others are stored."""
    gone, other = Person(stack), Person(stack)
    gone.deliver([("impression", "b", NOW - DAY_MS, None)])
    stack.worker("user", "forget", gone.user, "--yes")
    replies = joined(stack, [(each.user, {each.numbers["a"]: NOW}) for each in (gone, other)], NOW // DAY_MS)
    assert replies == [CLOSER, 1]
    assert stack.redis.exists(gone.key("seen")) == 0
    assert other.seen() == {"a"}
    assert counted(stack, gone) == {("b", "i"): 1}, "what was counted before names nobody, and stays"
    assert counted(stack, other) == {("a", "i"): 1}


def test_whose_visit_is_known_and_who_has_seen_nothing_is_left_to_nightfeed_record(stack: Stack) -> None:
    """They were removed since: nothing of them is written by the call, and the others are stored, each in their own."""
    gone, other, last = Person(stack), Person(stack), Person(stack)
    batches = [(each.user, {each.numbers["a"]: NOW}) for each in (gone, other, last)]
    assert joined(stack, batches, NOW // DAY_MS, visited=frozenset({gone.user})) == [CLOSER, 1, 1]
    assert stack.redis.exists(gone.key("seen")) == 0
    assert counted(stack, gone) == {}
    assert [person.stored()[2] for person in (gone, other, last)] == [None, visit_of(NOW), visit_of(NOW)]


@pytest.mark.parametrize("name", ["users", "erased", "seen"])
def test_what_is_wrong_with_one_persons_keys_concerns_nobody_else(stack: Stack, name: str) -> None:
    """An error of theirs alone, in the place of their reply, however often they come; and nothing of theirs counts."""
    people = [Person(stack) for _ in range(64)]
    broken, other = people[0], next(one for one in people if partition_of(one.user) != partition_of(people[0].user))
    key = user_key(name, broken.user) if name == "seen" else partition_key(name, partition_of(broken.user))
    stack.redis.delete(key)
    stack.redis.rpush(key, "of another type")
    batches = [(each.user, {each.numbers["a"]: NOW}) for each in (broken, other, broken)]
    one, two, three = joined(stack, batches, NOW // DAY_MS)
    assert {type(one), type(three)} == {redis.ResponseError}
    assert "WRONGTYPE" in str(one)
    assert two == 1
    stack.redis.delete(key)
    assert counted(stack, broken) == {}
    assert counted(stack, other) == {("a", "i"): 1}
    assert joined(stack, batches, NOW // DAY_MS) == [1, 2**14, 2**14]


def test_a_call_with_too_little_in_it_ends(stack: Stack) -> None:
    """Whoever is described is stored, and of everybody else it is said that there is nothing."""
    people = [Person(stack) for _ in range(3)]
    replies = joined(stack, [(each.user, {each.numbers["a"]: NOW}) for each in people], NOW // DAY_MS, described=1)
    assert replies[0] == 1
    assert {type(reply) for reply in replies[1:]} == {redis.ResponseError}
    assert [each.seen() for each in people] == [{"a"}, set(), set()]
    assert [counted(stack, each) for each in people] == [{("a", "i"): 1}, {}, {}]


@pytest.fixture
def items(fresh_stack: Callable[..., Stack]) -> Stack:
    """A stack that waits for Redis, with an item for each of so many people."""
    stack = fresh_stack(redis_timeout_ms=20_000)
    stack.import_items(stack.item(f"a{i}") for i in range(PEOPLE))
    return stack


def calls(stack: Stack) -> int:
    """How many functions Redis has run for anybody."""
    found = stack.redis.info("commandstats").get("cmdstat_fcall", {"calls": 0})
    return int(found["calls"])


def send_together(stack: Stack, batches: list[tuple[str, list[dict[str, Any]]]]) -> list[int]:
    """Beacons that wait together, while Redis takes no writes for a moment: the status of each."""
    stack.redis.client_pause(20_000, all=False)
    with ThreadPoolExecutor(len(batches)) as pool:
        sent = []
        for user, events in batches:
            sent.append(pool.submit(stack.beacon, user, events))
            time.sleep(APART_S)
        time.sleep(WAIT_S)
        stack.redis.client_unpause()
        return [answer.result().status_code for answer in sent]


def impression(item: str, **fields: Any) -> dict[str, Any]:
    return {"event": "impression", "item": item, "position": 1, "list": 7, **fields}


def test_beacons_that_wait_together_are_few_calls(items: Stack) -> None:
    """Everybody has what they saw, and nothing else; one nginx worker asks Redis a few times for all of them."""
    before, people = calls(items), [f"p{i}" for i in range(PEOPLE)]
    statuses = send_together(items, [(user, [impression(f"a{i}")]) for i, user in enumerate(people)])
    assert set(statuses) == {204}
    numbers = [edge_state.number(items, f"a{i}") for i in range(PEOPLE)]
    assert [set(seen_items(items, user)) for user in people] == [{number} for number in numbers]
    assert edge_state.totals(items) == {number: {"i": 1} for number in numbers}
    assert set(users(items)) == set(people)
    assert calls(items) - before <= PEOPLE / 2


def test_all_kinds_of_beacons_wait_together(items: Stack) -> None:
    """Of another day, of several kinds, said before, of an erased person, with a broken key: each gets its own answer,
    whoever comes first, and all of it again changes nothing."""
    now, numbers = now_ms(), [edge_state.number(items, f"a{i}") for i in range(6)]
    items.beacon("again", [impression("a2")])
    for user in ("gone", "back"):
        items.beacon(user, [{"event": "search", "query": "bread"}])
        items.worker("user", "forget", user, "--yes")
    items.redis.rpush(user_key("seen", "broken"), "not a seen set")
    batches = [
        ("plain", [impression("a0"), impression("a1")]),
        ("yesterday", [impression("a1", ts=now - DAY_MS)]),
        ("again", [impression("a2"), impression("a3")]),
        ("clicks", [impression("a4"), {"event": "click", "item": "a4"}, {"event": "search", "query": "bread"}]),
        ("gone", [impression("a5", ts=now - 1000)]),
        ("back", [impression("a5", ts=now_ms())]),
        ("broken", [impression("a0")]),
    ]  # fmt: skip
    for first in range(len(batches)):
        order = batches[first:] + batches[:first]
        statuses = send_together(items, order)
        assert statuses == [503 if user == "broken" else 204 for user, _ in order], f"{order[0][0]} first"
    assert edge_state.totals(items) == {
        numbers[0]: {"i": 1}, numbers[1]: {"i": 2}, numbers[2]: {"i": 1}, numbers[3]: {"i": 1},
        numbers[4]: {"i": 1, "c": 1}, numbers[5]: {"i": 1},
    }  # fmt: skip
    assert set(seen_items(items, "again")) == {numbers[2], numbers[3]}
    assert set(seen_items(items, "clicks")) == {numbers[4]}
    assert set(seen_items(items, "back")) == {numbers[5]}
    assert items.redis.exists(user_key("seen", "gone")) == 0
    items.redis.delete(user_key("seen", "broken"))
    assert items.beacon("broken", [impression("a0")]).status_code == 204


def test_beacons_of_one_person_that_wait_together_count_once(fresh_stack: Callable[..., Stack]) -> None:
    """The same impression, sent by several tabs at once: stored and counted once, and all of them are answered."""
    stack = fresh_stack(redis_timeout_ms=20_000, nginx_workers=1)
    stack.import_items(stack.item(f"a{i}") for i in range(2))
    before = calls(stack)
    # Somebody else comes first and speaks to Redis: all others are in one call then.
    assert set(send_together(stack, [("u0", [impression("a0")])] + [("u1", [impression("a1")])] * 8)) == {204}
    assert calls(stack) - before == 2
    assert edge_state.counts(stack, "a1") == {"i": 1}
    assert len(edge_state.seen(stack, "u1")) == 1
