"""How /feed answers while a nightly run is at work, against how it answers when there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.bench.nightly_command import nightly
from scripts.bench.private_stack import PrivateStack
from scripts.bench.processes import started
from scripts.stack_process import StackError
from worker import credentials, tokens

TOKENS = 20_000
WARM_SECONDS = 3.0
AFTER_SECONDS = 2.0
END_SECONDS = 30
GENERATOR = Path(__file__).with_name("open_loop.py")

Floats = NDArray[np.float64]


def measure(stack: PrivateStack, users: list[str], date: str, jobs: int, rate: float, idle_seconds: float,
            seed: int) -> dict[str, Any]:
    """Latency of random users' first pages at ``rate`` a second, idle (before and after) and during a run."""
    stack.edge()
    chosen = np.random.default_rng([seed, 5]).choice(len(users), TOKENS)
    file, out = stack.run / "bench-tokens", stack.run / "bench-latency.npy"
    _write_tokens(stack, [users[row] for row in chosen.tolist()], file)
    command = [sys.executable, str(GENERATOR), "--port", str(stack.port), "--rate", str(rate), "--tokens", str(file),
               "--out", str(out)]  # fmt: skip
    with started(command, stdout=subprocess.DEVNULL) as generator:
        time.sleep(WARM_SECONDS)
        real_time = os.sched_getscheduler(generator.pid) == os.SCHED_FIFO
        idle = time.monotonic()
        time.sleep(idle_seconds)
        idle_end = time.monotonic()
        run = nightly(stack, date, jobs, watch=False)
        time.sleep(AFTER_SECONDS)  # what was due during the run may still be on its way
        again = time.monotonic()
        time.sleep(idle_seconds)
        again_end = time.monotonic()
        generator.send_signal(signal.SIGTERM)
        if generator.wait(END_SECONDS) != 0:
            raise StackError("the load generator of the benchmark failed: see its message above")
    rows = np.load(out)
    return {"generator_real_time": real_time, **_compared(rows, rate, [(idle, idle_end), (again, again_end)], run)}


def _write_tokens(stack: PrivateStack, users: list[str], file: Path) -> None:
    keyring, issued = credentials.load(stack.run).keyring, int(time.time())
    signed = {user: tokens.sign(keyring, user, issued) for user in set(users)}
    file.write_text("\n".join(signed[user] for user in users))


def _compared(rows: Floats, rate: float, idle: list[tuple[float, float]], run: dict[str, Any]) -> dict[str, Any]:
    quiet, loaded = latency(rows, *idle), latency(rows, run["between"])
    return {
        "requests_per_second": rate,
        "idle": quiet,
        "during_run": loaded,
        "p99_ratio": round(loaded["p99_ms"] / quiet["p99_ms"], 2) if quiet["p99_ms"] else None,
        "run_users_per_second": run["users_per_second"],
        "run_seconds": run["command_seconds"],
        "run_idle_group": run["idle_group"],
    }


def latency(rows: Floats, *periods: tuple[float, float]) -> dict[str, Any]:
    """Percentiles in ms of the requests due in ``periods``, each from and to (rows of due, sent, done, status).

    ``sent_late_p99_ms`` is how late the generator itself was, which is part of the latency.
    """
    inside = np.zeros(len(rows), np.bool_)
    for start, end in periods:
        inside |= (rows[:, 0] >= start) & (rows[:, 0] < end)
    due, sent, done, status = rows[inside].T
    if not len(due):
        return {"requests": 0, "errors": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0, "sent_late_p99_ms": 0.0}
    p50, p99, most = np.quantile(done - due, (0.5, 0.99, 1.0)) * 1e3
    return {
        "requests": len(due),
        "errors": int((status != 200).sum()),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "max_ms": round(float(most), 3),
        "sent_late_p99_ms": round(float(np.quantile(sent - due, 0.99)) * 1e3, 3),
    }
