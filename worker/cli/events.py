"""``worker events import``: events from a file, by the same rules as the edge's."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import click

from worker.backfill import Backfill, backfill, latest
from worker.store.connect import open_store

SHOWN_ERRORS = 100


def _parse_shift(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """Milliseconds, or None for ``now``. Raises BadParameter for anything else."""
    if value == "now":
        return None
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither 'now' nor a number of milliseconds") from None


@click.group(help="Events from a file, by the same rules as the edge's.")
def command() -> None:
    """The group of event commands."""


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--shift", callback=_parse_shift, default="0", metavar="now|MS",
              help="Move the whole log in time: so that its last event is now, or by so many milliseconds (such as an "
              "earlier import said, to run it again).")
@click.option("--all-errors", is_flag=True, help=f"Show every bad line, not only the first {SHOWN_ERRORS}.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the summary.")
def import_events(file: BinaryIO, shift: int | None, all_errors: bool, as_json: bool) -> None:
    """Store the events of FILE (NDJSON; - is standard input).

    One object a line: user, event, item, ts, and what the event needs. Bad lines are shown by number, good ones
    stored. Events that are stored already change nothing, so an import that broke off is simply run again.
    """
    store, now_ms = open_store(), int(time.time() * 1000)
    errors = Errors(None if all_errors else SHOWN_ERRORS)
    with _readable_twice(file, shift is None) as log:
        shift_ms = _until_now(log, now_ms) if shift is None else shift
        if shift is None:
            click.echo(f"moving the log by {shift_ms} ms; if this breaks off, go on with --shift {shift_ms}", err=True)
        done = backfill(store, log, now_ms, shift_ms, errors.add, _show_progress)
    errors.finish(done.refused)
    click.echo(json.dumps(_as_json(done, shift_ms, errors)) if as_json else _summary(done))
    sys.exit(1 if done.refused else 0)


class Errors:
    """Shows bad lines on standard error as they come, up to a limit, and keeps what was shown."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.shown: list[dict[str, int | str]] = []

    def add(self, line: int, message: str) -> None:
        """Show one bad line, unless there were too many."""
        if self.limit is None or len(self.shown) < self.limit:
            self.shown.append({"line": line, "error": message})
            click.echo(f"line {line}: {message}", err=True)

    def finish(self, refused: int) -> None:
        """Say how many were not shown."""
        if refused > len(self.shown):
            click.echo(f"… and {refused - len(self.shown)} more bad lines (--all-errors shows them all)", err=True)


@contextmanager
def _readable_twice(file: BinaryIO, twice: bool) -> Iterator[BinaryIO]:
    """``file`` itself, or a temporary copy where it must be read twice and can't be."""
    if not twice or file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        yield copy


def _until_now(log: BinaryIO, now_ms: int) -> int:
    last = latest(log)
    log.seek(0)
    return 0 if last is None else now_ms - last


def _show_progress(done: Backfill) -> None:
    """A line on a terminal, written over itself; nothing elsewhere."""
    if sys.stderr.isatty():
        speed = done.stored / max(done.seconds, 0.001)
        counts = f"{done.stored:,} stored, {done.refused:,} refused, {speed:,.0f} a second"
        click.echo(f"\r{counts}\x1b[K\r", err=True, nl=False)


def _summary(done: Backfill) -> str:
    totals = done.totals
    return (f"stored {done.stored}, refused {done.refused}, impressions {totals.impressions}, "
            f"clicks {totals.clicks}, repeats {totals.repeats}"
            + (f", dropped {totals.erased} from before the erasure of a person" if totals.erased else ""))


def _as_json(done: Backfill, shift_ms: int, errors: Errors) -> dict[str, Any]:
    totals = done.totals
    return {
        "stored": done.stored, "refused": done.refused, "impressions": totals.impressions, "clicks": totals.clicks,
        "repeats": totals.repeats, "erased": totals.erased, "shift_ms": shift_ms, "seconds": round(done.seconds, 3),
        "events_per_second": round(done.stored / done.seconds) if done.seconds else 0, "errors": errors.shown,
    }
