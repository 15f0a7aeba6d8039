"""What the last runs and the store look like: for people on a terminal, and as JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from worker.keyspace import PARTITIONS
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_NAMES
from worker.store import generations, items, overview
from worker.store.connect import Store, explained

Run = dict[str, Any]  # a run's report, or part of one

SHOWN_RUNS = 7
EDGE_TIMEOUT = 2.0  # seconds


def gather(store: Store, now: float | None = None) -> dict[str, Any]:
    """Items, users, lists, runs and Redis as plain JSON values, at Unix second ``now``. Raises StoreError."""
    now = time.time() if now is None else now
    seen = overview.read(store)
    with explained("Redis"):
        state, runs = generations.state(store), generations.read_runs(store)
    return {
        "items": count_items(items.read_meta(store), int(now)),
        "users": seen.users,
        "catalogue_version": seen.catalogue_version,
        "lists": _lists(state, now),
        "last_good_run": last_good_run(runs, state, now),
        "refused_since": refused_since(runs, state),
        "unfinished_run": _unfinished(store, state),
        "stale_hours": store.settings.stale_hours,
        "runs": runs[:SHOWN_RUNS],
        "redis": {"version": seen.redis_version, "memory_bytes": seen.memory, "maxmemory_bytes": seen.maxmemory},
    }


def count_items(meta: NDArray[Any], now: int) -> dict[str, int]:
    """How many rows of ``meta`` (dtype META) are live, hidden, expired and removed, one each; and live ones by kind."""
    removed = (meta["flags"] & FLAG_REMOVED) != 0
    hidden = ~removed & ((meta["flags"] & FLAG_HIDDEN) != 0)
    expired = ~removed & ~hidden & (meta["expires"] != 0) & (meta["expires"] <= now)
    live = ~(removed | hidden | expired)
    counts = {"live": live, "hidden": hidden, "expired": expired, "removed": removed}
    counts |= {name: live & (meta["kind"] == kind) for kind, name in enumerate(KIND_NAMES)}
    return {name: int(np.count_nonzero(mask)) for name, mask in counts.items()}


def _lists(state: dict[str, str], now: float) -> dict[str, Any]:
    """Which generation is served and how old it is; nothing but None before the first run."""
    made_at = int(float(state["made_at"])) if "made_at" in state else None
    return {
        "generation": int(state["generation"]) if "generation" in state else None,
        "date": state.get("date"),
        "made_at": made_at,
        "age_seconds": None if made_at is None else max(0, int(now - made_at)),
    }


def last_good_run(runs: Sequence[Run], state: Mapping[str, str], now: float) -> Run | None:
    """``date generation finished_at age_seconds`` of the newest run that published, or None.

    ``runs`` are reports, ``state`` the generation hash. A run that was killed after the switch left no report: then
    the hash says when its lists were made.
    """
    last = max(filter(_published, runs), key=lambda run: (run["finished_at"], run["generation"]), default=None)
    if "made_at" in state and (last is None or last["generation"] < int(state["generation"])):
        last = {"date": state["date"], "generation": int(state["generation"]), "finished_at": int(state["made_at"])}
    if last is None:
        return None
    found = {name: last[name] for name in ("date", "generation", "finished_at")}
    return {**found, "age_seconds": max(0, int(now - last["finished_at"]))}


def refused_since(runs: Sequence[Run], state: Mapping[str, str]) -> Run | None:
    """The report of the newest attempt when it was refused: nothing was published at or after it. Else None."""
    refused = [run for run in runs if "refused" in run and "finished_at" in run]
    newest = max(refused, key=lambda run: int(run["finished_at"]), default=None)
    good = last_good_run(runs, state, 0)
    if newest is None or (good is not None and good["finished_at"] > newest["finished_at"]):
        return None
    return newest


def _published(run: Run) -> bool:
    return "refused" not in run and "finished_at" in run and "generation" in run


def _unfinished(store: Store, state: Mapping[str, str]) -> Run | None:
    """The run that has begun and not published yet, with how far it is; it is at work now, or was killed."""
    begun = int(state.get("begun", 0))
    if begun in (0, int(state.get("generation", 0))):
        return None
    with explained("Redis"):
        done = len(generations.done_partitions(store, begun))
    return {"date": state.get("begun_date"), "generation": begun, "partitions_done": done, "partitions": PARTITIONS}


def ask_edge(run: Path) -> dict[str, Any]:
    """Whether the edge of a run directory answers and is ready; ``detail`` holds its reasons, or why it does not."""
    try:
        where = json.loads((run / "config.json").read_bytes())
        with urlopen(f"http://{_host(where['listen'])}:{where['port']}/readyz", timeout=EDGE_TIMEOUT) as answer:
            return {"answers": True, "ready": True, "detail": _text(answer.read(4096))}
    except HTTPError as error:
        return {"answers": True, "ready": False, "detail": _text(error.read(4096))}
    except (URLError, HTTPException, OSError, ValueError, KeyError) as error:
        return {"answers": False, "ready": False, "detail": str(getattr(error, "reason", error))}


def _host(listen: str) -> str:
    """Where to reach what listens on an address; one that means all addresses is reached on the local one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)
    return f"[{host}]" if ":" in host else host


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").strip()
