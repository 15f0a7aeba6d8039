"""Runs wrk with one of the scripts in wrk/, and reads what it reports."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.edge_usage import Usage
from scripts.bench.processes import started
from scripts.stack_process import StackError

SCRIPTS = Path(__file__).with_name("wrk")
FAULTS = ("connect", "read", "write", "timeout", "status")
# wrk goes on for so long, or more, after the last request of visits.lua was sent: what was sent is answered by then.
REST_SECONDS = 0.4
TIMEOUT_SECONDS = 10
TAIL = 500


@dataclass(frozen=True)
class Report:
    """What wrk counted: answers, seconds, beacons and other requests sent, faults by name.

    ``usage`` is its own, less what it took to get the first thread's requests ready.
    """

    answers: int
    seconds: float
    beacons: int
    others: int
    sending: float
    faults: dict[str, int]
    usage: Usage

    @property
    def requests(self) -> int:
        """All that were sent."""
        return self.beacons + self.others


def parse(text: str, usage: Usage) -> Report:
    """The last line of wrk's output that is JSON. Raises StackError when there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            found = json.loads(line)
            numbers = {name: int(found[name]) for name in ("answers", "beacons", "others")}
            faults = {name: int(found[name]) for name in FAULTS if found[name]}
            return Report(**numbers, seconds=found["seconds"], sending=found["sending"], faults=faults,
                          usage=usage - Usage(found["preparing"]))
    raise StackError(f"wrk reported nothing; it printed: {text.strip()[-TAIL:] or '(nothing)'}")


def run(script: str, url: str, seconds: float, connections: int, threads: int, options: Mapping[str, object]) -> Report:
    """One load of ``seconds``, as whole ones. Raises StackError with what wrk printed when it fails."""
    return parse(*execute(script, url, math.ceil(seconds), connections, threads, options))


def execute(script: str, url: str, seconds: int, connections: int, threads: int,
            options: Mapping[str, object]) -> tuple[str, Usage]:
    """What wrk printed, and what it used of the processor. Raises StackError when it fails."""
    words = command(script, url, seconds, connections, threads, options)
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        text = process.stdout.read().decode(errors="replace")
        _, status, spent = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise StackError(f"wrk failed with exit code {process.returncode}: {text.strip()[-TAIL:]}")
    return text, Usage(spent.ru_utime, spent.ru_stime, spent.ru_nvcsw + spent.ru_nivcsw)


def command(script: str, url: str, seconds: int, connections: int, threads: int,
            options: Mapping[str, object]) -> list[str]:
    """The command line of wrk."""
    return [_program(), f"-t{threads}", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s",
            "-s", str(SCRIPTS / script), url, "--", *(f"{name}={value}" for name, value in options.items())]


def _program() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise StackError("wrk is not installed: make bench-edge installs it, or apt-get install wrk")
    return found
