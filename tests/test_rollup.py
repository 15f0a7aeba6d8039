"""The roll-up: every counter reaches the statistics exactly once, whatever is killed when."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.night_site import DAY_MS, MIDNIGHT_MS, USERS, filled, run, visits
from worker import keyspace
from worker.packing import STATS, unpack_stats
from worker.seen_set import CLICKED, parts_of, words_of
from worker.store import generations, stats
from worker.store.connect import open_store

__all__ = ["filled"]  # a fixture


def totals(stack):
    """Impressions and clicks by item over all rolled-up days."""
    found = defaultdict(lambda: [0, 0])
    for key in stack.redis.scan_iter(match="stats:*", count=1000):
        for row in unpack_stats(stack.redis.get(key))[1]:
            found[int(row["item"])][0] += int(row["impressions"])
            found[int(row["item"])][1] += int(row["clicks"])
    return dict(found)


def true_totals(stack):
    """The same from the seen sets: each person counts once an item."""
    found = defaultdict(lambda: [0, 0])
    for user in USERS:
        clicks = defaultdict(bool)
        for item, _, flags in map(parts_of, words_of(stack.redis.get(keyspace.user_key("seen", user))).tolist()):
            clicks[item] |= bool(flags & CLICKED)
        for item, clicked in clicks.items():
            found[item][0] += 1
            found[item][1] += clicked
    return dict(found)


def last_days():
    return range(MIDNIGHT_MS // DAY_MS - 30, MIDNIGHT_MS // DAY_MS)


def test_counters_are_rolled_up_completely(filled):
    run(filled)
    assert totals(filled) == true_totals(filled)
    assert not list(filled.redis.scan_iter(match="count:*", count=1000))
    assert not list(filled.redis.scan_iter(match="taken:*", count=1000))


def test_a_roll_up_killed_before_adding_loses_nothing(filled):
    day = MIDNIGHT_MS // DAY_MS - 1
    taken = [filled.redis.fcall("nightfeed_take", 2, keyspace.partition_key("count", p, day),
                                keyspace.partition_key("taken", p, day), 999) for p in range(keyspace.PARTITIONS)]
    assert any(taken), "there was something to take"
    run(filled)
    assert totals(filled) == true_totals(filled)


def test_a_roll_up_killed_after_adding_adds_nothing_twice(filled):
    store = open_store(filled.run)
    day = MIDNIGHT_MS // DAY_MS - 1
    kept = {}
    for p in range(keyspace.PARTITIONS):
        key = keyspace.partition_key("taken", p, day)
        filled.redis.fcall("nightfeed_take", 2, keyspace.partition_key("count", p, day), key, 999)
        kept[key] = filled.redis.dump(key)
    stats.roll_up(store, last_days(), generations.next_turn(store))
    before = totals(filled)
    for key, dump in kept.items():
        if dump:
            filled.redis.restore(key, 0, dump)
    stats.roll_up(store, last_days(), generations.next_turn(store))
    assert totals(filled) == before == true_totals(filled)
    assert not list(filled.redis.scan_iter(match="taken:*", count=1000))


def test_events_that_come_after_their_day_was_rolled_up_are_added(filled):
    run(filled)
    visits(filled, USERS, seed=1, each=3)
    run(filled)
    assert totals(filled) == true_totals(filled)


def test_merging_adds_up_and_sorts():
    rows = np.zeros(3, STATS)
    rows["item"], rows["clicks"], rows["dwell_ms"] = [9, 2, 9], [1, 2, 3], [2**40, 5, 1]
    merged = stats.merge([rows])
    assert merged["item"].tolist() == [2, 9]
    assert merged["clicks"].tolist() == [2, 4]
    assert merged["dwell_ms"].tolist() == [5, 2**40 + 1]
