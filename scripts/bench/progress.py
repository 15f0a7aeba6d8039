"""What a benchmark tells on the way, and how it ends: by itself, by an error that is one line, or by a signal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from redis.exceptions import RedisError

from scripts.bench.pipe import PipeError
from scripts.bench.private_stack import SIGNALS
from scripts.stack_process import StackError
from worker.store.errors import StoreError

# Signals that came. An exception that one raises is lost when it strikes a finaliser: the next phase raises it again.
_received: list[int] = []


class Progress:
    """Says on stderr what is being done, and when that was; ``seconds`` have gone since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def __call__(self, what: str) -> None:
        """One line. Raises SystemExit when a signal has come."""
        if _received:
            raise SystemExit(128 + _received[0])
        print(f"[{self.seconds:6.1f} s] {what}", file=sys.stderr, flush=True)


def _interrupted(number: int, _frame: object) -> NoReturn:
    _received.append(number)
    raise SystemExit(128 + number)


def run(name: str, bench: Callable[[], int]) -> int:
    """What ``bench`` returns, 1 with a message when it failed; it ends with 128 + n by signal n."""
    for number in SIGNALS:
        signal.signal(number, _interrupted)
    try:
        return bench()
    except (StackError, StoreError, PipeError, RedisError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
