"""The private site of `make bench-edge`: a year of items, users with what they saw, their lists, and their tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench import fill, item_year
from scripts.bench.edge_options import EdgeOptions
from scripts.bench.nightly_command import nightly, settle
from scripts.bench.private_stack import PrivateStack
from worker import credentials, tokens
from worker.keyspace import DAY_MS
from worker.store import stats

EPOCH = date(1970, 1, 1)
JOBS = 2
# Posted on the last day, so that nobody has seen one of them yet: they are the night's new content.
NEW_ITEMS = item_year.ITEMS_PER_DAY
FIRST_NEW = item_year.ITEMS - NEW_ITEMS + 1
# With the title and address, about 250 bytes of data an item.
BLURB = (fill.BLURB * 2)[:198]


class Site:
    """What loads draw from: ``users`` in the order of the lines of ``tokens``; wrk/visits.lua describes ``next``."""

    def __init__(self, stack: PrivateStack, options: EdgeOptions, say: Callable[[str], None]) -> None:
        self.stack, self.options = stack, options
        self.tokens, self.next = stack.run / "bench-tokens", stack.run / "bench-next"
        self._say = say

    def fill(self) -> dict[str, Any]:
        """Write all data and have `worker nightly` make the lists; what that gave."""
        start, today = time.monotonic(), datetime.now(UTC).date()
        self._data((today - EPOCH).days)
        self._say(f"worker nightly over {self.options.users:,} users")
        run = nightly(self.stack, today.isoformat(), JOBS)["report"]
        self._tokens()
        settle(self.stack)
        return {"lists": run["lists"], "new_share": run["new_share"], "underfilled": run["underfilled"],
                "seen_per_user": round(self._filler.words / self.options.users, 1), "items": item_year.ITEMS,
                "fill_seconds": round(time.monotonic() - start, 1)}  # fmt: skip

    def _data(self, day: int) -> None:
        store, options = self.stack.store, self.options
        self._say("writing the catalogue: a year of items and their statistics")
        year = item_year.make(day, np.random.default_rng([options.seed, 0]))
        fill.catalogue(store, year, BLURB)
        fill.statistics(store, year, np.random.default_rng([options.seed, 1]))
        self._say(f"writing {options.users:,} users")
        self._filler = fill.Filler(store, year, options.seen, options.seed)
        for _ in self._filler.fill(options.users):
            pass
        self.users = self._filler.ids

    def _tokens(self) -> None:
        """A valid token of every user, and that none of the new items was in a beacon yet."""
        write_tokens(self.stack.run, self.users, self.tokens)
        np.zeros(self.options.users, "<u4").tofile(self.next)

    def impressions(self) -> int:
        """Impressions that Redis counted and no nightly run has rolled up."""
        day = int(time.time() * 1000) // DAY_MS
        return int(stats.peek(self.stack.store, (day - 1, day, day + 1))["impressions"].sum())


def write_tokens(run: Path, users: list[str], file: Path) -> None:
    """A valid token of each user, one a line."""
    keyring, issued = credentials.load(run).keyring, int(time.time())
    file.write_text("".join(f"{tokens.sign(keyring, user, issued)}\n" for user in users))
