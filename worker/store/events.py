"""Writes events through the Redis function ``nightfeed_record``; its keys and arguments stand in docs/design.md."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from worker.config import Settings
from worker.credentials import erasure_keys
from worker.events import Event
from worker.keyspace import (
    DAY_MS,
    DAY_SECONDS,
    ITEM_BITS,
    bucket_expiry,
    bucket_of,
    day_expiry,
    live_buckets,
    partition_key,
    partition_of,
    user_key,
    visit_of,
)
from worker.seen_set import CODES, live_mask, packed, word_of
from worker.store.connect import Store, explained
from worker.store.errors import StoreError

MAX_EVENTS = 100  # of one user in one call, as many as a beacon
CALLS = 500  # in one pipeline
KINDS = {"impression": 1, "click": 2, "dwell": 3, "reaction": 4, "conversion": 5, "hide": 6, "search": 7}
VALUELESS = ("impression", "click")

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
        for keys in _seen_keys(user for user, _ in batch):
            pipe.fcall("nightfeed_compact", len(keys), *keys)
        replies = pipe.execute(raise_on_error=False)[: len(calls)]
    total, again = Totals(), []
    for (user, events), reply in zip(batch, replies, strict=True):
        if isinstance(reply, Exception):
            raise StoreError(f"Redis refused events of user {user}: {reply}") from reply
        impressions, clicks, repeats, *erased_at = reply
        later = [event for event in events if erased_at and event.ts > erased_at[0]]
        total += Totals(impressions, clicks, repeats, len(events) - len(later) if erased_at else 0)
        again += [(user, later)] if later else []
    return total, again


def _seen_keys(users: Iterable[str]) -> Iterator[list[str]]:
    """Seen sets by partition. The night looks only at those of recent visitors for room to give back."""
    found: dict[int, set[str]] = {}
    for user in users:
        found.setdefault(partition_of(user), set()).add(user_key("seen", user))
    yield from map(sorted, found.values())


def _by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.user, []).append(event)
    return groups


class _Frame:
    """What all calls of one record() share: the clock, and which buckets are live."""

    def __init__(self, settings: Settings, now_ms: int, erasure_key: str) -> None:
        self.erasure_key = erasure_key
        self.window_days = settings.window_days
        self.cap_ms = settings.dwell_cap_s * 1000
        self.mask = live_mask(live_buckets(now_ms, settings.window_days))


def _parts(groups: dict[str, list[Event]]) -> Iterator[Part]:
    for user, events in groups.items():
        for start in range(0, len(events), MAX_EVENTS):
            yield user, events[start : start + MAX_EVENTS]


def _call(user: str, events: list[Event], numbers: Mapping[str, int], frame: _Frame) -> list[Any]:
    """Number of keys, keys and arguments."""
    plain = _plain(events)
    settled = {event.item for event in plain}
    others = [event for event in events if event.item not in settled]
    days = list(dict.fromkeys(event.ts // DAY_MS for event in [*plain, *others]))
    acts = [event for event in events if event.event not in VALUELESS and event.event != "search"]
    acted = sorted({bucket_of(event.ts) for event in acts})
    times, partition = [event.ts for event in events], partition_of(user)
    keys = [partition_key("users", partition), partition_key("erased", partition), user_key("seen", user)]
    keys += [partition_key("count", partition, day) for day in days]
    keys += [user_key("acts", user, bucket) for bucket in acted]
    expiries = [day_expiry(day) for day in days] + [bucket_expiry(bucket, frame.window_days, user) for bucket in acted]
    if any(event.event == "search" for event in events):
        keys.append(user_key("searches", user))
        expiries.append(_search_expiry(user, max(times), frame.window_days))
    fixed = [user, len(days), frame.mask, bucket_expiry(bucket_of(max(times)), frame.window_days, user),
             frame.erasure_key, min(times), visit_of(max(times))]
    marks = packed(word_of(numbers[event.item], bucket_of(event.ts)) for event in plain)
    counts = packed(numbers[event.item] | KINDS["impression"] << ITEM_BITS for event in plain)
    rest = b"".join(_packed(event, numbers, days, acted) for event in others)
    values = [_value(event, frame.cap_ms) for event in events if event.event not in VALUELESS]
    return [len(keys), *keys, *fixed, marks, counts, rest, *expiries, *values]


def _plain(events: list[Event]) -> list[Event]:
    """Impressions of one day, each the only event of its item."""
    named = Counter(event.item for event in events)
    alone = [event for event in events if event.event == "impression" and named[event.item] == 1]
    return [event for event in alone if event.ts // DAY_MS == alone[0].ts // DAY_MS]


def _packed(event: Event, numbers: Mapping[str, int], days: list[int], acted: list[int]) -> bytes:
    number = numbers[event.item] if event.item else 0
    bucket = bucket_of(event.ts)
    acts = acted.index(bucket) + 1 if bucket in acted else 0
    place = bucket % CODES | days.index(event.ts // DAY_MS) + 1 << 8 | acts << 16
    return struct.pack("<II", number | KINDS[event.event] << ITEM_BITS, place)


def _search_expiry(user: str, newest_ms: int, window_days: int) -> int:
    """Unix second: a window after the newest event, spread over a day by user."""
    return newest_ms // 1000 + window_days * DAY_SECONDS + zlib.crc32(user.encode()) % DAY_SECONDS


def _value(event: Event, cap_ms: int) -> int | str:
    match event.event:
        case "search":
            return f"{event.ts} {event.query}"
        case "dwell":
            return f"{event.ms}:{event.hash}:{cap_ms}"
        case _:
            return event.hash
