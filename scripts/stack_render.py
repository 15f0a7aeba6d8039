"""The files a stack runs on: its folders, and its configuration rendered from templates.

A template holds ``@NAME@`` placeholders that are replaced as they stand; one that is left over is an error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

from scripts.stack_process import StackError
from worker import networks, origins
from worker.config import Settings
from worker.credentials import Credentials

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sock", "redis", "nginx", "log", "pid", "demo")
# sockaddr_un holds 108 bytes with the closing zero.
SOCKET_LIMIT = 107
NO_LIMIT = "1000000"
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_PLAIN_PATH = re.compile(r"[\w/.,+@~=-]+")


def check_paths(run: Path) -> None:
    """Raises StackError for a run directory that sockets or configuration files cannot name."""
    socket = run / "sock" / "redis.sock"
    if len(os.fsencode(socket)) > SOCKET_LIMIT:
        raise StackError(
            f"the run directory's path is too long: {socket} has {len(os.fsencode(socket))} bytes and a Unix socket's "
            f"path may have {SOCKET_LIMIT}. Choose a shorter one: make up RUN=/var/tmp/nightfeed"
        )
    for what, path in (("run directory", run), ("project", ROOT)):
        if not _PLAIN_PATH.fullmatch(str(path)):
            raise StackError(f"the {what} {str(path)!r} may only have letters, digits and _ . , + @ ~ = - in its path: "
                             "nginx and Redis read it from their configuration")


def make_folders(run: Path) -> None:
    """The run directory and its folders, closed to others (0750)."""
    run.mkdir(mode=0o750, parents=True, exist_ok=True)
    for name in FOLDERS:
        (run / name).mkdir(mode=0o750, exist_ok=True)


def render(template: str, values: dict[str, str], name: str) -> str:
    """``template`` with its placeholders replaced. Raises StackError naming one that has no value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise StackError(f"{name}: there is no value for {match[0]}; known: {', '.join(sorted(values))}")
        return values[match[1]]

    return _PLACEHOLDER.sub(value, template)


def render_redis(run: Path, settings: Settings, credentials: Credentials) -> None:
    """Write redis.conf and users.acl."""
    values = {"RUN": str(run), "MAXMEMORY": settings.redis_maxmemory}
    conf = render((ROOT / "scripts/redis/redis.conf").read_text(), values, "scripts/redis/redis.conf")
    # Off and without a password, so that nobody is it; with all rights, because Redis 7.0 reads its append-only file
    # as this user: without them it leaves out every transaction, with what functions wrote, and goes on without.
    users = ["user default off resetpass allkeys allchannels allcommands"]
    for user in ("edge", "worker"):
        digest = hashlib.sha256(credentials.redis[user].encode()).hexdigest()
        users.append(f"user {user} on #{digest} {_rules(ROOT / f'scripts/redis/{user}.acl')}")
    write(run / "redis/redis.conf", conf)
    write(run / "redis/users.acl", "\n".join(users) + "\n", mode=0o600)


def _rules(path: Path) -> str:
    """The rules of an ACL template on one line: Redis takes neither comments nor line breaks there."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return " ".join(line for line in lines if line)


def render_config(run: Path, settings: Settings, credentials: Credentials) -> None:
    """Write config.json, from which Lua reads the settings and where things are."""
    config = {
        **dataclasses.asdict(settings),
        "run": str(run),
        "root": str(ROOT),
        "redis_socket": str(run / "sock/redis.sock"),
        "redis_user": "edge",
        "redis_password": credentials.redis["edge"],
        "keyspace": str(ROOT / "worker/keyspace.json"),
        "secrets": str(run / "secrets"),
    }
    write(run / "config.json", json.dumps(config, indent=1) + "\n", mode=0o600)


def render_nginx(run: Path, settings: Settings, modules: str, user: str) -> None:
    """Write nginx.conf, edge.conf and cors.conf. ``user``: whom to run as when started by root."""
    values = {
        "RUN": str(run),
        "ROOT": str(ROOT),
        "LISTEN": bracketed(settings.listen),
        "PORT": str(settings.port),
        "WORKERS": str(settings.nginx_workers or "auto"),
        "CONNECTIONS": str(settings.worker_connections),
        "DESCRIPTORS": str(descriptors(settings.worker_connections)),
        "USER": f"user {user};" if user else "",
        "MODULES": modules,
        "LUA_PATH": f"{ROOT}/lua/?.lua;;",
        # Their form is checked: nothing in an origin means something to nginx.
        "ORIGINS": "\n".join(f'    "{origin}" "{origin}";' for origin in origins.split(settings.allowed_origins)),
        "PROXIES": _proxies(networks.split(settings.trusted_proxies)),
        "RATE": NO_LIMIT if settings.rate_limit == "off" else settings.rate_limit,
    }
    for name in ("nginx.conf", "edge.conf", "cors.conf"):
        write(run / "nginx" / name, render((ROOT / "nginx" / name).read_text(), values, f"nginx/{name}"))


def descriptors(worker_connections: int) -> int:
    """How many files and sockets an nginx worker with so many connections may have open."""
    return 2 * worker_connections + 2000


def _proxies(trusted: list[str]) -> str:
    """Directives that take the visitor's address from X-Forwarded-For when one of these proxies sends it."""
    if not trusted:
        return ""
    lines = ["real_ip_header X-Forwarded-For", "real_ip_recursive on", *(f"set_real_ip_from {one}" for one in trusted)]
    return "\n".join(f"    {line};" for line in lines)


def bracketed(address: str) -> str:
    """An address as it stands before a port: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def write(path: Path, text: str, mode: int = 0o640) -> None:
    """Write a file whole and with its mode from the first byte on; one that holds ``text`` already stays as it is."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    draft.replace(path)
