"""The Redis function behind every event: counting by state, compared with a model made of plain sets."""

import itertools
import random
import threading
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded_person import NOW, Person
from worker.keyspace import DAY_MS, bucket_of, partition_key, partition_of
from worker.seen_set import CLICKED, CODES, UNCOUNTED, packed, word_of
from worker.store.events import Totals

CAP_MS = 600_000
# One moment in each live bucket's part of the window, and two in the newest.
MOMENTS = [NOW - days * DAY_MS for days in (0, 0.001, 15, 25, 45, 59)]

several = settings(max_examples=60)


@st.composite
def happenings(draw):
    """One event of one user on one of three items, as (event, item, ts, detail)."""
    name = draw(st.sampled_from(["impression", "click", "hide", "dwell", "reaction", "conversion", "search"]))
    ts = int(draw(st.sampled_from(MOMENTS)))
    if name == "search":
        return name, "", ts, draw(st.sampled_from(["bread", "rye bread", "sour dough"]))
    item = draw(st.sampled_from("abc"))
    if name == "dwell":
        return name, item, ts, draw(st.sampled_from([1, 1000, 250_000, 400_000]))
    if name in ("reaction", "conversion"):
        return name, item, ts, draw(st.sampled_from(["like", "love"]))
    return name, item, ts, None


def code_of(ts):
    """The code of the bucket of a moment."""
    return bucket_of(ts) % CODES


def model(happenings):
    """What any delivery of these events must come to: sets and sums over the distinct events, no order at all."""
    distinct = set(happenings)
    impressions = {item for name, item, _, _ in distinct if name == "impression"}
    clicked = {item for name, item, _, _ in distinct if name == "click"}
    totals = defaultdict(int)
    for item in impressions:
        totals[item, "i"] = 1
    for item in impressions & clicked:
        totals[item, "c"] = 1
    dwell = defaultdict(int)
    once = set()
    for name, item, ts, detail in distinct:
        if name == "dwell":
            dwell[item, bucket_of(ts)] += detail
        elif name in ("reaction", "conversion", "hide"):
            kind = detail if name == "conversion" else None  # a person reacts to an item once
            once.add((item, {"reaction": "r", "conversion": "v", "hide": "h"}[name], bucket_of(ts), kind))
    for (item, _), ms in dwell.items():
        totals[item, "d"] += min(ms, CAP_MS)
    for item, letter, _, _ in once:
        totals[item, letter] += 1
    seen = {item for name, item, _, _ in distinct if name != "search"}
    return seen, dict(totals)


def in_calls(events, sizes):
    """``events`` cut into calls of the given sizes, the last taking what is left."""
    left = list(events)
    for size in sizes:
        yield left[:size]
        left = left[size:]
    yield left


@several
@given(events=st.lists(happenings(), max_size=40), sizes=st.lists(st.integers(0, 7), max_size=8), repeat=st.randoms())
def test_any_order_split_and_repetition_gives_the_sets_and_totals_of_the_distinct_events(stack, events, sizes, repeat):
    person = Person(stack)
    delivered = events + [repeat.choice(events) for _ in events]
    calls = [person.deliver(call) for call in in_calls(delivered, sizes) if call]
    seen, totals = model(events)
    assert person.seen() == seen
    assert person.totals() == totals
    assert sum(call.impressions for call in calls) == sum(1 for _, letter in totals if letter == "i")
    assert sum(call.clicks for call in calls) == sum(1 for _, letter in totals if letter == "c")
    impressions_delivered = sum(1 for name, *_ in delivered if name == "impression")
    assert sum(call.impressions + call.repeats for call in calls) == impressions_delivered


@several
@given(events=st.lists(happenings(), max_size=25, unique=True), order=st.randoms())
def test_two_orders_of_the_same_events_leave_the_same_store(stack, events, order):
    shuffled = list(events)
    order.shuffle(shuffled)
    one, other = Person(stack), Person(stack)
    for event in events:
        one.deliver([event])
    if shuffled:
        other.deliver(shuffled)
    assert one.stored() == other.stored()


@several
@given(events=st.lists(happenings(), max_size=30))
def test_an_item_is_seen_in_every_bucket_in_which_something_happened_with_it(stack, events):
    """So it stays away for a whole window after the last time, not the first."""
    person = Person(stack)
    if events:
        person.deliver(events)
    words = person.words()
    assert set(words) == {(item, code_of(ts)) for name, item, ts, _ in events if name != "search"}
    clicked = {place for place, flags in words.items() if flags & CLICKED}
    assert clicked == {(item, code_of(ts)) for name, item, ts, _ in events if name == "click"}
    counted = {item for name, item, _, _ in events if name == "impression"}
    assert not {item for (item, _), flags in words.items() if flags & UNCOUNTED} & counted


def test_an_old_impression_seen_again_outlives_the_old_bucket(stack):
    person = Person(stack)
    person.deliver([("impression", "a", NOW - 59 * DAY_MS, None), ("click", "a", NOW - 59 * DAY_MS, None)])
    assert person.deliver([("impression", "a", NOW, None), ("click", "a", NOW, None)]) == Totals(0, 0, 1)
    assert person.words() == {("a", code_of(NOW)): CLICKED, ("a", code_of(NOW - 59 * DAY_MS)): CLICKED}
    stack.redis.set(person.key("seen"), packed([word_of(person.numbers["a"], bucket_of(NOW), CLICKED)]), keepttl=True)
    assert person.deliver([("impression", "a", NOW, None), ("click", "a", NOW, None)]) == Totals(0, 0, 1)


def test_a_click_that_arrives_first_counts_when_its_impression_does(stack):
    person = Person(stack)
    assert person.deliver([("click", "a", NOW, None)]) == Totals(0, 0, 0)
    assert person.totals() == {}
    assert person.deliver([("impression", "a", NOW - 1, None)]) == Totals(1, 1, 0)
    assert person.totals() == {("a", "i"): 1, ("a", "c"): 1}


def test_a_hidden_item_is_seen_but_has_no_impression(stack):
    person = Person(stack)
    assert person.deliver([("hide", "a", NOW, None)]) == Totals(0, 0, 0)
    assert person.seen() == {"a"}
    assert person.totals() == {("a", "h"): 1}


def test_dwell_adds_up_to_the_cap_in_any_order(stack):
    """250 s + 250 s + 400 s are 900 s: 600 s count, whichever comes last."""
    dwells = [("dwell", "a", NOW - at, ms) for at, ms in ((1, 250_000), (2, 250_000), (3, 400_000))]
    for order in itertools.permutations(dwells):
        person = Person(stack)
        for dwell in order * 2:
            person.deliver([dwell])
        assert person.totals() == {("a", "d"): CAP_MS}


def test_dwells_beyond_the_cap_leave_room_for_a_reaction(stack):
    person = Person(stack)
    person.deliver([("dwell", "a", NOW - at, CAP_MS) for at in range(90)])
    person.deliver([("reaction", "a", NOW, "like")])
    assert person.totals() == {("a", "d"): CAP_MS, ("a", "r"): 1}


def test_what_is_remembered_of_one_item_is_bounded(stack):
    person = Person(stack)
    person.deliver([("conversion", "a", NOW, f"kind{at}") for at in range(100)])
    assert person.totals() == {("a", "v"): 64}
    assert stack.redis.hstrlen(person.key("acts", bucket_of(NOW)), person.numbers["a"]) == 4 + 64 * 4


def test_a_person_reacts_to_an_item_once(stack):
    """Whatever the kinds: else one person with sixty of them would outweigh fifty with one each."""
    person = Person(stack)
    person.deliver([("reaction", "a", NOW, f"kind{at}") for at in range(100)])
    assert person.totals() == {("a", "r"): 1}


def test_the_last_fifty_searches_stay_in_the_order_of_their_time(stack):
    person = Person(stack)
    searches = [("search", "", NOW - at, f"query {at}") for at in range(70)]
    random.Random(5).shuffle(searches)
    for _ in range(2):
        for some in in_calls(searches, [10, 1, 30]):
            person.deliver(some)
        expected = [f"{NOW - at} query {at}".encode() for at in reversed(range(50))]
        assert stack.redis.lrange(person.key("searches"), 0, -1) == expected


def test_the_last_visit_is_the_ten_minutes_of_the_newest_event_and_never_moves_back(stack):
    person = Person(stack)
    for ts in (NOW - 2_500_000, NOW - 100_000, NOW - 1_300_000):
        person.deliver([("impression", "a", ts, None)])
    visit = (NOW - 100_000) // 600_000 * 600_000
    assert stack.redis.zscore(partition_key("users", partition_of(person.user)), person.user) == visit


def test_concurrent_deliveries_of_one_beacon_count_once(stack):
    person = Person(stack)
    beacon = [(name, item, NOW, detail) for item in "abc" for name, detail in
              (("impression", None), ("click", None), ("dwell", 1000), ("reaction", "like"))]
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(person.deliver(beacon))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((reply.impressions, reply.clicks) for reply in replies) == [(0, 0)] * 7 + [(3, 3)]
    assert person.totals() == {(item, letter): 1000 if letter == "d" else 1 for item in "abc" for letter in "icdr"}


def test_every_key_expires_except_the_set_of_users(stack):
    person = Person(stack)
    for ts in MOMENTS:
        person.deliver([(name, "a", int(ts), detail) for name, detail in
                        (("impression", None), ("click", None), ("dwell", 5), ("search", "bread"))])
    keys = {key.decode() for key in stack.redis.scan_iter(f"*{{{partition_of(person.user)}}}*")}
    users = partition_key("users", partition_of(person.user))
    assert {key.split(":")[0] for key in keys} == {"seen", "acts", "searches", "users", "count"}
    for key in keys - {users}:
        assert stack.redis.ttl(key) > 0, key
    assert stack.redis.ttl(users) == -1
    for name, moment in ((("seen",), NOW), (("acts", bucket_of(MOMENTS[-1])), MOMENTS[-1])):
        end_s = (bucket_of(moment) + 1) * 10 * 86_400
        assert end_s + 60 * 86_400 <= stack.redis.expiretime(person.key(*name)) < end_s + 61 * 86_400


def test_searches_live_a_window_longer_than_the_newest_of_them(stack):
    person = Person(stack)
    expiries = []
    for days_ago in (20, 0, 50):
        person.deliver([("search", "", NOW - days_ago * DAY_MS, f"{days_ago} days ago")])
        expiries.append(stack.redis.expiretime(person.key("searches")))
    assert expiries[1] == expiries[2] == expiries[0] + 20 * 86_400
    assert 60 * 86_400 <= expiries[1] - NOW // 1000 < 61 * 86_400


@pytest.mark.parametrize("count", [1, 100, 101, 350])
def test_more_events_than_one_call_takes_are_written_in_several(stack, count):
    person = Person(stack)
    person.numbers = {f"item{n}": n for n in range(1, count + 1)}
    assert person.deliver([("impression", name, NOW, None) for name in person.numbers]) == Totals(count, 0, 0)
