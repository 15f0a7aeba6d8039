"""How the cost of a run grows with the number of users, and with the size of top content."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from scripts.bench.night_site import NightSite
from scripts.bench.nightly_command import per_user
from scripts.bench.private_stack import PrivateStack


def sizes(users: int) -> list[int]:
    """A hundredth, a tenth and all of ``users``."""
    return sorted({max(users // part, 1) for part in (100, 10, 1)})


def tops(top: int) -> list[int]:
    """Half of, just, and five times the size of top content."""
    return [max(top // 2, 1), top, 5 * top]


def row(runs: Sequence[dict[str, Any]], top: int) -> dict[str, Any]:
    """The fastest of runs of the same thing, and the least that one spent in the stages and of the processor's time.

    ``seconds`` are by the command's own clock: starting Python is not in them. ``stages_us_per_user`` adds up what the
    processes spent for a user in reading, composing, checking and publishing, waiting for Redis included; what a run
    takes once (roll-up, scoring, starting processes, the sample that is checked, the switch) is not in it.
    ``cpu_us_per_user`` is the processor's time of worker and Redis, with all that is done once.
    """
    fastest = min(runs, key=lambda run: run["seconds"])
    cpu = min(sum(run["cpu_us_per_user"].values()) for run in runs)
    stages = min((run["stage_us_per_user"] for run in runs), key=lambda found: sum(found.values()))
    return {
        "users": fastest["report"]["users"], "top": top, "seconds": fastest["seconds"],
        "us_per_user": per_user(fastest["seconds"], fastest["report"]), "cpu_us_per_user": round(cpu, 2),
        "stages_us_per_user": round(sum(stages.values()), 2), "stage_us_per_user": stages, "runs": len(runs),
    }


class Sizes:
    """``site`` and others with fewer users, each on a stack of its own; runs of all sizes take turns.

    A machine's speed changes meanwhile. Every run has one process: more of them would wait for each other's processor,
    and few users do not have more.
    """

    def __init__(self, parts: contextlib.ExitStack, options: Namespace, site: NightSite,
                 make: Callable[[PrivateStack], NightSite]) -> None:
        self._options, self._sites = options, list[NightSite]()
        for users in sizes(options.users)[:-1]:
            smaller = make(parts.enter_context(new_stack(options)))
            smaller.fill(users)
            smaller.night(1)  # makes the lists; it does not count
            self._sites.append(smaller)
        self._sites.append(site)
        self._runs: list[list[dict[str, Any]]] = [[] for _ in self._sites]

    def turn(self) -> None:
        """One run of each."""
        for site, runs in zip(self._sites, self._runs, strict=True):
            runs.append(site.night(1))

    def by_users(self) -> list[dict[str, Any]]:
        """A row for each number of users."""
        return [row(runs, self._options.top) for runs in self._runs]

    def by_top(self) -> list[dict[str, Any]]:
        """A row for each size of top content, with the most users but all of them."""
        runs: dict[int, list[dict[str, Any]]] = {top: [] for top in tops(self._options.top)}
        for _ in range(self._options.repeats if len(self._sites) > 1 else 0):
            for top, found in runs.items():
                found.append(self._sites[-2].night(1, top_size=top))
        return [row(found, top) for top, found in runs.items() if found]


def new_stack(options: Namespace) -> PrivateStack:
    """A stack as the benchmark wants it: measuring other sizes of top content shrinks it, which is no fault here."""
    return PrivateStack(top_size=options.top, list_length=options.length, shrink_gate=0.0)


def spread(rows: Sequence[dict[str, Any]], field: str) -> float:
    """By how much the largest value of ``field`` exceeds the smallest, in percent."""
    values = [entry[field] for entry in rows if field in entry]
    return round(100 * (max(values) / min(values) - 1), 1) if min(values) > 0 else 0.0
