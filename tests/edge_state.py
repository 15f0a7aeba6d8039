"""What the edge has written into a stack's Redis, read back without the edge."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx

from tests.stack_fixture import Stack
from worker import keyspace
from worker.seen_set import parts_of, words_of
from worker.store.stats import parse_counts

LETTERS = {"i": "impressions", "c": "clicks", "d": "dwell_ms", "r": "reactions", "v": "conversions", "h": "hides"}


def now_ms() -> int:
    """The clock in Unix milliseconds."""
    return int(time.time() * 1000)


def number(stack: Stack, item: str) -> int:
    """The number of an item."""
    return int(stack.redis.hget("ids:{c}", item))


def users(stack: Stack) -> dict[str, int]:
    """Everyone on record: user -> last seen (Unix ms)."""
    found: dict[str, int] = {}
    for key in stack.redis.scan_iter("users:*"):
        found |= {name.decode(): int(ts) for name, ts in stack.redis.zrange(key, 0, -1, withscores=True)}
    return found


def seen(stack: Stack, user: str) -> set[int]:
    """All words of a user's seen set."""
    return set(words_of(stack.redis.get(keyspace.user_key("seen", user))).tolist())


def seen_items(stack: Stack, user: str) -> dict[int, int]:
    """Item number -> flags, of a user's seen set, whatever the buckets."""
    found: Counter[int] = Counter()
    for item, _, flags in map(parts_of, seen(stack, user)):
        found[item] |= flags
    return dict(found)


def counts(stack: Stack, item: str) -> dict[str, int]:
    """The live counters of an item over all partitions and days: letter -> count."""
    return totals(stack).get(number(stack, item), {})


def totals(stack: Stack, pattern: str = "count:*") -> dict[int, dict[str, int]]:
    """Live counters over all partitions and days: item number -> letter -> count."""
    total: dict[int, dict[str, int]] = {}
    for key in stack.redis.scan_iter(pattern):
        for row in parse_counts(stack.redis.get(key)):
            counters = total.setdefault(int(row["item"]), {})
            for letter, name in LETTERS.items():
                if row[name]:
                    counters[letter] = counters.get(letter, 0) + int(row[name])
    return total


def written(stack: Stack) -> dict[str, Any]:
    """Every key that a beacon may write, with a value that shows any change."""
    names = ("users:*", "seen:*", "acts:*", "searches:*", "lent:*", "count:*")
    return {key.decode(): stack.redis.dump(key) for name in names for key in stack.redis.scan_iter(name)}


def post(stack: Stack, body: str | bytes, **kw: Any) -> httpx.Response:
    """POST a body to /beacon; TS in it stands for now. ``kw`` goes to httpx."""
    raw = body.encode() if isinstance(body, str) else body
    return stack.http.post("/beacon", content=raw.replace(b"TS", str(now_ms()).encode()), **kw)
