"""A long-running process of one run directory: started detached, known by its pid file, stopped by pid, never by name.

A pid counts as ours only while its command line or one of its open files names the run directory, so that a pid
that the kernel gave to somebody else is left alone. Each process leads a session of its own: what it leaves behind
when it is killed (nginx's workers keep the port) is found by that session and stopped, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02
TAIL_LINES = 10


class StackError(Exception):
    """What kept the stack from starting or stopping, and what to do; printed as it is."""


@dataclass(frozen=True)
class Daemon:
    """One part of a stack: ``redis``, ``api`` or ``nginx``."""

    name: str
    run: Path
    command: list[str]
    stop_signals: tuple[tuple[signal.Signals, float], ...]  # each with the seconds it is given
    reads: tuple[Path, ...] = ()  # files that it takes in when it starts or is told to reload
    alarm: str | None = None  # what it logs when it goes on although it should not have started

    @property
    def pid_file(self) -> Path:
        """Where its pid is written."""
        return self.run / "pid" / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """Its error log, which also takes what it prints."""
        return self.run / "log" / ("nginx-error.log" if self.name == "nginx" else f"{self.name}.log")

    def pid(self) -> int | None:
        """The pid of the running process, or None."""
        recorded = self._recorded()
        return recorded if recorded is not None and _belongs(recorded, self.run) else None

    def since(self) -> float | None:
        """Unix time at which the running process started, or None."""
        pid = self.pid()
        return _started(pid) if pid is not None else None

    def outdated(self) -> bool:
        """Whether a file that it reads is newer than its last start or reload."""
        done = self.pid_file.stat().st_mtime_ns
        return any(path.stat().st_mtime_ns > done for path in self.reads)

    def reload(self) -> None:
        """Have it read its files again (SIGHUP)."""
        pid = self.pid()
        if pid is not None:
            os.utime(self.pid_file)
            send(pid, signal.SIGHUP)

    def start(self, environ: Mapping[str, str], ready: Callable[[], bool], seconds: float) -> None:
        """Start it and wait until ``ready()``. Raises StackError with the end of its log when it does not get there."""
        self.sweep()
        logged = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environ),
                start_new_session=True,
            )  # fmt: skip
        self.pid_file.write_text(f"{process.pid}\n")
        self.wait(lambda: process.poll() is not None or ready(), seconds, logged)
        if process.poll() is not None:
            raise StackError(f"{self.name} stopped while it was starting:\n{self.tail(logged)}")
        if self.alarm and self.alarm in self._logged(logged):
            self.stop()
            raise StackError(f"{self.name} cannot read all of its data, and was stopped again:\n{self.tail(logged)}")

    def wait(self, ready: Callable[[], bool], seconds: float, logged: int | None = None) -> None:
        """Wait until ``ready()``. Raises StackError with the log from byte ``logged`` on when that takes too long."""
        if not _wait(ready, seconds):
            raise StackError(f"{self.name} does not answer after {seconds:.0f} s:\n{self.tail(logged)}")

    def stop(self) -> bool:
        """Stop it and wait until it is gone; False when it was not running. Raises StackError when it stays."""
        pid = self.pid()
        if pid is not None:
            self.resume()
            for number, seconds in self.stop_signals:
                send(pid, number)
                if _wait(lambda: self.pid() is None, seconds):
                    break
            else:
                raise StackError(f"{self.name} (process {pid}) does not stop: its last lines are\n{self.tail()}")
        self.sweep()
        self.pid_file.unlink(missing_ok=True)
        return pid is not None

    def resume(self) -> None:
        """Wake it, with its workers, from SIGSTOP."""
        pid = self.pid()
        for member in _session(pid, self.run) if pid is not None else ():
            send(member, signal.SIGCONT)

    def sweep(self) -> None:
        """Stop what a killed process left behind in its session."""
        recorded = self._recorded()
        if recorded is None or self.pid() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = _session(recorded, self.run)
            for pid in left:
                send(pid, signal.SIGCONT)
                send(pid, number)
            if _wait(lambda: not _session(recorded, self.run), 5):
                return

    def tail(self, start: int | None = None) -> str:
        """The log's last lines, indented; from byte ``start`` on also its first ones, which name the cause."""
        lines = self._logged(start or 0).splitlines() or ["(nothing was logged)"]
        if len(lines) > 2 * TAIL_LINES:
            lines = [*(lines[:TAIL_LINES] if start is not None else []), "…", *lines[-TAIL_LINES:]]
        return "\n".join([f"  {self.log}:", *(f"    {line}" for line in lines)])

    def _logged(self, start: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _recorded(self) -> int | None:
        try:
            return int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _belongs(pid: int, run: Path) -> bool:
    prefix = f"{run}/"
    try:
        if prefix.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        return any(os.readlink(link).startswith(prefix) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _session(leader: int, run: Path) -> list[int]:
    """Living processes of the session of ``leader`` that hold files of the run directory."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _stat(pid, 6) == leader and _belongs(pid, run)]


def _stat(pid: int, field: int) -> int | None:
    """A numeric field of /proc/<pid>/stat, counted from 1 as in proc(5); None when the process is gone."""
    try:
        # The second field is the name in brackets and may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field - 3])
    except (OSError, IndexError):
        return None


def _started(pid: int) -> float | None:
    ticks = _stat(pid, 22)
    if ticks is None:
        return None
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
