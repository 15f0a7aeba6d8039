"""What Redis holds of what was acknowledged, and what the edge has counted of what it was sent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from tests.edge_state import totals
from tests.stack_fixture import Stack
from worker import keyspace
from worker.store import users
from worker.store.connect import Store

Pair = tuple[str, str]  # a user and an item
EVENTS = re.compile(r'^nightfeed_events_total\{event="(\w+)",outcome="(\w+)"\} (\d+)', re.MULTILINE)
BEACONS = re.compile(r'^nightfeed_dropped_beacons_total\{reason="(\w+)"\} (\d+)', re.MULTILINE)


def present(stack: Stack, people: Iterable[str]) -> set[Pair]:
    """Who has seen what, as the store says."""
    store = Store(stack.redis, stack.settings, stack.run)
    names = {int(number): item.decode() for item, number in stack.redis.hgetall(keyspace.key("ids")).items()}
    return {(user, names[number]) for user in people for number in users.seen(store, user)}


def impressions(stack: Stack) -> int:
    """All impressions in the live counters: each of a person and item counts once."""
    return sum(counters.get("i", 0) for counters in totals(stack).values())


def events(stack: Stack) -> Counter[str]:
    """Events that the edge has counted by outcome: stored, unstored, or why they were rejected."""
    found: Counter[str] = Counter()
    for _, outcome, value in EVENTS.findall(stack.http.get("/metrics").text):
        found[outcome] += int(value)
    return found


def dropped(stack: Stack) -> Counter[str]:
    """Beacons of which nothing was stored, by reason."""
    return Counter({reason: int(value) for reason, value in BEACONS.findall(stack.http.get("/metrics").text)})
