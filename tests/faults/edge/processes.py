"""The processes of a stack's parts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.stack_fixture import Stack


def children(pid: int) -> list[int]:
    """Child processes."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process is there; one that has ended and that nobody waited for has no command line any more."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


def main_pid(stack: Stack, part: str) -> int:
    """The main process of a part."""
    pid = stack.part(part).pid()
    assert pid is not None
    return pid
