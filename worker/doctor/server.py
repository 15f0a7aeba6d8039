"""Whether the Redis that runs is set up as this version has it: its settings, its users, its functions, its log."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from worker.doctor import users
from worker.doctor.check import Check, fail, ok, warn
from worker.store.connect import Store

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE, FUNCTIONS = ROOT / "scripts/redis/redis.conf", ROOT / "lua/redis"
RENDER = "make down && make up: Redis reads its configuration when it starts"
# Why each of these matters; the others of the template are compared, too.
REASONS = {
    "port": "it must not listen on TCP", "appendonly": "without its log a restart loses everything",
    "appendfsync": "everysec keeps a crash to two seconds of events",
    "maxmemory-policy": "another forgets what was seen",
}
FULL = 0.9  # share of maxmemory


def checks(store: Store) -> Iterator[Check]:
    """All of them; one that Redis does not answer is a failed check."""
    for name, examine in (("redis settings", _settings), ("redis users", users.check), ("redis functions", _functions),
                          ("redis log", _log), ("redis memory", _memory)):
        try:
            yield examine(store)
        except RedisError as error:
            yield fail(name, f"Redis refused to tell: {error}", RENDER)


def wanted(template: str) -> dict[str, str]:
    """The settings of a redis.conf that are the same for every stack: those without a placeholder."""
    lines = (line.split(maxsplit=1) for line in template.splitlines() if line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in lines if "@" not in value and name not in ("daemonize",)}


def _settings(store: Store) -> Check:
    if not TEMPLATE.exists():
        return warn("redis settings", f"{TEMPLATE} is not there to compare with", "run worker from its own checkout")
    expected = wanted(TEMPLATE.read_text())
    is_set: dict[Any, Any] = store.redis.config_get("*")
    found = {_text(name): _text(value) for name, value in is_set.items()}
    wrong = [f"{name} is {found[name] or 'empty'} instead of {value or 'empty'}"
             + (f" ({REASONS[name]})" if name in REASONS else "")
             for name, value in expected.items() if name in found and not _alike(found[name], value)]
    if wrong:
        return fail("redis settings", "; ".join(wrong), RENDER)
    return ok("redis settings", f"{len(expected)} compared; no TCP port, log on disk every second, nothing is evicted")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _alike(one: str, other: str) -> bool:
    return one == other or (one.isdecimal() and other.isdecimal() and int(one) == int(other))


def _functions(store: Store) -> Check:
    """The libraries in Redis are those of the files, by hash."""
    files = {_library(path.read_text()): _hash(path.read_text()) for path in sorted(FUNCTIONS.glob("*.lua"))}
    loaded = {name: _hash(code) for name, code in _loaded(store)}
    wrong = [f"{name} is {'not loaded' if name not in loaded else 'another version'}"
             for name, value in files.items() if loaded.get(name) != value]
    if wrong or not files:
        return fail("redis functions", "; ".join(wrong) or f"there are no files in {FUNCTIONS}",
                    "make up loads those of this version")
    return ok("redis functions", f"{', '.join(files)} are those of the files")


def _library(code: str) -> str:
    match = re.match(r"#!lua name=(\w+)", code)
    return match[1] if match else ""


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _loaded(store: Store) -> Iterator[tuple[str, str]]:
    rows: Any = store.redis.function_list(withcode=True)
    for row in rows:
        fields = dict(zip(row[::2], row[1::2], strict=True)) if isinstance(row, list) else row
        named = {_text(name): value for name, value in fields.items()}
        yield _text(named["library_name"]), _text(named["library_code"])


def _log(store: Store) -> Check:
    state: dict[str, Any] = store.redis.info("persistence")
    bad = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
           if state.get(name, "ok") != "ok"]
    if "aof_last_write_status" in bad:
        return fail("redis log", "the last write to its log failed: Redis refuses writes until one succeeds",
                    "make room on its disk, and look at RUN/log/redis.log")
    if bad:
        return warn("redis log", f"failed the last time: {', '.join(bad)}",
                    "is the disk full, or memory too short to fork? RUN/log/redis.log says why")
    return ok("redis log", f"written; {int(state.get('aof_current_size', 0)) / 2**20:.1f} MiB")


def _memory(store: Store) -> Check:
    state: dict[str, Any] = store.redis.info("memory")
    used, limit = int(state["used_memory"]), int(state["maxmemory"])
    text = f"{used / 2**20:.1f} MiB" + (f" of {limit / 2**20:.1f} MiB" if limit else ", no limit")
    if limit and used > FULL * limit:
        return fail("redis memory", f"{text}: at the limit beacons are refused", "raise redis_maxmemory")
    return ok("redis memory", text)
