"""What processes used of the processor during a load, from /proc: time, and how often they were switched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.processes import descendants

TICK = 1 / os.sysconf("SC_CLK_TCK")
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """Seconds in user space and in the kernel, and context switches."""

    user: float = 0.0
    system: float = 0.0
    switches: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.user + other.user, self.system + other.system, self.switches + other.switches)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.user - other.user, self.system - other.system, self.switches - other.switches)

    def each(self, requests: int) -> dict[str, float]:
        """Microseconds and switches of one of so many requests."""
        count = max(requests, 1)
        return {"us": round(1e6 * (self.user + self.system) / count, 2), "user_us": round(1e6 * self.user / count, 2),
                "system_us": round(1e6 * self.system / count, 2), "switches": round(self.switches / count, 3)}


def of_family(pid: int) -> Usage:
    """What a process and all that descend from it and live have used."""
    return of(descendants(pid))


def of(pids: Iterable[int]) -> Usage:
    """What living processes have used; one that is gone counts nothing."""
    return sum(map(_of, pids), Usage())


def _of(pid: int) -> Usage:
    try:
        user, system = parsed_stat(Path(f"/proc/{pid}/stat").read_text())
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return Usage()
    return Usage(user, system, sum(map(_switches, tasks)))


def parsed_stat(text: str) -> tuple[float, float]:
    """utime and stime of /proc/<pid>/stat in seconds; the process's name in it may hold anything."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) * TICK, int(fields[12]) * TICK


def _switches(task: Path) -> int:
    try:
        return sum(map(int, SWITCHES.findall((task / "status").read_text())))
    except OSError:
        return 0


def private_bytes(pids: Iterable[int]) -> int:
    """Memory of the processes' own that is resident (RssAnon), in bytes; what they share is not in it."""
    return sum(map(_private, pids))


def _private(pid: int) -> int:
    try:
        match = re.search(r"^RssAnon:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0
