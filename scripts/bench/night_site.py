"""A private stack with the catalogue, the statistics and the users of a benchmark of the night, and its runs."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from scripts.bench import fill, item_year
from scripts.bench.nightly_command import nightly
from scripts.bench.private_stack import PrivateStack

EPOCH = date(1970, 1, 1)
SAY_SECONDS = 10


class NightSite:
    """One site; the same items and statistics for any number of users."""

    def __init__(self, stack: PrivateStack, options: Namespace, day: date, say: Callable[[str], None]) -> None:
        self.stack, self.fill_seconds = stack, 0.0
        self._day, self._say = day, say
        say("writing the catalogue: a year of items and their statistics")
        year = item_year.make((day - EPOCH).days, np.random.default_rng([options.seed, 0]))
        fill.catalogue(stack.store, year)
        fill.statistics(stack.store, year, np.random.default_rng([options.seed, 1]))
        self.filler = fill.Filler(stack.store, year, options.seen, options.seed)

    def fill(self, users: int) -> None:
        """Write users, none with a list."""
        start, told = time.monotonic(), 0.0
        for done in self.filler.fill(users):
            if time.monotonic() - told > SAY_SECONDS:
                told = time.monotonic()
                self._say(f"{done:,} of {users:,} users are in")
        self.fill_seconds += time.monotonic() - start

    def night(self, jobs: int, **settings: Any) -> dict[str, Any]:
        """One run of `worker nightly` in ``jobs`` processes; what ``nightly_command.nightly`` tells."""
        return nightly(self.stack, self._day.isoformat(), jobs, **settings)
