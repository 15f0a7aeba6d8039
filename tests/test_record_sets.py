"""Seen sets as ``nightfeed_record`` keeps them: how large, what goes when, and numbers that look alike."""

from __future__ import annotations

import pytest

from tests.recorded_person import NOW, Person
from worker.keyspace import DAY_MS, bucket_of
from worker.seen_set import CLICKED, packed, word_of, words_of
from worker.store.events import Totals


def test_thousands_of_seen_items_are_packed(stack):
    """Four bytes an item, whatever happened with it."""
    person = Person(stack)
    person.numbers = {f"item{n}": n for n in range(1, 2001)}
    names = list(person.numbers)
    for start in range(0, len(names), 25):
        some = names[start : start + 25]
        person.deliver([(event, name, NOW, None) for name in some for event in ("click", "impression", "hide")])
    key, bucket = person.key("seen"), bucket_of(NOW)
    found = sorted(words_of(stack.redis.get(key)).tolist())
    assert found == [word_of(number, bucket, CLICKED) for number in range(1, 2001)]


@pytest.mark.parametrize("more", [0, 40_000])
def test_what_is_no_longer_live_goes_with_the_first_event_of_a_later_bucket(stack, more):
    """Codes come again after 320 days. Words stand in the order of time: the dead ones are the first."""
    person, bucket = Person(stack), bucket_of(NOW)
    key, a = person.key("seen"), person.numbers["a"]
    person.deliver([("impression", "a", NOW - 12 * DAY_MS, None)])
    dead = [word_of(a + 1 + number, bucket - back) for number, back in enumerate([7, 8, 12, 24])]
    old = packed([word_of(a, bucket - 9, CLICKED), *dead])
    stack.redis.set(key, old + stack.redis.get(key), keepttl=True)
    stack.redis.append(key, packed(word_of(10**6 + number, bucket - 3) for number in range(more)))
    stack.redis.append(key, packed([word_of(10**6, bucket)]))
    assert person.deliver([("click", "b", NOW - 12 * DAY_MS, None)]) == Totals(0, 0, 0)
    assert packed(dead) in stack.redis.get(key), "no newer bucket than the one before"
    assert person.deliver([("impression", "b", NOW, None)]) == Totals(1, 1, 0)
    expected = {word_of(10**6 + number, bucket - 3) for number in range(more)}
    expected |= {word_of(10**6, bucket), word_of(a, bucket_of(NOW - 12 * DAY_MS)), word_of(a + 1, bucket),
                 word_of(a + 1, bucket_of(NOW - 12 * DAY_MS), CLICKED)}
    left = words_of(stack.redis.get(key)).tolist()
    assert sorted(left) == sorted(expected)
    assert 60 * 86_400 < stack.redis.ttl(key) < 72 * 86_400


@pytest.mark.parametrize("number", [1, 2, 0x8080, 0x10101, 0x20202, 0x1010101, 2**25 - 1])
def test_items_whose_numbers_look_alike_are_told_apart(stack, number):
    """Bytes of one word and the next may read like the number of another item."""
    person = Person(stack)
    others = [n for n in (number ^ 1, number // 2, number // 256, number * 2 % 2**25, number * 256 % 2**25) if n]
    others = [n for n in others if n != number]
    stack.redis.append(person.key("seen"), packed(word_of(n, code) for n in others for code in range(2035, 2041)))
    person.numbers = {"a": number}
    assert person.deliver([("impression", "a", NOW, None)]) == Totals(1, 0, 0)
    assert person.deliver([("impression", "a", NOW, None), ("click", "a", NOW, None)]) == Totals(0, 1, 1)


def test_a_very_large_set_counts_the_same(stack):
    person = Person(stack)
    key = person.key("seen")
    stack.redis.append(key, packed(word_of(10**6 + number, bucket_of(NOW)) for number in range(40_000)))
    assert person.deliver([("click", "a", NOW, None), ("impression", "b", NOW, None)]) == Totals(1, 0, 0)
    assert person.deliver([("impression", "a", NOW - 30 * DAY_MS, None), ("click", "b", NOW, None)]) == Totals(1, 2, 0)
    assert person.deliver([("impression", "a", NOW, None), ("click", "b", NOW, None)]) == Totals(0, 0, 1)
    assert person.totals() == {("a", "i"): 1, ("a", "c"): 1, ("b", "i"): 1, ("b", "c"): 1}
