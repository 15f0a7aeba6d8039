"""``worker nightly``: score everything and publish every active user's list."""

from __future__ import annotations

import datetime as dt
import os
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


@click.command(help="Score all content and publish the list of every active user. A run belongs to a UTC date and uses "
                    "events before its 00:00; a run that was killed is resumed by the next one of its date.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="The run's date (default: today, UTC).")
@click.option("--jobs", type=click.IntRange(1, 256), default=3 if (os.cpu_count() or 1) > 1 else 1,
              show_default=True, help="Processes. Redis has enough to do for two or three of them.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of all shuffling.")
@click.option("--join", "joining", is_flag=True, help="Help with the run that is going on, also from another host.")
@click.option("--dry-run", is_flag=True, help="Make and check every list, write nothing.")
@click.option("--force", is_flag=True, help="Publish in spite of gates and dates.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on the last line.")
def command(date: dt.datetime | None, jobs: int, seed: int, joining: bool, dry_run: bool, force: bool,
            as_json: bool) -> None:
    """Run, with a progress bar on a terminal; exit 1 with the reason when nothing was published."""
    day = date.date() if date else dt.datetime.now(dt.UTC).date()
    store = open_store()
    try:
        with explained("Redis"), progress_of(f"nightly {day}") as progress:
            if joining:
                result = join(store, jobs, progress)
            else:
                result = nightly(store, Options(day, jobs, seed, dry_run, force), progress)
    except REFUSALS as error:
        if as_json:
            click.echo(orjson.dumps({"date": day.isoformat(), "error": str(error)}))
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
