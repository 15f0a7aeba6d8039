"""What is known of a person, as loaded. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.keyspace import BUCKET_DAYS, DAY_SECONDS
from worker.packing import UserList


@dataclass(frozen=True)
class Act:
    """What a person did with an item in one bucket: dwell in ms, and how many acts (dwells, reactions, …) counted."""

    dwell_ms: int
    counted: int


@dataclass(frozen=True)
class Bucket:
    """One seen bucket: item numbers seen, clicked, and seen without a counted impression; acts by item number."""

    number: int
    seen: frozenset[int] = frozenset()
    clicked: frozenset[int] = frozenset()
    uncounted: frozenset[int] = frozenset()
    acts: dict[int, Act] = field(default_factory=dict)

    @property
    def period(self) -> dict[str, str]:
        """Its first and last day, as ``from`` and ``to``."""
        first = self.number * BUCKET_DAYS
        return {"from": day_text(first), "to": day_text(first + BUCKET_DAYS - 1)}


@dataclass(frozen=True)
class Known:
    """All that is known of a user: last seen in Unix ms, non-empty buckets newest first, searches as (ts, query)."""

    user: str
    last_seen_ms: int | None
    buckets: list[Bucket]
    searches: list[tuple[int, str]]
    published: UserList | None

    @property
    def found(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.last_seen_ms is not None or self.buckets or self.searches or self.published)

    @property
    def seen(self) -> frozenset[int]:
        """Item numbers seen in any bucket."""
        return frozenset().union(*(bucket.seen for bucket in self.buckets))

    def seen_row(self, number: int) -> dict[str, Any]:
        """How an item was seen: the periods of its buckets, newest first, whether clicked, whether counted."""
        return {
            "periods": [bucket.period for bucket in self.buckets if number in bucket.seen],
            "clicked": any(number in bucket.clicked for bucket in self.buckets),
            "impression_counted": not any(number in bucket.uncounted for bucket in self.buckets),
        }


def moment_text(seconds: int) -> str:
    """A moment in Unix seconds as ISO 8601 UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_text(day: int) -> str:
    """A day since 1970 as ``YYYY-MM-DD``."""
    return moment_text(day * DAY_SECONDS)[:10]
