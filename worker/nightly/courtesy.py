"""A run makes room for visitors: at full speed while nobody asks the edge, else one request to Redis at a time.

Redis serves one request after the other, and those of a run are long for it (a tenth of a millisecond): while a page
waits for one, three more may come before it from the other processes. So as long as pages are asked for, the processes
take turns, and after each request leave Redis alone for as long as it took.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from multiprocessing.synchronize import Lock
from types import TracebackType

FIRST_SECONDS, LOOK_SECONDS = 0.05, 0.25
BUSY = 100.0  # pages a second from which on there is somebody to make room for
PATIENCE_S = 1.0
LONGEST_S = 0.01  # of a pause: what took longer did not keep Redis busy, but waited until it was back
# The edge reads a seen set for each page and beacon; while it makes lists, a run has no GET.
PAGES = re.compile(rb"cmdstat_get:calls=(\d+)")


class Courtesy:
    """Around each request of a process: ``with courtesy: …``; ``look`` now and then.

    ``lock``: of all processes of the run, or None for a single one. For politeness only: when one of them is stopped
    while it holds the lock, the others go on after PATIENCE_S each time.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self.making_room = True  # until it is known whether anybody is there
        self._lock, self._held, self._began = lock, False, 0.0
        self._pages, self._looked, self._again = 0, 0.0, 0.0

    def look(self, stats: Callable[[], bytes]) -> None:
        """Find out whether there are visitors, now and then; ``stats`` gives Redis's ``INFO commandstats``."""
        now = time.monotonic()
        if now < self._again:
            return
        pages = pages_served(stats())
        if self._looked:
            self.making_room = (pages - self._pages) / (now - self._looked) >= BUSY
        self._again = now + (LOOK_SECONDS if self._looked else FIRST_SECONDS)
        self._pages, self._looked = pages, now

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


def pages_served(stats: bytes) -> int:
    """How many pages the edge has asked for since Redis was started; of its ``INFO commandstats``."""
    found = PAGES.search(stats)
    return int(found[1]) if found else 0
