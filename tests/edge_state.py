"""What the edge has written into a stack's Redis, read back without the edge."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx

from tests.stack_fixture import Stack
from worker import keyspace


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
    """All members of a user's seen sets."""
    keys = stack.redis.scan_iter(f"seen:{{{keyspace.partition_of(user)}}}:*:{user}")
    return {int(member) for key in keys for member in stack.redis.smembers(key)}


def counts(stack: Stack, item: str) -> dict[str, int]:
    """The live counters of an item over all partitions and days: letter -> count."""
    wanted, total = str(number(stack, item)), Counter[str]()
    for key in stack.redis.scan_iter("count:*"):
        for field, value in stack.redis.hgetall(key).items():
            if field[:-1].decode() == wanted:
                total[field[-1:].decode()] += int(value)
    return dict(total)


def written(stack: Stack) -> dict[str, Any]:
    """Every key that a beacon may write, with a value that shows any change."""
    names = ("users:*", "seen:*", "acts:*", "searches:*", "count:*")
    return {key.decode(): stack.redis.dump(key) for name in names for key in stack.redis.scan_iter(name)}


def post(stack: Stack, body: str | bytes, **kw: Any) -> httpx.Response:
    """POST a body to /beacon; TS in it stands for now. ``kw`` goes to httpx."""
    raw = body.encode() if isinstance(body, str) else body
    return stack.http.post("/beacon", content=raw.replace(b"TS", str(now_ms()).encode()), **kw)
