"""Runs the real `worker nightly` on a private stack and says how long it took, and how much memory everyone had."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from redis.exceptions import ResponseError

from scripts.bench.idle_group import idle_group, inside
from scripts.bench.other_work import OtherWork
from scripts.bench.private_stack import PrivateStack
from scripts.bench.processes import PeakMemory, started
from scripts.stack_process import StackError

WORKER = Path(sys.executable).with_name("worker")
REWRITE_SECONDS = 600
TAIL_LINES = 12


def nightly(stack: PrivateStack, date: str, jobs: int, watch: bool = True, **settings: Any) -> dict[str, Any]:
    """One run of ``date``, started as the timer does: its own report, and figures from outside.

    ``watch``: look at the memory of its processes, ten times a second, which takes some of the processor itself.
    ``command_seconds`` are from the start of the command to its end, ``users_per_second`` is by them.
    Raises StackError with what it printed when it fails.
    """
    settle(stack)
    command = [str(WORKER), "nightly", "--json", "--date", date, "--jobs", str(jobs)]
    environ, start = stack.environ(**settings), time.monotonic()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (idle_group() as group, OtherWork(stack.redis_pid()) as others,
          started(inside(group, command), env=environ, **streams) as process):
        memory = PeakMemory(process.pid)
        with memory if watch else contextlib.nullcontext():
            out, err = process.communicate()
        end = time.monotonic()
    if process.returncode != 0:
        printed = (err or out).decode().splitlines()[-TAIL_LINES:]
        raise StackError("\n".join([f"worker nightly failed with exit code {process.returncode}:", *printed]))
    report = json.loads(out.splitlines()[-1])
    cpu = {"worker": per_user(others.own_seconds, report), "redis": per_user(others.pid_seconds, report)}
    return {**_figures(report, start, end), "cpu_us_per_user": cpu, "memory": memory.rows(),
            "other_work_cores": others.cores, "idle_group": group is not None}


def _figures(report: dict[str, Any], start: float, end: float) -> dict[str, Any]:
    seconds = end - start
    return {
        "users_per_second": round(report["users"] / seconds),
        "command_seconds": round(seconds, 3),
        "seconds": report["seconds"],
        "reported_users_per_second": report["users_per_second"],
        "us_per_user": per_user(seconds, report),
        "stage_us_per_user": {name: per_user(spent, report) for name, spent in report["stages"].items()},
        "between": (start, end),  # of CLOCK_MONOTONIC, s
        "report": report,
    }


def per_user(seconds: float, report: dict[str, Any]) -> float:
    """``seconds`` for all users as microseconds for one."""
    return round(1e6 * seconds / max(int(report["users"]), 1), 2)


def settle(stack: PrivateStack) -> None:
    """Have Redis rewrite its append-only file and wait for it: no measurement then meets a rewrite halfway."""
    redis = stack.store.redis
    deadline = time.monotonic() + REWRITE_SECONDS
    with contextlib.suppress(ResponseError):  # one that has begun by itself does as well
        redis.bgrewriteaof()
    while _busy(cast(dict[str, int], redis.info("persistence"))):
        if time.monotonic() > deadline:
            raise StackError(f"Redis still rewrites its append-only file after {REWRITE_SECONDS} s: is the disk full?")
        time.sleep(0.05)


def _busy(persistence: dict[str, int]) -> bool:
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"]
                or persistence["aof_pending_bio_fsync"])
