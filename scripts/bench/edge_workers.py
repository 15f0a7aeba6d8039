"""The same loads on nginx with one worker and with two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripts.bench.edge_load import Load, Loader, summary

WORKERS = (1, 2)


def measure(loader: Loader, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Requests a second of each load by number of workers, and how much the second worker adds."""
    kinds: dict[str, Callable[[], Load]] = {
        "healthz": loader.healthz, "beacon1": lambda: loader.beacons(1), "feed": loader.feeds,
    }  # fmt: skip
    rows = [{"nginx_workers": workers, **_row(loader, workers, kinds, repeats, say)} for workers in WORKERS]
    ratio = {name: round(rows[1][name]["requests_per_second"] / max(rows[0][name]["requests_per_second"], 1), 2)
             for name in kinds}
    return {"rows": rows, "ratio": ratio, "errors": sum(row[name]["errors"] for row in rows for name in kinds)}


def _row(loader: Loader, workers: int, kinds: dict[str, Callable[[], Load]], repeats: int,
         say: Callable[[str], None]) -> dict[str, Any]:
    loader.server.start(workers)
    loads = {name: [load() for _ in range(repeats)] for name, load in kinds.items()}
    found = {name: summary(repeated) for name, repeated in loads.items()}
    rates = ", ".join(f"{name} {one['requests_per_second']:,}" for name, one in found.items())
    say(f"{workers} nginx workers: {rates}")
    return found
