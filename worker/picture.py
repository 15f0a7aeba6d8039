"""All that explains one person's feed, as loaded (by ``worker/store/pictures.py``), and plain questions to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config import Settings
from worker.keyspace import DAY_SECONDS
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_NAMES, Pool, UserList
from worker.person import Known, moment_text


@dataclass(frozen=True)
class Picture:
    """One person's feed at Unix second ``now``.

    ``published`` is the person's list, or the default one (not ``own``), and ``pool`` what its positions name;
    ``current_pool`` is the newest run's and ``default_items`` its default list, as item numbers. ``meta`` (items,)
    of dtype META, ``categories`` names by number, ``scores`` of the newest run's top content and ``names`` by number.
    """

    now: int
    settings: Settings
    known: Known
    own: bool
    published: UserList | None
    pool: Pool | None
    current_pool: Pool | None
    default_items: list[int]
    meta: NDArray[Any]
    categories: Mapping[int, str]
    scores: Mapping[str, float]
    names: Mapping[int, str]

    def item(self, number: int) -> dict[str, Any]:
        """What the catalogue says of an item; nulls for one that it lost."""
        if number > len(self.meta):
            return {"item": self.names.get(number), "number": number, "category": None, "kind": None, "posted_at": None}
        row = self.meta[number - 1]
        return {
            "item": self.names.get(number), "number": number, "category": self.categories.get(int(row["category"])),
            "kind": KIND_NAMES[row["kind"]], "posted_at": moment_text(int(row["posted"])),
        }

    def blocked(self, number: int) -> str | None:
        """What keeps the feed from showing an item: removed, hidden, not_out, expired, seen; or None."""
        if number > len(self.meta):
            return "removed"
        row = self.meta[number - 1]
        if row["flags"] & FLAG_REMOVED:
            return "removed"
        if row["flags"] & FLAG_HIDDEN:
            return "hidden"
        if row["posted"] > self.now:
            return "not_out"
        if 0 < row["expires"] <= self.now:
            return "expired"
        return "seen" if number in self.known.seen else None

    def is_fresh(self, number: int) -> bool:
        """The edge's rule: unknown to the newest run, or posted since, and young enough."""
        posted, pool = int(self.meta[number - 1]["posted"]), self.current_pool
        young = posted >= self.now - self.settings.fresh_days * DAY_SECONDS
        return young and (pool is None or number > pool.max_item or posted >= pool.moment)

    def position(self, number: int) -> int | None:
        """An item's position in the list, from 1, or None."""
        if self.published is None or self.pool is None:
            return None
        found = np.flatnonzero(self.pool.items[self.published.positions] == number)
        return int(found[0]) + 1 if len(found) else None

    def place(self, number: int) -> int | None:
        """An item's position in the pool that the list was made from, from 0, or None."""
        found = np.flatnonzero(self.pool.items == number) if self.pool is not None else np.empty(0, np.int64)
        return int(found[0]) if len(found) else None

    def score(self, number: int) -> float | None:
        """An item's score in the run that made the list; None when that is not the newest run, or it has none."""
        if self.pool is None or self.current_pool is None or self.pool.generation != self.current_pool.generation:
            return None
        return self.scores.get(self.names.get(number, ""))

    def days_away(self) -> float | None:
        """Days between the last visit and the list's run; None when the person came after it, or there is no run."""
        last_seen_ms = self.known.last_seen_ms
        if self.pool is None or last_seen_ms is None or last_seen_ms > self.pool.moment * 1000:
            return None
        return round((self.pool.moment - last_seen_ms / 1000) / DAY_SECONDS, 1)
