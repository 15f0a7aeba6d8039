"""The nightly run: the pipeline from counters to published lists, and the order in which things become visible.

1. Counters are rolled up, the catalogue is scored, the plan made and gated.
2. A sample of lists is made and checked by independent code; a fault ends the run before anything is written.
3. The plan is written and the run marked as begun. From here on a killed run is resumed with the same plan.
4. Each partition's lists are written and the partition marked as done.
5. The generation is switched: the default list, fresh positions and reports follow it.

Every list names the generation whose pool it refers to, so a reader has an old list or a new one at any moment.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from worker import keyspace
from worker.nightly import gates, plan, plan_codec
from worker.nightly.partition import GateError, Partitions, Task, since_ms
from worker.nightly.plan import Catalogue, Plan
from worker.nightly.pool import Progress, run_partitions
from worker.nightly.report import Tally, report, total
from worker.store import generations, items, lease, seen, stats
from worker.store.connect import Store

DAY = 86_400


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
        return _run(store, options, generations.next_token(store), progress)


def join(store: Store, jobs: int, progress: Progress) -> dict[str, Any]:
    """Help with the run that is going on, from this or another host, until all its partitions are done.

    Returns the report of this process's part. Raises RunError when no run is going on, and the rest as ``nightly``.
    """
    start = time.perf_counter()
    state = generations.state(store)
    begun, token = int(state.get("begun", 0)), generations.newest_token(store)
    parts = generations.read_plan(store, begun) if begun != int(state.get("generation", 0)) else None
    if parts is None:
        raise RunError("no run is going on that could be joined: start one with worker nightly")
    current = plan_codec.decode(parts)
    tally = run_partitions(store, _task(store, current, token), jobs, progress)
    return report(current.date, current.generation, (current.top_count, current.new_count), tally,
                  time.perf_counter() - start, seed=current.seed, joined=True, dry_run=False)


def _run(store: Store, options: Options, token: int | None, progress: Progress) -> dict[str, Any]:
    start = time.perf_counter()
    state = generations.state(store)
    _check_date(options, state)
    current = _resumed(store, options, state)
    resumed = 0 if current is None else len(generations.done_partitions(store, current.generation))
    if current is None:
        current, catalogue = _planned(store, options, token)
        _gate(store, _task(store, current, None), catalogue, int(state.get("top", 0)), options)
        if token is not None:
            _begin(store, current, token, state)
    tally = run_partitions(store, _task(store, current, token), options.jobs, progress)
    if token is not None:
        done = generations.done_partitions(store, current.generation).values()
        tally = total(Tally(**counts) for counts in done)
    result = report(current.date, current.generation, (current.top_count, current.new_count), tally,
                    time.perf_counter() - start, seed=current.seed, resumed_partitions=resumed,
                    dry_run=options.dry_run, forced=options.force, finished_at=int(time.time()))
    if token is not None:
        _switch(store, current, token, result)
    return result


def _task(store: Store, current: Plan, token: int | None) -> Task:
    """What all processes of the run work by. Seen sets are read as they are now, whatever date is run."""
    now_ms = max(int(time.time() * 1000), current.moment * 1000)
    return Task(current, token, keyspace.live_buckets(now_ms, store.settings.window_days))


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


def _planned(store: Store, options: Options, token: int | None) -> tuple[Plan, Catalogue]:
    last = plan.moment_of(options.date) // DAY
    days = range(last - store.settings.stats_days, last)
    if token is not None:
        stats.roll_up(store, days, token)
    rows = stats.totals(store, days)
    if token is None:
        rows = stats.merge([rows, stats.peek(store, days)])
    catalogue = _catalogue(store, rows)
    return plan.build(catalogue, options.date, token or 0, options.seed, store.settings), catalogue


def _catalogue(store: Store, rows: np.ndarray[Any, Any]) -> Catalogue:
    meta = items.read_meta(store)
    rows = rows[rows["item"] <= len(meta)]
    columns = []
    for name in ("impressions", "clicks", "dwell_ms", "reactions"):
        column = np.zeros(len(meta))
        column[rows["item"] - 1] = rows[name]
        columns.append(column)
    return Catalogue(meta, *columns)


def _gate(store: Store, task: Task, catalogue: Catalogue, previous_top: int, options: Options) -> None:
    """Raises GateError with every reason not to publish, unless forced."""
    current = task.plan
    reasons = gates.check_plan(current, previous_top, store.settings.shrink_gate)
    reasons += gates.check_scores(current, catalogue.impressions)
    reasons += Partitions(store, task).sample(store.settings.sample_size, plan.live(catalogue.meta, current.moment))
    if reasons and not options.force:
        if not options.dry_run:
            refused = {"date": current.date.isoformat(), "refused": reasons, "finished_at": int(time.time())}
            generations.write_run(store, f"{current.date.isoformat()} refused", orjson.dumps(refused))
        raise GateError(f"not published: {'; '.join(reasons[:10])}. The old lists stay. --force overrides.")


def _begin(store: Store, current: Plan, token: int, state: dict[str, str]) -> None:
    """Write the plan, and tidy up after runs long ago: what nobody can be reading any more."""
    generations.write_plan(store, current.generation, plan_codec.encode(current, store.settings))
    history = [int(number) for number in state.get("history", "").split()]
    kept = generations.drop_old(store, [*history, current.generation], int(state.get("generation", 0)))
    generations.set_state(store, token, {
        "begun": current.generation, "begun_date": current.date.isoformat(), "history": " ".join(map(str, kept)),
    })


def _switch(store: Store, current: Plan, token: int, result: dict[str, Any]) -> None:
    """Make the generation the current one, then the rankings, the report and the tidying up that nobody waits for."""
    generations.set_state(store, token, {
        "generation": current.generation, "date": current.date.isoformat(), "moment": current.moment,
        "made_at": int(time.time()), "top": current.top_count,
    })
    generations.write_run(store, current.date.isoformat(), orjson.dumps(result))
    _write_rankings(store, current)
    oldest = min(since_ms(current.moment, store.settings.window_days), int(time.time() * 1000))
    seen.forget_inactive(store, oldest)


def _write_rankings(store: Store, current: Plan) -> None:
    numbers = current.pool[: current.top_count + current.new_count].tolist()
    names = items.ids_of(store, numbers)
    scored, drawn = numbers[: current.top_count], numbers[current.top_count :]
    top = {names[number]: value for number, value in zip(scored, current.top_score.tolist(), strict=True)
           if number in names}
    new = {names[number]: float(len(drawn) - place) for place, number in enumerate(drawn) if number in names}
    generations.write_ranking(store, "top", top)
    generations.write_ranking(store, "new", new)
