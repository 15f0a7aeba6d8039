"""Writes events through the Redis function ``nightfeed_record``; its keys and arguments stand in docs/design.md."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from worker.config import Settings
from worker.credentials import erasure_keys
from worker.events import LETTERS, Event
from worker.keyspace import (
    DAY_MS,
    DAY_SECONDS,
    bucket_expiry,
    bucket_of,
    day_expiry,
    live_buckets,
    partition_key,
    partition_of,
)
from worker.store.connect import Store, StoreError, explained

MAX_EVENTS = 100  # of one user in one call, as many as a beacon
CALLS = 500  # in one pipeline

Part = tuple[str, list[Event]]  # a user, and what goes into one call


@dataclass(frozen=True)
class Totals:
    """What events changed: impressions and clicks counted, impressions of what was seen already, and events that were
    dropped because the person was erased after them."""

    impressions: int = 0
    clicks: int = 0
    repeats: int = 0
    erased: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(
            self.impressions + other.impressions, self.clicks + other.clicks, self.repeats + other.repeats,
            self.erased + other.erased,
        )  # fmt: skip


def record(store: Store, events: Iterable[Event], numbers: Mapping[str, int], now_ms: int) -> Totals:
    """Write events that were checked against ``now_ms``, each user's in the order given, 100 of a user at a time.

    ``numbers`` has the number of every item named. A call is written whole or not at all; writing the same events
    again changes nothing. Raises StoreError when Redis refuses a call or cannot be reached; calls before it stand.
    """
    parts, frame = _parts(_by_user(events)), _Frame(store.settings, now_ms, erasure_keys(store.run)[0])
    total = Totals()
    while batch := list(islice(parts, CALLS)):
        while batch:
            done, batch = _send(store, batch, numbers, frame)
            total += done
    return total


def _send(store: Store, batch: list[Part], numbers: Mapping[str, int], frame: _Frame) -> tuple[Totals, list[Part]]:
    """Write a batch. Also returns what to send again: the later events of those who were erased meanwhile."""
    calls = [_call(user, events, numbers, frame) for user, events in batch]
    with explained("Redis, recording events,"), store.redis.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.fcall("nightfeed_record", *call)
        replies = pipe.execute(raise_on_error=False)
    total, again = Totals(), []
    for (user, events), reply in zip(batch, replies, strict=True):
        if isinstance(reply, Exception):
            raise StoreError(f"Redis refused events of user {user}: {reply}") from reply
        impressions, clicks, repeats, *erased_at = reply
        later = [event for event in events if erased_at and event.ts > erased_at[0]]
        total += Totals(impressions, clicks, repeats, len(events) - len(later) if erased_at else 0)
        again += [(user, later)] if later else []
    return total, again


def _by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.user, []).append(event)
    return groups


class _Frame:
    """What all calls of one record() share: the clock, the live buckets, and how the keys of a partition begin."""

    def __init__(self, settings: Settings, now_ms: int, erasure_key: str) -> None:
        self.erasure_key = erasure_key
        self.window_days = settings.window_days
        self.cap_ms = settings.dwell_cap_s * 1000
        self.buckets = live_buckets(now_ms, settings.window_days)
        self._heads: dict[int, tuple[list[str], list[str]]] = {}

    def heads(self, partition: int) -> tuple[list[str], list[str]]:
        """The keys of a partition, and those of a user in it as far as the user, in the order of the function."""
        if partition not in self._heads:
            parts = [partition_key("searches", partition, "")]
            parts += [partition_key("seen", partition, bucket, "") for bucket in self.buckets]
            parts += [partition_key("acts", partition, bucket, "") for bucket in self.buckets]
            shared = [partition_key(name, partition) for name in ("users", "erased")]
            self._heads[partition] = shared, parts
        return self._heads[partition]


def _parts(groups: dict[str, list[Event]]) -> Iterator[Part]:
    for user, events in groups.items():
        for start in range(0, len(events), MAX_EVENTS):
            yield user, events[start : start + MAX_EVENTS]


def _call(user: str, events: list[Event], numbers: Mapping[str, int], frame: _Frame) -> list[Any]:
    """Number of keys, keys and arguments."""
    days = sorted({event.ts // DAY_MS for event in events})
    day_index = {day: index for index, day in enumerate(days, 1)}
    times, buckets = [event.ts for event in events], frame.buckets
    partition = partition_of(user)
    shared, heads = frame.heads(partition)
    call: list[Any] = [len(shared) + len(heads) + len(days), *shared]
    call += [head + user for head in heads]
    call += [partition_key("count", partition, day) for day in days]
    call += [user, len(buckets), _search_expiry(user, max(times), frame.window_days)]
    call += [bucket_expiry(bucket, frame.window_days, user) for bucket in buckets]
    call += [day_expiry(day) for day in days]
    for event in events:
        number: int | str = numbers[event.item] if event.item else event.query
        bucket = buckets[0] - bucket_of(event.ts) + 1
        value = _value(event, frame.cap_ms)
        call += [LETTERS[event.event], number, bucket, day_index[event.ts // DAY_MS], value]
    return [*call, frame.erasure_key, min(times), max(times)]


def _search_expiry(user: str, newest_ms: int, window_days: int) -> int:
    """Unix second: a window after the newest event, spread over a day by user."""
    return newest_ms // 1000 + window_days * DAY_SECONDS + zlib.crc32(user.encode()) % DAY_SECONDS


def _value(event: Event, cap_ms: int) -> int | str:
    match event.event:
        case "impression" | "click":
            return ""
        case "search":
            return event.ts
        case "dwell":
            return f"{event.ms}:{event.hash}:{cap_ms}"
        case _:
            return event.hash
