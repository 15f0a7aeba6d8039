"""What the host must give: the kernel's settings, room on the disk, memory, and a clock that can be trusted."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from redis.exceptions import RedisError

from worker.doctor.check import Check, fail, ok, warn
from worker.doctor.files import stats
from worker.store import overview
from worker.store.connect import Store
from worker.store.errors import StoreError

KERNEL, HUGE = Path("/proc/sys"), Path("/sys/kernel/mm/transparent_hugepage/enabled")
BACKLOG = 4096  # as tcp-backlog in redis.conf
LEAST_FREE = 256 << 20
AHEAD_SECONDS = 60


def checks(run: Path, store: Store | None) -> Iterator[Check]:
    """All of them; ``store`` is None when Redis does not answer, and then less is known."""
    yield _overcommit()
    yield _backlog()
    yield _huge_pages()
    yield _disk(run)
    yield _memory(store)
    yield _clock(run)
    yield _synchronized()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _overcommit() -> Check:
    value = _read(KERNEL / "vm/overcommit_memory")
    if value == "1":
        return ok("vm.overcommit_memory", value)
    return warn("vm.overcommit_memory", f"{value or 'unknown'}: Redis may fail to fork, for a back-up or to rewrite "
                "its log, while memory is free", "sysctl -w vm.overcommit_memory=1, and in /etc/sysctl.d")


def _backlog() -> Check:
    value = _read(KERNEL / "net/core/somaxconn")
    if value.isdecimal() and int(value) >= BACKLOG:
        return ok("net.core.somaxconn", value)
    return warn("net.core.somaxconn", f"{value or 'unknown'}: a rush of connections is refused sooner",
                f"sysctl -w net.core.somaxconn={BACKLOG}, and in /etc/sysctl.d")


def _huge_pages() -> Check:
    value = _read(HUGE)
    if "[always]" not in value:
        return ok("huge pages", value or "not in this kernel")
    return warn("huge pages", "always: writes are slow while Redis rewrites its log", f"echo madvise > {HUGE}")


def _disk(run: Path) -> Check:
    """Redis writes its log anew beside the old one: there must be room for another."""
    used = sum(found.st_size for found in stats((run / "redis").rglob("*")).values())
    free = shutil.disk_usage(run).free
    text = f"{free >> 20} MiB free, the data of Redis has {used >> 20} MiB"
    if free < LEAST_FREE:
        return fail("disk", text, "make room: with a full disk Redis refuses every write")
    if free < 2 * used:
        return warn("disk", text, "make room for two more of that: Redis writes its log anew beside the old one")
    return ok("disk", text)


def _memory(store: Store | None) -> Check:
    lines = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines())
    available = int(lines.get("MemAvailable", "0 kB").split()[0]) << 10
    try:
        used = overview.read(store).memory if store else 0
    except (StoreError, RedisError):
        used = 0
    text = f"{available >> 20} MiB available, Redis uses {used >> 20} MiB"
    if available < LEAST_FREE or available < used // 2:
        return warn("memory", text, "add memory or have fewer things on this host: a fork of Redis copies what changes "
                    "meanwhile")
    return ok("memory", text)


def _clock(run: Path) -> Check:
    """Files can't come from the future: where they seem to, the clock was set back, and events are refused or lost."""
    now = time.time()
    paths = [run / "config.json", *(run / "redis/appendonlydir").glob("*"), run / "erasures.log"]
    ahead = max((found.st_mtime - now for found in stats(paths).values()), default=0)
    if ahead > AHEAD_SECONDS:
        return fail("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC, but files were written "
                    f"{ahead:.0f} s after that: it was set back", "set it right: what is seen is kept by its time")
    return ok("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC, not before anything written here")


def _synchronized() -> Check:
    """Whether something keeps the clock right, as far as systemd tells."""
    if Path("/run/systemd/timesync/synchronized").exists():
        return ok("clock synchronized", "by systemd-timesyncd")
    try:
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    if told == "no":
        return warn("clock synchronized", "nothing keeps the clock right",
                    "timedatectl set-ntp true, or install chrony")
    return ok("clock synchronized", "yes" if told == "yes" else "systemd does not run here: not known")
