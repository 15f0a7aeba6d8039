"""How much of the processor others took during a measurement: on a shared machine a figure is worth little without."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from types import TracebackType


class OtherWork:
    """Cores that were busy in the ``with`` block with neither this process, what it started, nor process ``pid``.

    Counts time that the hypervisor gave to other machines (steal), too.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.cores = 0.0

    def __enter__(self) -> OtherWork:
        self._start, self._before = time.monotonic(), _busy() - _own(self._pid)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        spent = _busy() - _own(self._pid) - self._before
        self.cores = round(max(spent, 0.0) / (time.monotonic() - self._start), 2)


def _busy() -> float:
    """Seconds for which cores were busy since the machine started: proc(5), /proc/stat, all but idle and iowait."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own(pid: int) -> float:
    """Seconds that this process, its ended children and ``pid`` with its ended children have worked."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + ticks / os.sysconf("SC_CLK_TCK")
