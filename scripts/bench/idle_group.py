"""A control group whose processes get the processor when nobody else wants it: what the timer's service runs in.

The service has ``CPUWeight=idle``, for which systemd sets ``cpu.idle`` of its control group. Here the same is made by
hand, which root may, on hosts with either version of control groups; see cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDERS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))  # versions 1 and 2
END_SECONDS = 5
# $0 is the group; the shell enters it and becomes the command.
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


@contextlib.contextmanager
def idle_group(folders: Sequence[Path] = FOLDERS) -> Iterator[Path | None]:
    """A new group in the first of ``folders`` where one can be made, or None."""
    group = next(filter(None, map(_made, folders)), None)
    try:
        yield group
    finally:
        if group is not None:
            _remove(group)


def inside(group: Path | None, command: Sequence[str]) -> list[str]:
    """``command``, to be started in ``group``; as it is where there is none."""
    return list(command) if group is None else ["/bin/sh", "-c", ENTER, str(group), *command]


def _made(folder: Path) -> Path | None:
    try:
        group = Path(tempfile.mkdtemp(prefix="nf-bench-", dir=folder))
    except OSError:  # there is no such folder, or not for us
        return None
    try:
        with os.fdopen(os.open(group / "cpu.idle", os.O_WRONLY), "w") as file:
            file.write("1")
    except OSError:  # processors are not shared out here, or by an older kernel
        group.rmdir()
        return None
    return group


def _remove(group: Path) -> None:
    """Its last process has ended, but the kernel may still be at it."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
