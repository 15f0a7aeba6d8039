"""What a request costs in instructions and system calls, counted by perf where that is there and allowed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.bench.edge_load import Load, Loader
from scripts.bench.processes import started

EVENTS = {"instructions:u": "instructions_user", "instructions:k": "instructions_kernel",
          "raw_syscalls:sys_enter": "syscalls"}
START_SECONDS = 0.3  # until perf counts
END_SECONDS = 10


def measure(loader: Loader, say: Callable[[str], None]) -> dict[str, Any]:
    """By load and by process, what one request takes; None where perf does not count it."""
    kinds: dict[str, Callable[[], Load]] = {
        "ceiling": loader.healthz, "beacon1": lambda: loader.beacons(1), "beacon20": lambda: loader.beacons(20),
        "file": loader.file, "memory": loader.memory, "feed": loader.feeds,
    }  # fmt: skip
    loads: dict[str, Any] = {}
    errors = 0
    for name, load in kinds.items():
        loads[name], faults = _counted(loader, load)
        errors += faults
        say(f"profile of {name}: {loads[name]}")
    return {"per_request": loads, "errors": errors}


def _counted(loader: Loader, load: Callable[[], Load]) -> tuple[dict[str, Any], int]:
    families = {"nginx": loader.server.pids(), "redis": [loader.site.stack.redis_pid()]}
    files = {name: loader.site.stack.run / f"bench-perf-{name}" for name in families}
    program = shutil.which("perf")
    if program is None:
        found = load()
        return {name: per_request("", found.count) for name in families}, sum(found.faults.values())
    commands = [_command(program, families[name], file) for name, file in files.items()]
    with started(commands[0], stderr=subprocess.DEVNULL) as one, started(commands[1], stderr=subprocess.DEVNULL) as two:
        time.sleep(START_SECONDS)
        found = load()
        for process in (one, two):
            process.send_signal(signal.SIGINT)
            process.wait(END_SECONDS)
    texts = {name: file.read_text() if file.exists() else "" for name, file in files.items()}
    return {name: per_request(text, found.count) for name, text in texts.items()}, sum(found.faults.values())


def _command(program: str, pids: Sequence[int], file: Path) -> list[str]:
    return [program, "stat", "-x,", "-e", ",".join(EVENTS), "-o", str(file), "-p", ",".join(map(str, pids))]


def per_request(text: str, requests: int) -> dict[str, float | None]:
    """What ``perf stat -x,`` counted, for each of so many requests; None for what it did not count."""
    counts: dict[str, float | None] = dict.fromkeys(EVENTS.values())
    for line in text.splitlines():
        value, _, event, *_ = [*line.split(","), "", "", ""]
        if event in EVENTS and value.isdecimal():
            counts[EVENTS[event]] = round(int(value) / max(requests, 1), 2)
    return counts
