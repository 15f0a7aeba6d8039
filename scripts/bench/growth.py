"""How the cost of a run grows with the number of users, and with the size of top content."""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from scripts.bench.nightly_command import nightly, per_user
from scripts.bench.private_stack import PrivateStack


def sizes(users: int) -> list[int]:
    """Next to nobody, a hundredth, a tenth and all of ``users``."""
    return sorted({max(users // part, 1) for part in (10_000, 100, 10, 1)})


def tops(top: int) -> list[int]:
    """Half of, just, and five times the size of top content."""
    return [max(top // 2, 1), top, 5 * top]


def row(runs: Sequence[dict[str, Any]], top: int) -> dict[str, Any]:
    """The fastest of runs of the same thing, and the least processor time of one, of the worker and Redis together.

    ``seconds`` are by the command's own clock: starting Python is not in them. The processor's time has it.
    """
    fastest = min(runs, key=lambda run: run["seconds"])
    cpu = min(sum(run["cpu_us_per_user"].values()) for run in runs)
    users = fastest["report"]["users"]
    return {
        "users": users, "top": top, "seconds": fastest["seconds"],
        "us_per_user": per_user(fastest["seconds"], fastest["report"]),
        "cpu_us_per_user": round(cpu, 2), "cpu_seconds": round(cpu * users / 1e6, 3),
        "stage_us_per_user": fastest["stage_us_per_user"], "runs": len(runs),
    }


def add_further(rows: Sequence[dict[str, Any]]) -> None:
    """``further_us_per_user`` in each row but the first: processor time for each user that the row before had not.

    What a run takes once (starting Python, roll-up, scoring, the sample that is checked, the switch) is not in it.
    """
    for before, entry in itertools.pairwise(rows):
        spent, users = entry["cpu_seconds"] - before["cpu_seconds"], entry["users"] - before["users"]
        entry["further_us_per_user"] = round(1e6 * spent / users, 2)


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
    values = [entry[field] for entry in rows if field in entry]
    return round(100 * (max(values) / min(values) - 1), 1) if min(values) > 0 else 0.0
