"""The nightly run: the pipeline from counters to published lists, and the order in which things become visible.

1. Counters are rolled up, the catalogue is scored, the plan made and gated.
2. A sample of lists is made and checked by independent code; a fault ends the run before anything is written.
3. The plan is written and the run marked as begun. From here on a killed run is resumed with the same plan.
4. Each partition's lists are written and the partition marked as done.
5. The generation is switched: the default list, fresh positions and reports follow it.

Every list names the generation whose pool it refers to, so a reader has an old list or a new one at any moment.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from redis.exceptions import ConnectionError, TimeoutError

from worker import keyspace
from worker.nightly import gates, plan, plan_codec
from worker.nightly.courtesy import Glance, glance
from worker.nightly.partition import GateError, Partitions, Task
from worker.nightly.plan import Catalogue, Plan
from worker.nightly.pool import Progress, run_partitions
from worker.nightly.publish import begin, refused, switch
from worker.nightly.report import Tally, report, total
from worker.seen_set import live_mask
from worker.store import generations, items, lease, stats
from worker.store.connect import Store
from worker.store.generations import RestartedError, Turn
from worker.store.wire import Wire, pack, retrying

DAY = 86_400
ATTEMPTS = 3  # to get through a run in spite of restarts of Redis

log = logging.getLogger(__name__)


class RunError(Exception):
    """The run was refused; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """How to run: ``date``, number of processes, seed of all shuffling, write nothing, override gates."""

    date: dt.date
    jobs: int = 1
    seed: int = 0
    dry_run: bool = False
    force: bool = False


def nightly(store: Store, options: Options, progress: Progress = lambda partitions, tally: None) -> dict[str, Any]:
    """Run ``options.date`` and return the report.

    ``progress`` is called with the partitions and the tally of each group that is done. Raises RunError or GateError
    when the run is refused (nothing is published), LeaseError when another run is at work, FencedError when a newer
    one has begun, StoreError when Redis is away for long or refuses to write (the next run goes on from there).
    """
    if options.dry_run:
        return _run(store, options, None, progress)
    with lease.held(store):
        return _through_restarts(store, options, progress)


def _through_restarts(store: Store, options: Options, progress: Progress) -> dict[str, Any]:
    """A run that goes on, with a turn of its own, when Redis was away or was restarted: with what that still holds."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _run(store, options, generations.next_turn(store), progress)
        except (RestartedError, ConnectionError, TimeoutError) as error:
            log.warning("the run goes on as soon as Redis answers, with what it holds then (%s)", error)
        with Wire(store.run) as wire:
            retrying(partial(wire.exchange, pack("PING"), 1), "waiting for Redis")
    return _run(store, options, generations.next_turn(store), progress)


def join(store: Store, jobs: int, progress: Progress) -> dict[str, Any]:
    """Help with the run that is going on, from this or another host, until all its partitions are done.

    Returns the report of this process's part. Raises RunError when no run is going on, and the rest as ``nightly``.
    """
    start = time.perf_counter()
    state = generations.state(store)
    begun, turn = int(state.get("begun", 0)), Turn(int(state.get("turn", 0)), generations.run_id(store))
    parts = generations.read_plan(store, begun) if begun != int(state.get("generation", 0)) else None
    if parts is None:
        raise RunError("no run is going on that could be joined: start one with worker nightly")
    current = plan_codec.decode(parts)
    tally = run_partitions(store, _task(store, current, turn, state), jobs, progress)
    return report(current.date, current.generation, (current.top_count, current.new_count), tally,
                  time.perf_counter() - start, seed=current.seed, joined=True, dry_run=False)


def _run(store: Store, options: Options, turn: Turn | None, progress: Progress) -> dict[str, Any]:
    start = time.perf_counter()
    state = generations.state(store)
    _check_date(options, state)
    current = _resumed(store, options, state)
    resumed = 0 if current is None else len(generations.done_partitions(store, current.generation))
    pages: Glance | None = None
    if current is None:
        current, catalogue = _planned(store, options, turn)
        pages = glance(store.run)  # what is done from here on until lists are made counts as no page
        _gate(store, _task(store, current, None, state), catalogue, int(state.get("top", 0)), options, turn)
        if turn is not None:
            begin(store, current, turn, state)
    elif turn is not None:
        generations.set_state(store, turn, {"turn": turn.token})
    try:
        task = dataclasses.replace(_task(store, current, turn, state, options.force), pages=pages)
        tally = run_partitions(store, task, options.jobs, progress)
    except GateError as error:
        raise refused(store, current, turn, [str(error)]) from error
    if turn is not None:
        done = generations.done_partitions(store, current.generation).values()
        tally = total(Tally(**counts) for counts in done)
    result = report(current.date, current.generation, (current.top_count, current.new_count), tally,
                    time.perf_counter() - start, seed=current.seed, resumed_partitions=resumed,
                    dry_run=options.dry_run, forced=options.force, finished_at=int(time.time()))
    if turn is not None:
        switch(store, current, turn, result)
    return result


def _task(store: Store, current: Plan, turn: Turn | None, state: dict[str, str], force: bool = False) -> Task:
    """What all processes of the run work by. Seen sets are read as they are now, whatever date is run."""
    now_ms = max(int(time.time() * 1000), current.moment * 1000)
    live = live_mask(keyspace.live_buckets(now_ms, store.settings.window_days))
    return Task(current, turn, live, keyspace.visit_of(int(state.get("moment", 0)) * 1000), force)


def _check_date(options: Options, state: dict[str, str]) -> None:
    last = state.get("date")
    if last and options.date < dt.date.fromisoformat(last) and not options.force:
        raise RunError(f"the lists of {last} are published already and {options.date} is older: "
                       "run a later date, or --force to go back")
    today = dt.datetime.now(dt.UTC).date()
    if options.date > today and not options.force:
        raise RunError(f"{options.date} has not begun (today is {today}, UTC): run today's date, or --force")


def _resumed(store: Store, options: Options, state: dict[str, str]) -> Plan | None:
    """The plan of an unfinished run of the same date and seed, or None."""
    begun = int(state.get("begun", 0))
    if options.dry_run or options.force or not begun or begun == int(state.get("generation", 0)):
        return None
    if state["begun_date"] != options.date.isoformat():
        return None
    parts = generations.read_plan(store, begun)
    found = plan_codec.decode(parts) if parts else None
    return found if found is not None and found.seed == options.seed else None


def _planned(store: Store, options: Options, turn: Turn | None) -> tuple[Plan, Catalogue]:
    last = plan.moment_of(options.date) // DAY
    days = range(last - store.settings.stats_days, last)
    if turn is not None:
        stats.roll_up(store, days, turn)
    rows = stats.totals(store, days)
    if turn is None:
        rows = stats.merge([rows, stats.peek(store, days)])
    catalogue = _catalogue(store, rows)
    generation = 0 if turn is None else turn.token
    return plan.build(catalogue, options.date, generation, options.seed, store.settings), catalogue


def _catalogue(store: Store, rows: np.ndarray[Any, Any]) -> Catalogue:
    meta = items.read_meta(store)
    rows = rows[rows["item"] <= len(meta)]
    columns = []
    for name in ("impressions", "clicks", "dwell_ms", "reactions"):
        column = np.zeros(len(meta))
        # A past date may stand between what was counted twice and the day on which one of the two is taken back.
        column[rows["item"] - 1] = np.maximum(rows[name], 0)
        columns.append(column)
    return Catalogue(meta, *columns)


def _gate(store: Store, task: Task, catalogue: Catalogue, previous_top: int, options: Options,
          turn: Turn | None) -> None:
    """Raises GateError with every reason not to publish, unless forced."""
    current = task.plan
    reasons = gates.check_plan(current, previous_top, store.settings.shrink_gate)
    reasons += gates.check_scores(current, catalogue.impressions)
    reasons += Partitions(store, task).sample(store.settings.sample_size, plan.live(catalogue.meta, current.moment))
    if reasons and not options.force:
        raise refused(store, current, turn, reasons)
