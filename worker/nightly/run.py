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
from worker.keyspace import PARTITIONS
from worker.nightly import gates, plan, plan_codec
from worker.nightly.partition import GateError, Partitions, since_ms
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


def nightly(store: Store, options: Options, progress: Progress = lambda done, users: None) -> dict[str, Any]:
    """Run ``options.date`` and return the report.

    ``progress`` is called with the partitions and users that are done, a group at a time. Raises RunError or GateError
    when the run is refused (nothing is published), LeaseError when another run is at work, FencedError when a newer
    one has begun.
    """
    if options.dry_run:
        return _run(store, options, None, progress)
    with lease.held(store):
        return _run(store, options, generations.next_token(store), progress)


def _run(store: Store, options: Options, token: int | None, progress: Progress) -> dict[str, Any]:
    start = time.perf_counter()
    state = generations.state(store)
    _check_date(options, state)
    made = _resumed(store, options, state)
    current, catalogue = _planned(store, options, token) if made is None else (made, None)
    buckets = keyspace.live_buckets(_now_ms(current), store.settings.window_days)
    if catalogue is not None:
        _gate(store, current, catalogue, buckets, int(state.get("top", 0)), options)
        if token is not None:
            _begin(store, current, token)
    done = generations.done_partitions(store, current.generation) if made is not None else {}
    todo = [partition for partition in range(PARTITIONS) if partition not in done]
    tallies = [Tally(**tally) for tally in done.values()]
    tallies += run_partitions(store, current, token, buckets, todo, options.jobs, progress)
    result = report(current.date, current.generation, (current.top_count, current.new_count), total(tallies),
                    time.perf_counter() - start, seed=current.seed, resumed_partitions=len(done),
                    dry_run=options.dry_run, forced=options.force, finished_at=int(time.time()))
    if token is not None:
        _switch(store, current, token, state, result)
    return result


def _now_ms(current: Plan) -> int:
    """The clock: seen sets are read as they are now, whatever date is run."""
    return max(int(time.time() * 1000), current.moment * 1000)


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


def _gate(store: Store, current: Plan, catalogue: Catalogue, buckets: list[int], previous_top: int,
          options: Options) -> None:
    """Raises GateError with every reason not to publish, unless forced."""
    reasons = gates.check_plan(current, previous_top, store.settings.shrink_gate)
    live = plan.live(catalogue.meta, current.moment)
    reasons += Partitions(store, current, None, buckets).sample(store.settings.sample_size, live)
    if reasons and not options.force:
        if not options.dry_run:
            refused = {"date": current.date.isoformat(), "refused": reasons, "finished_at": int(time.time())}
            generations.write_run(store, f"{current.date.isoformat()} refused", orjson.dumps(refused))
        raise GateError(f"not published: {'; '.join(reasons[:10])}. The old lists stay. --force overrides.")


def _begin(store: Store, current: Plan, token: int) -> None:
    generations.write_plan(store, current.generation, plan_codec.encode(current, store.settings))
    generations.set_state(store, token, {"begun": current.generation, "begun_date": current.date.isoformat()})


def _switch(store: Store, current: Plan, token: int, state: dict[str, str], result: dict[str, Any]) -> None:
    """Make the generation the current one, then the rankings, the report and the tidying up that nobody waits for."""
    history = [int(number) for number in state.get("history", "").split()]
    kept = generations.drop_old(store, [*history, current.generation])
    generations.set_state(store, token, {
        "generation": current.generation, "date": current.date.isoformat(), "moment": current.moment,
        "made_at": int(time.time()), "top": current.top_count, "history": " ".join(map(str, kept)),
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
