"""What ``worker nightly`` does: the run, its progress, its report, and why there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import orjson

from worker.keyspace import PARTITIONS
from worker.nightly.partition import GateError
from worker.nightly.pool import ProcessError, Progress
from worker.nightly.report import Tally
from worker.nightly.run import Options, RunError, join, nightly
from worker.store.connect import explained, open_store
from worker.store.generations import FencedError
from worker.store.lease import LeaseError

REFUSALS = (RunError, GateError, LeaseError, FencedError, ProcessError)


def run(options: Options, joining: bool, as_json: bool) -> None:
    """Run, or help with the run that is going on, and print the report; exit 1 with the reason when there is none."""
    store = open_store()
    try:
        with explained("Redis"), progress_of(f"nightly {options.date}") as progress:
            result = join(store, options.jobs, progress) if joining else nightly(store, options, progress)
    except REFUSALS as error:
        if as_json:
            click.echo(orjson.dumps({"date": options.date.isoformat(), "error": str(error)}))
        click.echo(f"worker nightly: {error}", err=True)
        sys.exit(1)
    click.echo(orjson.dumps(result) if as_json else summary(result))


@contextmanager
def progress_of(label: str) -> Iterator[Progress]:
    """A bar with users a second and the time left on a terminal; a JSON line for each group of partitions elsewhere."""
    start, users = time.monotonic(), 0
    if not sys.stderr.isatty():
        yield lambda partitions, tally: click.echo(orjson.dumps(
            {"partitions": list(partitions), "users": tally.users, "seconds": round(time.monotonic() - start, 3)}
        ), err=True)
        return
    with click.progressbar(length=PARTITIONS, label=label, file=sys.stderr, show_pos=True) as bar:
        def show(partitions: Sequence[int], tally: Tally) -> None:
            nonlocal users
            users += tally.users
            bar.label = f"{label}, {users / (time.monotonic() - start):,.0f} users/s"
            bar.update(len(partitions))
        yield show


def summary(result: dict[str, Any]) -> str:
    """The report for people."""
    head = "would publish" if result["dry_run"] else "helped with" if result.get("joined") else "published"
    return (
        f"{head} {result['lists']} lists of {result['date']} (generation {result['generation']}) "
        f"in {result['seconds']:.1f} s, {result['users_per_second']} users a second\n"
        f"  top {result['top']}, new {result['new']}, share of new items in lists {result['new_share']:.1%}\n"
        f"  repeats {result['repeats']}, avoidable spacing violations {result['spacing_violations']} "
        f"(gap narrowed {result['spacing_narrowed']} times), lists shorter than asked {result['underfilled']}, "
        f"best evergreen items missed {result['missed_evergreen']}"
    )
