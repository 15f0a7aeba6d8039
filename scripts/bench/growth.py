"""How the cost of a run grows with the number of users, and with the size of top content."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from scripts.bench.nightly_command import nightly, per_user
from scripts.bench.private_stack import PrivateStack


def sizes(users: int) -> list[int]:
    """A hundredth, a tenth and all of ``users``."""
    return sorted({max(users // 100, 1), max(users // 10, 1), users})


def tops(top: int) -> list[int]:
    """Half of, just, and five times the size of top content."""
    return [max(top // 2, 1), top, 5 * top]


def row(runs: Sequence[dict[str, Any]], top: int) -> dict[str, Any]:
    """The median of runs of the same thing, by the command's own clock: starting Python is not counted here.

    ``work_us_per_user`` adds up the stages of all processes; what a run does once (roll-up, scoring, the sample that
    is checked, the switch) is in ``us_per_user`` only.
    """
    middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    work = statistics.median(sum(run["report"]["stages"].values()) for run in runs)
    return {
        "users": middle["report"]["users"], "top": top, "seconds": middle["seconds"],
        "us_per_user": per_user(middle["seconds"], middle["report"]),
        "work_us_per_user": per_user(work, middle["report"]),
        "stage_us_per_user": middle["stage_us_per_user"], "runs": len(runs),
    }


def by_users(stack: PrivateStack, date: str, options: Namespace) -> dict[str, Any]:
    """A row for the users that are in the store now; the first run, which makes their lists, does not count."""
    nightly(stack, date, options.jobs)
    return row([nightly(stack, date, options.jobs) for _ in range(options.repeats)], options.top)


def by_top(stack: PrivateStack, date: str, options: Namespace) -> list[dict[str, Any]]:
    """A row for each size of top content, with the users that are in the store now."""
    return [
        row([nightly(stack, date, options.jobs, top_size=top) for _ in range(options.repeats)], top)
        for top in tops(options.top)
    ]


def spread(rows: Sequence[dict[str, Any]], field: str) -> float:
    """By how much the largest value of ``field`` exceeds the smallest, in percent."""
    values = [entry[field] for entry in rows]
    return round(100 * (max(values) / min(values) - 1), 1) if min(values) > 0 else 0.0
