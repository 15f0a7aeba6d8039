"""What a run writes beside the lists: its plan before them, the generation after them, and why it was refused."""

from __future__ import annotations

import time
from typing import Any

import orjson

from worker.nightly import plan_codec
from worker.nightly.partition import GateError, since_ms
from worker.nightly.plan import Plan
from worker.store import erasures, generations, items, lists, seen
from worker.store.connect import Store
from worker.store.generations import Turn

HOUR_MS = 3_600_000


def refused(store: Store, current: Plan, turn: Turn | None, reasons: list[str]) -> GateError:
    """The error of a run that must not be published, which is recorded, too, unless it is a dry run."""
    if turn is not None:
        reason = {"date": current.date.isoformat(), "refused": reasons, "finished_at": int(time.time())}
        generations.write_run(store, turn, f"{current.date.isoformat()} refused", orjson.dumps(reason))
    return GateError(f"not published: {'; '.join(reasons[:10])}. The old lists stay. --force overrides.")


def begin(store: Store, current: Plan, turn: Turn, state: dict[str, str]) -> None:
    """Write the plan, and tidy up after runs long ago: what nobody can be reading any more.

    A plan is in the history before it is written: a run that is killed in between leaves nothing that stays for ever.
    """
    history = [int(number) for number in state.get("history", "").split()]
    kept = generations.drop_old(store, [*history, current.generation], int(state.get("generation", 0)))
    generations.set_state(store, turn, {"history": " ".join(map(str, kept))})
    generations.write_plan(store, turn, current.generation, plan_codec.encode(current, store.settings))
    generations.set_state(store, turn, {
        "begun": current.generation, "begun_date": current.date.isoformat(), "turn": turn.token,
    })


def switch(store: Store, current: Plan, turn: Turn, result: dict[str, Any]) -> None:
    """Make the generation the current one, then the rankings, the report and the tidying up that nobody waits for."""
    generations.set_state(store, turn, {
        "generation": current.generation, "date": current.date.isoformat(), "moment": current.moment,
        "made_at": int(time.time()), "top": current.top_count,
    })
    generations.write_run(store, turn, current.date.isoformat(), orjson.dumps(result))
    _write_rankings(store, current, turn)
    now_ms = int(time.time() * 1000)
    seen.forget_inactive(store, min(since_ms(current.moment, store.settings.window_days), now_ms))
    # Lists that were written while their user was erased.
    lists.drop_strangers(store, erasures.partitions_since(store, min(current.moment * 1000, now_ms - HOUR_MS)))


def _write_rankings(store: Store, current: Plan, turn: Turn) -> None:
    numbers = current.pool[: current.top_count + current.new_count].tolist()
    names = items.ids_of(store, numbers)
    scored, drawn = numbers[: current.top_count], numbers[current.top_count :]
    top = {names[number]: value for number, value in zip(scored, current.top_score.tolist(), strict=True)
           if number in names}
    new = {names[number]: float(len(drawn) - place) for place, number in enumerate(drawn) if number in names}
    generations.write_ranking(store, turn, "top", top)
    generations.write_ranking(store, turn, "new", new)
