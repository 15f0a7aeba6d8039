"""Builds every Redis key from the one definition in ``keyspace.json``; ``lua/edge/keys.lua`` builds the same.

A key is ``name:{tag}`` followed by its parts, each after a colon. The tag is the user's partition, or the
shared tag for what belongs to no user, so that on a Redis Cluster one partition lives on one node.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

DAY_SECONDS = 86_400
DAY_MS = 86_400_000
AHEAD_MS = 300_000  # how far ahead of the clock an event may be


@dataclass(frozen=True)
class KeyKind:
    """One row of the keyspace: what a key is called, what it is made of, and what it holds."""

    name: str
    tag: str
    parts: tuple[str, ...]
    type: str
    expires: str
    owner: str
    holds: str

    @property
    def pattern(self) -> str:
        """The key as documentation shows it, such as ``acts:{partition}:<bucket>:<user>``."""
        tag = "partition" if self.tag == "partition" else SHARED_TAG
        return ":".join([f"{self.name}:{{{tag}}}", *(f"<{part}>" for part in self.parts)])


def _load() -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(resources.files("worker").joinpath("keyspace.json").read_bytes())
    return definition


_DEFINITION = _load()

PARTITIONS: int = _DEFINITION["partitions"]
BUCKET_DAYS: int = _DEFINITION["bucket_days"]
ITEM_BITS: int = _DEFINITION["item_bits"]
BUCKET_BITS: int = _DEFINITION["bucket_bits"]
FLAG_BITS: int = _DEFINITION["flag_bits"]
VISIT_SECONDS: int = _DEFINITION["visit_seconds"]
SHARED_TAG: str = _DEFINITION["shared_tag"]
MAX_ITEM = (1 << ITEM_BITS) - 1
KINDS: dict[str, KeyKind] = {
    name: KeyKind(name=name, **{**row, "parts": tuple(row["parts"])}) for name, row in _DEFINITION["keys"].items()
}


def partition_of(user: str) -> int:
    """The partition of a user: CRC-32 of the id modulo the number of partitions."""
    return zlib.crc32(user.encode()) % PARTITIONS


def key(name: str, *parts: int | str) -> str:
    """A shared key, such as ``key("stats", 20413)``. Raises KeyError or ValueError when the definition differs."""
    kind = KINDS[name]
    if kind.tag != "shared":
        raise ValueError(f"{name} is a key of a partition: use partition_key or user_key")
    return _join(kind, SHARED_TAG, parts)


def partition_key(name: str, partition: int, *parts: int | str) -> str:
    """A key of one partition, such as ``partition_key("users", 7)``."""
    kind = KINDS[name]
    if kind.tag != "partition":
        raise ValueError(f"{name} is a shared key: use key")
    return _join(kind, str(partition), parts)


def user_key(name: str, user: str, *parts: int | str) -> str:
    """A key of one user, who is its last part, such as ``user_key("acts", "u7", bucket)``."""
    return partition_key(name, partition_of(user), *parts, user)


def _join(kind: KeyKind, tag: str, parts: tuple[int | str, ...]) -> str:
    if len(parts) != len(kind.parts):
        raise ValueError(f"{kind.name} takes the parts {kind.parts}, not {parts}")
    return ":".join([f"{kind.name}:{{{tag}}}", *map(str, parts)])


def bucket_of(ts_ms: int) -> int:
    """The seen bucket of a moment in Unix milliseconds."""
    return ts_ms // DAY_MS // BUCKET_DAYS


def visit_of(ts_ms: int) -> int:
    """The visit (Unix ms) of a moment: the ten minutes it is in. Most of its events then move nobody in the set."""
    return ts_ms - ts_ms % (VISIT_SECONDS * 1000)


def live_buckets(now_ms: int, window_days: int) -> list[int]:
    """Buckets of every moment an event may have at ``now_ms``, newest first: the window behind to minutes ahead."""
    newest, oldest = bucket_of(now_ms + AHEAD_MS), bucket_of(now_ms - window_days * DAY_MS)
    return list(range(newest, oldest - 1, -1))


def bucket_expiry(bucket: int, window_days: int, user: str) -> int:
    """Unix second at which a bucket's keys expire: one window after its end, spread over a day by user.

    The spread keeps many keys from expiring in the same second, which would block Redis.
    """
    end = (bucket + 1) * BUCKET_DAYS
    return (end + window_days) * DAY_SECONDS + zlib.crc32(user.encode()) % DAY_SECONDS


def day_expiry(day: int) -> int:
    """Unix second at which a day's counters expire if no nightly run takes them; later than any event may come."""
    return (day + 100) * DAY_SECONDS
