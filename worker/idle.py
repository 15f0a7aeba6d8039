"""Whether a stack is down, and whether it holds data: what must be known before its data is replaced."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.manifest import BackupError
from worker.store.errors import StoreError
from worker.store.private import private_server

AOF = "appendonlydir"
SMALL = 1 << 20  # bytes of append-only files that may be no more than a new stack's
PARTS = ("redis", "api", "nginx")


@contextmanager
def idle(run: Path) -> Iterator[None]:
    """The stack is down and stays so for the block: `make up` waits for the same lock. Raises BackupError else."""
    if run.stat().st_uid != os.geteuid():
        raise BackupError(f"{run} belongs to another user, whose Redis could not read what this one writes: restore as "
                          "its owner")
    with (run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"the stack in {run} is being started or stopped: wait for it") from None
        up = [name for name in PARTS if _runs(run, name)]
        if up or _answers(run / "sock/redis.sock"):
            raise BackupError(f"the stack in {run} runs ({', '.join(up) or 'redis'}): stop it first (make down)")
        yield


def _runs(run: Path, name: str) -> bool:
    try:
        pid = int((run / f"pid/{name}.pid").read_text())
        return f"{run}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.exists() and probe.connect_ex(str(path)) == 0


def holds_data(run: Path) -> bool:
    """Whether there are keys in the append-only files. Those of a stack that was only started hold functions."""
    files = [path for path in (run / "redis" / AOF).glob("*") if path.is_file()]
    if sum(path.stat().st_size for path in files) > SMALL:
        return True
    with tempfile.TemporaryDirectory(prefix="nf-") as copy:
        if files:
            shutil.copytree(run / "redis" / AOF, Path(copy) / AOF)
        try:
            with private_server(Path(copy), appendonly=True) as client:
                return bool(client.dbsize())
        except StoreError:
            return True  # whatever it is that can't be read is not thrown away
