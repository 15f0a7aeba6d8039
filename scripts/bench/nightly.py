"""`make bench-nightly`: how fast `worker nightly` is against what Redis does by itself, in one run on one machine.

python scripts/bench/nightly.py --users 1000000 --seen 170 --top 1000 --length 200 --jobs 2 [--growth] [--feed]

Starts a private stack, fills it, and prints a table and then, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from scripts.bench import capacity, feed_latency, growth, item_year, machine, native, progress, table
from scripts.bench.night_site import NightSite
from scripts.bench.nightly_options import arguments
from scripts.bench.private_stack import PrivateStack
from scripts.bench.progress import Progress
from worker.nightly.composer import is_compiled

NATIVE_USERS, PYTHON_USERS = 20_000, 2_000
NOTES = (
    "users_per_second is by the wall clock around the whole command, its start included; the headline is the fastest "
    "of several runs over lists that exist (runs.again), and runs.first is the same with none there yet",
    "Redis runs as in production (append-only file on); it is made to rewrite that file before each measured run",
    "stage times add up all processes and include waiting for Redis",
    "native_users_per_second is the fastest of several passes over lists that exist, after one that made them; it gets "
    "each user's seen items in one set and neither mixes, spaces nor checks",
    "other_work_cores are the cores that other programs kept busy during a measurement: near 0, or measure again",
    "feed latencies count from when a request was due; their generator runs at real-time priority where it may",
    "the command runs in a control group that is idle (cpu.idle), as in the timer's service, where one can be made",
    "statistics and catalogue are the same at every number of users: those of a site that posts 400 items a day",
)


class Bench:
    """One benchmark; its methods are the phases. ``parts`` end its stacks."""

    def __init__(self, parts: contextlib.ExitStack, options: argparse.Namespace) -> None:
        self._parts, self._options = parts, options
        self._date = datetime.now(UTC).date()
        self._say = Progress()
        self._stack = parts.enter_context(growth.new_stack(options))
        self._compiled = is_compiled(self._stack.store.settings)

    def run(self) -> dict[str, Any]:
        """All phases in order, and the result as it is printed."""
        options, described = self._options, machine.describe(self._stack.store.redis)
        if not self._compiled:
            self._say(table.BY_NUMPY)
        self._site = self._new_site(self._stack)
        empty = capacity.used(self._stack)
        self._site.fill(options.users)
        filled = capacity.used(self._stack)
        first, sizes = self._night("first"), None
        if options.growth:
            sizes = growth.Sizes(self._parts, options, self._site, self._new_site)
        again = self._again(sizes)
        fastest = max(again, key=lambda run: run["users_per_second"])
        fastest["all_users_per_second"] = [run["users_per_second"] for run in again]
        ready = capacity.used(self._stack)
        memory = {"processes": fastest["memory"], "redis": capacity.redis_memory(self._stack, ready)}
        beside = self._native()
        return {
            **self._head(fastest["users_per_second"], beside), "runs": {"first": first, "again": fastest},
            "native": beside, "memory": memory,
            "redis_bytes_per_user": (each := capacity.per_user(self._stack.store, empty, filled, ready, options.users)),
            "extrapolation": capacity.extrapolated(each["all"], fastest["users_per_second"]),
            "growth": self._growth(sizes) if sizes else None, "feed": self._feed() if options.feed else None,
            "data": self._data(), "machine": described, "notes": NOTES,
            "bench_seconds": round(self._say.seconds, 1),
        }  # fmt: skip

    def _new_site(self, stack: PrivateStack) -> NightSite:
        return NightSite(stack, self._options, self._date, self._say)

    def _head(self, users_per_second: int, beside: dict[str, Any]) -> dict[str, Any]:
        options, slow = self._options, beside["users_per_second"]
        return {
            "bench": "nightly", "date": self._date.isoformat(), "seed": options.seed, "users": options.users,
            "seen": options.seen, "top": options.top, "length": options.length, "jobs": options.jobs,
            "compiled": self._compiled, "users_per_second": users_per_second, "native_users_per_second": slow,
            "native_python_users_per_second": beside["python_users_per_second"],
            "ratio": round(users_per_second / slow, 2),
            "ratio_python": round(users_per_second / beside["python_users_per_second"], 2),
        }  # fmt: skip

    def _night(self, name: str) -> dict[str, Any]:
        self._say(f"worker nightly, {name} run over {self._options.users:,} users")
        run = self._site.night(self._options.jobs)
        self._say(f"{run['users_per_second']:,} users a second")
        del run["between"]
        return run

    def _again(self, sizes: growth.Sizes | None) -> list[dict[str, Any]]:
        """Runs over lists that exist, in turn with those of ``sizes``."""
        runs = []
        for _ in range(self._options.repeats):
            runs.append(self._night("another"))
            if sizes:
                self._say("growth: a run of each size, with one process")
                sizes.turn()
        return runs

    def _native(self) -> dict[str, Any]:
        self._say("the native ways")
        ids, rng = self._site.filler.ids, np.random.default_rng([self._options.seed, 4])
        chosen = [ids[row] for row in rng.choice(len(ids), min(NATIVE_USERS, len(ids)), replace=False).tolist()]
        return native.measure(self._stack.store, self._stack.redis_pid(), chosen, min(PYTHON_USERS, len(chosen)),
                              self._options.length)

    def _growth(self, sizes: growth.Sizes) -> dict[str, Any]:
        self._say("growth: other sizes of top content")
        rows = sizes.by_users()
        return {"by_users": rows, "by_top": sizes.by_top(),
                "spread_percent": growth.spread(rows, "stages_us_per_user")}

    def _feed(self) -> dict[str, Any]:
        options = self._options
        self._say(f"/feed at {options.feed_rate:,.0f} requests a second, idle and during a run")
        return feed_latency.measure(self._stack, self._site.filler.ids, self._date.isoformat(), options.jobs,
                                    options.feed_rate, options.feed_seconds, options.seed)

    def _data(self) -> dict[str, Any]:
        filler = self._site.filler
        users = len(filler.ids)
        return {"fill_seconds": round(self._site.fill_seconds, 1), "seen_per_user": round(filler.words / users, 1),
                "items": item_year.ITEMS, "categories": item_year.CATEGORIES}


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 with a message when it failed, 128 + n when signal n ended it."""
    options = arguments(argv)
    return progress.run("bench-nightly", lambda: _measured(options))


def _measured(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as parts:
        result = Bench(parts, options).run()
    print(table.text(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
