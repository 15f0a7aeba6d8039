"""Versions of the programs, compared with the oldest that have no known hole."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from worker.doctor.check import Check, fail, ok, warn

SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
# Debian 12 mends holes in the versions that it has: what counts is its own number behind them.
DEBIAN = {
    "nginx": "1.22.1-9+deb12u11",
    "libnginx-mod-http-lua": "1:0.10.23-1+deb12u1",  # CVE-2024-33452
    "redis-server": "5:7.0.15-1~deb12u10",  # CVE-2024-46981, CVE-2025-49844
}
# The projects' own releases. Redis mends several lines; in a line that is not here CVE-2025-49844 stays open.
NGINX, LUA, GUNICORN = (1, 22, 1), (0, 10, 27), (23,)
REDIS: dict[tuple[int, ...], int] = {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
LUA_MODULE = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")


def checks(run: Path) -> Iterator[Check]:
    """nginx with its Lua module, Redis, gunicorn, and whether what runs is what is installed."""
    nginx = _program("openresty") or _program("nginx")
    if nginx is None:
        yield fail("nginx version", "neither nginx nor openresty is installed", "make installs them")
    else:
        built = _output([nginx, "-V"])
        yield _debian("nginx", nginx) or _plain("nginx", _number(r"(?:nginx|openresty)/([\d.]+)", built), NGINX)
        # Debian's module is a file of its own; in OpenResty it is built in, and named among the options.
        debian = _debian("libnginx-mod-http-lua", str(LUA_MODULE)) if LUA_MODULE.exists() else None
        yield (debian if debian and "ngx_lua-" not in built
               else _plain("nginx Lua module", _number(r"ngx_lua-([\d.]+)", built), LUA))
    yield _redis()
    yield _plain("gunicorn", _number(r"([\d.]+)", importlib.metadata.version("gunicorn")), GUNICORN)
    yield from _replaced(run)


def _program(name: str) -> str | None:
    return shutil.which(name, path=SEARCH)


def _output(command: list[str]) -> str:
    """All that a command prints; nothing when it can't be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _number(pattern: str, text: str) -> tuple[int, ...]:
    match = re.search(pattern, text)
    return tuple(int(part) for part in match[1].split(".") if part) if match else ()


def _debian(package: str, path: str) -> Check | None:
    """The check of a program that comes from a Debian package of that name; None when it does not."""
    owners = _output(["dpkg-query", "--search", path]).partition(": ")[0].split(", ")
    if package not in (owner.partition(":")[0] for owner in owners):
        return None
    version = _output(["dpkg-query", "--show", "--showformat", "${Version}", package]).strip()
    return judge_debian(package, version)


def judge_debian(package: str, version: str) -> Check:
    """Compare with the floor as Debian does, where ``~`` comes before everything."""
    floor = DEBIAN[package]
    command = ["dpkg", "--compare-versions", version, "ge", floor]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        return ok(f"{package} version", version)
    return fail(f"{package} version", f"{version}; known holes are closed from {floor} on",
                f"apt-get update && apt-get install {package}, then make down && make up")


def _plain(name: str, version: tuple[int, ...], floor: tuple[int, ...]) -> Check:
    text, wanted = ".".join(map(str, version)), ".".join(map(str, floor))
    if not version:
        return warn(f"{name} version", "it does not tell its version", f"make sure that it is {wanted} or newer")
    if version >= floor:
        return ok(f"{name} version", text)
    return fail(f"{name} version", f"{text}; known holes are closed from {wanted} on", f"install {wanted} or newer")


def _redis() -> Check:
    program = _program("redis-server")
    if program is None:
        return fail("redis version", "redis-server is not installed", "make installs it")
    return (_debian("redis-server", program)
            or judge_redis(_number(r"v=([\d.]+)", _output([program, "--version"]))))


def judge_redis(version: tuple[int, ...]) -> Check:
    """A release of the project itself: new enough within its line, or of a line that began later."""
    text = ".".join(map(str, version)) or "a version that it does not tell"
    line, floor = version[:2], REDIS.get(version[:2])
    if line > max(REDIS) or (floor is not None and version[2:] >= (floor,)):
        return ok("redis version", text)
    known = ", ".join(".".join(map(str, (*each, patch))) for each, patch in REDIS.items())
    return fail("redis version", f"{text} has known holes (CVE-2025-49844)", f"install one of {known}, or newer")


def _replaced(run: Path) -> Iterator[Check]:
    """Programs that were updated after they were started."""
    for name in ("redis", "nginx"):
        try:
            program = os.readlink(f"/proc/{int((run / f'pid/{name}.pid').read_text())}/exe")
        except (OSError, ValueError):
            continue
        if program.endswith(" (deleted)"):
            yield warn(f"{name} process", f"it runs a program that was replaced since: {program}",
                       "make down && make up, so that the new one runs")
