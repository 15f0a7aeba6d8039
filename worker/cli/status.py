"""``worker status``: last runs, age of the lists, counts, and whether the edge answers."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from typing import Any

import click
import orjson

from worker.status import ask_edge, gather
from worker.store.connect import open_store

SHOWN_FIELDS = ("generation", "users", "lists", "top", "new", "repeats", "spacing_violations", "seconds")
SHOWN_REASONS = 3


@click.command(help="Last runs, age of the lists, counts. Exit 1 when Redis or the edge does not answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(as_json: bool) -> None:
    """Print what there is. An edge that answers but is not ready is said, and no failure of this command."""
    store = open_store()
    status = {**gather(store), "edge": ask_edge(store.run)}
    if as_json:
        click.echo(orjson.dumps(status).decode())
    else:
        click.echo("\n".join(lines(status)))
    if not status["edge"]["answers"]:
        sys.exit(1)


def lines(status: dict[str, Any]) -> Iterator[str]:
    """The status as text, one subject a line."""
    items, lists, redis, edge = (status[name] for name in ("items", "lists", "redis", "edge"))
    yield (f"items     {items['live']} live ({items['evergreen']} evergreen, {items['timely']} timely), "
           f"{items['hidden']} hidden, {items['expired']} expired, {items['removed']} removed")
    yield f"users     {status['users']} seen within the window"
    if lists["generation"] is None:
        yield "lists     none yet: run `worker nightly`"
    else:
        yield f"lists     generation {lists['generation']} of {lists['date']}, made {_age(lists['age_seconds'])} ago"
    yield from _nights(status)
    limit = f" of {_size(redis['maxmemory_bytes'])}" if redis["maxmemory_bytes"] else ""
    yield f"redis     {redis['version']}, {_size(redis['memory_bytes'])}{limit}"
    yield f"edge      {_edge(edge)}"
    for run in status["runs"]:
        yield f"run       {_run(run)}"


def _nights(status: dict[str, Any]) -> Iterator[str]:
    """When the last good run ended, what was refused since, and what has begun."""
    last, refused, unfinished = (status[name] for name in ("last_good_run", "refused_since", "unfinished_run"))
    if last is not None:
        ended = dt.datetime.fromtimestamp(last["finished_at"], dt.UTC)
        yield (f"last run  generation {last['generation']} of {last['date']} ended well {ended:%Y-%m-%d %H:%M:%S} UTC, "
               f"{_age(last['age_seconds'])} ago")
        if last["age_seconds"] > 3600 * status["stale_hours"]:
            yield (f"warning   no good run for {_age(last['age_seconds'])}, more than {status['stale_hours']:g} hours: "
                   "is there a timer (`worker install-timer`)? `worker nightly` runs it now")
    if refused is not None:
        yield f"warning   the newest run was refused: {_run(refused)}"
    if unfinished is not None:
        yield (f"begun     generation {unfinished['generation']} of {unfinished['date']}, "
               f"{unfinished['partitions_done']} of {unfinished['partitions']} partitions done: it is at work, or was "
               f"killed and `worker nightly --date {unfinished['date']}` goes on with it")


def _edge(edge: dict[str, Any]) -> str:
    if not edge["answers"]:
        return f"does not answer ({edge['detail']}): start the stack (make up)"
    return "ready" if edge["ready"] else f"answers, but is not ready: {edge['detail']}"


def _run(run: dict[str, Any]) -> str:
    if "refused" in run:
        return f"{run['date']}, not published: {'; '.join(map(str, run['refused'][:SHOWN_REASONS]))}"
    parts = [f"{name} {run[name]}" for name in SHOWN_FIELDS if run.get(name) is not None]
    return ", ".join([str(run.get("date", "?")), *parts])


def _age(seconds: int) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
