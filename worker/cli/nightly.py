"""``worker nightly``: score everything and publish every active user's list."""

from __future__ import annotations

import datetime as dt
import os

import click

from worker.nightly.background import step_back


@click.command(help="Score all content and publish the list of every active user. A run belongs to a UTC date and uses "
                    "events before its 00:00; a run that was killed is resumed by the next one of its date.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="The run's date (default: today, UTC).")
@click.option("--jobs", type=click.IntRange(1, 256), default=4 if (os.cpu_count() or 1) > 1 else 1,
              show_default=True, help="Processes. Redis has enough to do for three or four of them.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of all shuffling.")
@click.option("--join", "joining", is_flag=True, help="Help with the run that is going on, also from another host.")
@click.option("--dry-run", is_flag=True, help="Make and check every list, write nothing.")
@click.option("--force", is_flag=True, help="Publish in spite of gates and dates.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on the last line.")
def command(date: dt.datetime | None, jobs: int, seed: int, joining: bool, dry_run: bool, force: bool,
            as_json: bool) -> None:
    """Run, with a progress bar on a terminal; exit 1 with the reason when nothing was published."""
    step_back()
    # Half a second of the processor, which the edge may want: it is taken only now.
    from worker.cli.night import run
    from worker.nightly.run import Options

    day = date.date() if date else dt.datetime.now(dt.UTC).date()
    run(Options(day, jobs, seed, dry_run, force), joining, as_json)
