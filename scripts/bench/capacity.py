"""Memory of Redis, in bytes a user, and what larger sites would need by it."""

from __future__ import annotations

import math
from typing import Any, cast

from scripts.bench.machine import memory_bytes
from scripts.bench.nightly_command import settle
from scripts.bench.private_stack import PrivateStack
from scripts.bench.processes import peak_bytes
from worker import keyspace
from worker.store import generations
from worker.store.connect import Store

SITES = (10_000_000, 100_000_000)
# Part of a host's memory that Redis's data may take: a rewrite of its file copies pages that are written meanwhile.
DATA_SHARE = 0.6


def used(stack: PrivateStack) -> int:
    """Bytes that Redis has allocated for all but generations, when nothing else goes on.

    Runs keep eight generations, whatever the number of users: with few users they would pass for theirs.
    """
    settle(stack)
    return int(cast(dict[str, int], stack.store.redis.info("memory"))["used_memory"]) - _generations(stack.store)


def _generations(store: Store) -> int:
    """Bytes of the pools, default lists and plans of all generations that are kept, and of the rankings."""
    kept = generations.state(store).get("history", "").split()
    pipe = store.redis.pipeline(transaction=False)
    for key in [keyspace.key(name, number) for number in kept for name in ("pool", "default", "older", "plan")]:
        pipe.memory_usage(key)
    for name in ("top", "new", "runs"):
        pipe.memory_usage(keyspace.key(name), samples=0)
    return sum(size or 0 for size in pipe.execute())


def per_user(store: Store, before: int, filled: int, published: int, users: int) -> dict[str, float]:
    """Bytes a user, from what Redis had allocated before there were users, with them, and with their lists.

    ``before_first_run``: without lists, and with the room that appending has left in seen sets; the run takes it back.
    """
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        pipe.memory_usage(keyspace.partition_key("list", partition), samples=100)
    every, lists = (published - before) / users, sum(size or 0 for size in pipe.execute()) / users
    return {"before_first_run": round((filled - before) / users, 1), "seen_and_users": round(every - lists, 1),
            "list": round(lists, 1), "all": round(every, 1)}


def redis_memory(stack: PrivateStack, ready: int) -> dict[str, float]:
    """Memory of Redis in MB: ``ready`` bytes of data and lists, and the most that was allocated and resident ever."""
    info = cast(dict[str, int], stack.store.redis.info("memory"))
    return {"ready_mb": _mb(ready), "peak_allocated_mb": _mb(info["used_memory_peak"]),
            "peak_resident_mb": _mb(peak_bytes(stack.redis_pid()))}


def extrapolated(bytes_per_user: float, users_per_second: float) -> list[dict[str, Any]]:
    """What larger numbers of users need, if time and memory a user stay what they are."""
    room = memory_bytes() * DATA_SHARE
    rows = []
    for users in SITES:
        hosts, seconds = math.ceil(users * bytes_per_user / room), users / users_per_second
        rows.append({"users": users, "redis_gb": round(users * bytes_per_user / 1e9, 1),
                     "hours_on_this_machine": round(seconds / 3600, 2), "hosts_like_this": hosts,
                     "hours_on_those": round(seconds / hosts / 3600, 2)})
    return rows


def _mb(count: int) -> float:
    return round(count / 1e6, 1)
