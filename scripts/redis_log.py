"""Mends the end of Redis's append-only file before Redis reads it.

A Redis that is killed while it writes leaves a command cut short, often inside a transaction. Redis 7.0 then cuts off
that command only, not the transaction that it belongs to: what is written next begins a second transaction inside
the first, and at the start after that commands of both are lost or done by halves. So the whole of an unfinished
transaction goes before Redis starts.
"""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

MULTI, EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"
_NUMBER = re.compile(rb"([*$])(\d{1,10})\r\n")


def mend(folder: Path) -> int:
    """Cut an unfinished transaction off the end of the newest log in ``folder``; how many bytes that were.

    Only while no Redis has the folder. Raises OSError when the log cannot be read or cut.
    """
    log = newest(folder)
    if log is None or not log.stat().st_size:
        return 0
    with log.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size, begin = len(data), unfinished(data)
        if begin is None:
            return 0
        file.truncate(begin)
        os.fsync(file.fileno())
    return size - begin


def newest(folder: Path) -> Path | None:
    """The log that Redis appends to: the last incremental file of the manifest. None when there is none yet."""
    manifest = folder / "appendonly.aof.manifest"
    if not manifest.exists():
        return None
    names = [line.split()[1] for line in manifest.read_text().splitlines() if line.endswith("type i")]
    path = folder / names[-1] if names else None
    return path if path and path.exists() else None


def unfinished(data: bytes | mmap.mmap) -> int | None:
    """Where a transaction begins that is still open at the end of a log; None when there is none."""
    begin = data.rfind(MULTI)
    if begin < 0 or data.find(EXEC, begin) >= 0:
        return None
    # Only when whole commands follow, and at most one that is cut short: anything else is not for us to judge.
    at = begin
    while at < len(data):
        end = _command_end(data, at)
        if end is None:
            break
        at = end
    return begin if at == len(data) or _cut_short(data, at) else None


def _command_end(data: bytes | mmap.mmap, at: int) -> int | None:
    """Where the command that begins at ``at`` ends; None when it is not whole."""
    head = _NUMBER.match(data, at)
    if head is None or head[1] != b"*":
        return None
    at = head.end()
    for _ in range(int(head[2])):
        word = _NUMBER.match(data, at)
        if word is None or word[1] != b"$":
            return None
        at = word.end() + int(word[2]) + 2
        if at > len(data):
            return None
    return at


def _cut_short(data: bytes | mmap.mmap, at: int) -> bool:
    """Whether what stands from ``at`` on could be the beginning of a command."""
    head = _NUMBER.match(data, at)
    if head is None:
        return re.fullmatch(rb"\*\d*\r?", data[at:]) is not None
    at = head.end()
    while at < len(data):
        word = _NUMBER.match(data, at)
        if word is None:
            return re.fullmatch(rb"\$?\d*\r?", data[at:]) is not None
        at = word.end() + int(word[2]) + 2
    return True
