"""Beacons and pages together: the most that goes through, and how long answers take at parts of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.bench import edge_wrk
from scripts.bench.edge_load import Load, Loader, growth, summary, unexpected
from scripts.bench.other_work import OtherWork

LEVELS = (0.5, 0.8)
WARM_SECONDS = 1
COLUMNS = 5  # due, sent, done (s), status, kind
KINDS = {0: ("beacon", 204), 1: ("feed", 200)}

Floats = NDArray[np.float64]


def measure(loader: Loader, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The maximum of four beacons to a page, and the latency at each of LEVELS of it."""
    loads: list[Load] = []
    for turn in range(repeats):
        loads.append(loader.mixed())
        say(f"mixed, {turn + 1} of {repeats}: {loads[-1].per_second:,.0f} a second")
    result = summary(loads)
    levels = []
    for level in LEVELS:
        rate = max(round(level * result["requests_per_second"]), 1)
        say(f"mixed at {rate:,} a second, {level:.0%} of that, in an open loop")
        levels.append({"level": level, **_level(loader, rate, repeats)})
    return {**result, "errors": result["errors"] + sum(row["errors"] for row in levels), "levels": levels}


def _level(loader: Loader, rate: int, repeats: int) -> dict[str, Any]:
    """One rate for as long as all repeats of a load."""
    site, before = loader.site, loader.server.answers()
    out = site.stack.run / "bench-latency"
    with OtherWork(*loader.server.pids(), site.stack.redis_pid()) as others:
        nice = _generate(loader, rate, repeats, out)
    rows = np.fromfile(out, np.float64).reshape(-1, COLUMNS)
    found = latencies(rows, _warm(loader))
    faults = unexpected(growth(before, loader.server.answers()))
    return {"requests_per_second": rate, **found, "faults": faults, "generator_nice": nice,
            "other_work_cores": others.cores}


def _generate(loader: Loader, rate: int, repeats: int, out: Path) -> int:
    options, site = loader.site.options, loader.site
    seconds = _warm(loader) + repeats * options.seconds
    more = {**loader.visits(4, 1, 1), "threads": 1, "seconds": seconds, "rate": rate,
            "connections": options.connections, "port": site.stack.port, "out": out}
    text, _ = edge_wrk.execute("open_loop.lua", f"http://127.0.0.1:{site.stack.port}/", 1, 1, 1, more)
    return int(json.loads(text.splitlines()[-1])["nice"])


def _warm(loader: Loader) -> float:
    return min(WARM_SECONDS, loader.site.options.seconds)


def latencies(rows: Floats, warm: float) -> dict[str, Any]:
    """Percentiles in ms of the time from when requests were due, all and by kind; the first ``warm`` s are left out.

    ``rows`` (n, 5): due, sent, done in s, status, kind. ``errors`` counts statuses other than those of KINDS, in all
    rows; ``sent_late_p99_ms`` is how late the generator was, which is part of the latency.
    """
    expected = np.array([status for _, status in KINDS.values()])[rows[:, 4].astype(np.int64)]
    errors = int((rows[:, 3] != expected).sum())
    rows = rows[rows[:, 0] >= rows[:, 0].min(initial=np.inf) + warm] if len(rows) else rows
    late = _quantiles(rows[:, 1] - rows[:, 0])[1]
    by_kind = {name: percentiles(rows[rows[:, 4] == kind]) for kind, (name, _) in KINDS.items()}
    return {"requests": len(rows), "errors": errors, **percentiles(rows), "sent_late_p99_ms": late, "by_kind": by_kind}


def percentiles(rows: Floats) -> dict[str, float]:
    """p50, p99, p99.9 and the most, from due to done, in ms."""
    return dict(zip(("p50_ms", "p99_ms", "p999_ms", "max_ms"), _quantiles(rows[:, 2] - rows[:, 0]), strict=True))


def _quantiles(seconds: Floats) -> list[float]:
    if not len(seconds):
        return [0.0] * 4
    return [round(1e3 * float(value), 3) for value in np.quantile(seconds, (0.5, 0.99, 0.999, 1.0))]
