"""What a benchmark ran on, so that its figures can be read later."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import redis

PACKAGES = ("nightfeed", "numpy", "redis", "hiredis", "numba")


def describe(client: redis.Redis) -> dict[str, Any]:
    """Processor, cores, memory, load, and the versions of what takes part."""
    info: Any = client.info("server")
    return {
        "cpu": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_bytes() / 1e9, 1),
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
        "kernel": platform.release(),
        "versions": {"python": platform.python_version(), "redis-server": info["redis_version"], **_packages()},
    }


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _packages() -> dict[str, str]:
    """Versions of the packages that are there; numba need not be."""
    there = {package.metadata["Name"].lower(): package.version for package in metadata.distributions()}
    return {name: there[name] for name in PACKAGES if name in there}


def _first(pattern: str, path: str) -> str:
    match = re.search(pattern, Path(path).read_text())
    return match[1].strip() if match else ""
