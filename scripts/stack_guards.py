"""What holds while a stack is started or stopped: one at a time, and all of it or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.stack_process import Daemon


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """One `up` or `down` of a run directory at a time; a second one waits."""
    with (run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another up or down of {run} is under way: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def all_or_nothing() -> Iterator[list[Daemon]]:
    """Collects what is started; an error or an interruption stops all of it again."""
    started: list[Daemon] = []
    try:
        yield started
    except BaseException:
        for part in reversed(started):
            part.stop()
        raise
