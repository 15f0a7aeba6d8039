"""How runs in the background end: killed, refused, stopped; and what they report."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from typing import Any

SECONDS = 60
Row = dict[str, Any]


def run_of(done: subprocess.CompletedProcess[str]) -> Row:
    """The report on the last line."""
    report: Row = json.loads(done.stdout.splitlines()[-1])
    return report


def killed(process: subprocess.Popen[str]) -> bool:
    """Wait for the end of a run; whether SIGKILL was it."""
    _, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err, err
    return process.returncode == -signal.SIGKILL


def refused(process: subprocess.Popen[str]) -> str:
    """Wait for a run that must end with exit 1 and a message, which is returned."""
    out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 1, out + err
    assert "Traceback" not in err, err
    return err.splitlines()[-1]


def stopped(process: subprocess.Popen[str]) -> bool:
    """Whether a process is stopped, or has ended."""
    if process.poll() is not None:
        return True
    with open(f"/proc/{process.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def rng() -> random.Random:
    """Other moments in each session, and the seed in the output of a failed test."""
    seed = int(os.environ.get("PYTEST_SEED", time.time_ns() % 10**9))
    print(f"seed {seed}")
    return random.Random(seed)
