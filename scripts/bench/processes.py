"""Child processes of a benchmark: started in a session of their own, watched for their memory, and always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

INTERVAL_SECONDS = 0.1
END_SECONDS = 5


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads its own session; whatever is left of that session ends with the block."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class PeakMemory:
    """Peak resident memory (VmHWM) of a process and all its descendants, while the ``with`` block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, tuple[str, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def rows(self) -> list[dict[str, object]]:
        """Role and peak of each process in MB (10^6 bytes), in order of their start."""
        return [{"process": role, "peak_mb": round(peak / 1e6, 1)} for _, (role, peak) in sorted(self._peaks.items())]

    def _watch(self) -> None:
        while not self._end.wait(INTERVAL_SECONDS):
            for pid in descendants(self._pid):
                peak = peak_bytes(pid)
                if peak:
                    self._peaks[pid] = (self._role(pid), peak)

    def _role(self, pid: int) -> str:
        if pid in self._peaks:
            return self._peaks[pid][0]
        if pid == self._pid:
            return "main"
        return "tracker" if b"resource_tracker" in _read(Path(f"/proc/{pid}/cmdline")) else "worker"


def descendants(pid: int) -> list[int]:
    """``pid`` and its children, their children and so on, as far as they live."""
    found = [pid]
    for parent in found:
        for file in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in _read(file).split()]
    return found


def peak_bytes(pid: int) -> int:
    """The most memory that was resident since the process started, in bytes; 0 when it is gone."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
