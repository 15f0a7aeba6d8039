"""How much of the processor others took during a measurement: on a shared machine a figure is worth little without."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


class OtherWork:
    """Cores that were busy in the ``with`` block with neither this process, what it started, nor processes ``pids``.

    Counts time that the hypervisor gave to other machines (steal), too. Afterwards ``own_seconds`` and ``pid_seconds``
    say how long this process and those that it started, and processes ``pids``, have worked in the block.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self.cores = self.own_seconds = self.pid_seconds = 0.0

    def __enter__(self) -> OtherWork:
        self._start, self._busy = time.monotonic(), _busy()
        self._own, self._others = _own(), _of(self._pids)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.own_seconds, self.pid_seconds = _own() - self._own, _of(self._pids) - self._others
        spent = _busy() - self._busy - self.own_seconds - self.pid_seconds
        self.cores = round(max(spent, 0.0) / (time.monotonic() - self._start), 2)


def _busy() -> float:
    """Seconds for which cores were busy since the machine started: proc(5), /proc/stat, all but idle and iowait."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds that this process and its ended children have worked."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _of(pids: Sequence[int]) -> float:
    """Seconds that ``pids`` with their ended children have worked."""
    return sum(map(_worked, pids))


def _worked(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
