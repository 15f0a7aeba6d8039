"""A run makes room for visitors: at full speed while nobody asks the edge, else one request to Redis at a time.

Redis serves one request after the other, and those of a run are long for it (a tenth of a millisecond): while a page
waits for one, three more may come before it from the other processes. So as long as pages are asked for, the processes
take turns, and after each request leave Redis alone for as long as it took.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Lock
from pathlib import Path
from types import TracebackType

from worker.store.wire import Wire, pack, retrying

FIRST_SECONDS, LOOK_SECONDS = 0.05, 0.25
BUSY = 100.0  # pages a second from which on there is somebody to make room for
PATIENCE_S = 1.0
LONGEST_S = 0.01  # of a pause: what took longer did not keep Redis busy, but waited until it was back
# The edge reads a seen set for each page and beacon; while it makes lists, a run has no GET.
PAGES = re.compile(rb"cmdstat_get:calls=(\d+)")


@dataclass(frozen=True)
class Glance:
    """How many pages the edge had asked for, and when that was, by the host's monotonic clock (s)."""

    pages: int
    at: float


class Courtesy:
    """Around each request of a process: ``with courtesy: …``; ``look`` now and then.

    ``lock``: of all processes of the run, or None for a single one. For politeness only: when one of them is stopped
    while it holds the lock, the others go on after PATIENCE_S each time. ``earlier``: a glance from before this process
    began, so that its first look can tell whether anybody is there.
    """

    def __init__(self, lock: Lock | None = None, earlier: Glance | None = None) -> None:
        self.making_room = True  # until it is known whether anybody is there
        self._lock, self._held, self._began = lock, False, 0.0
        self._last, self._again = earlier, earlier.at + FIRST_SECONDS if earlier else 0.0

    def look(self, stats: Callable[[], bytes]) -> None:
        """Find out whether there are visitors, now and then; ``stats`` gives Redis's ``INFO commandstats``."""
        now = time.monotonic()
        if now < self._again:
            return
        pages = pages_served(stats())
        if self._last:
            self.making_room = (pages - self._last.pages) / (now - self._last.at) >= BUSY
        self._again = now + (LOOK_SECONDS if self._last else FIRST_SECONDS)
        self._last = Glance(pages, now)

    def __enter__(self) -> None:
        if self.making_room:
            self._held = self._lock is not None and self._lock.acquire(timeout=PATIENCE_S)
            self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._began:
            time.sleep(min(time.monotonic() - self._began, LONGEST_S))
            self._began = 0.0
        if self._held and self._lock is not None:
            self._lock.release()
            self._held = False


def commandstats(wire: Wire) -> bytes:
    """How often each command was called since Redis was started, as its ``INFO`` says it."""
    [stats] = retrying(partial(wire.exchange, pack("INFO", "commandstats"), 1), "reading statistics")
    return bytes(stats)


def glance(run: Path) -> Glance:
    """One at the Redis of a run directory, as it is now."""
    with Wire(run) as wire:
        return Glance(pages_served(commandstats(wire)), time.monotonic())


def pages_served(stats: bytes) -> int:
    """How many pages the edge has asked for since Redis was started; of its ``INFO commandstats``."""
    found = PAGES.search(stats)
    return int(found[1]) if found else 0
