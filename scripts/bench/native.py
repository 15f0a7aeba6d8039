"""What `worker nightly` is compared with: the simplest programs a person would write, on the same data and Redis.

Both get each user's seen items in one set and write over lists that exist already. Neither mixes in new items, keeps
the best evergreen ones, checks anything or survives a kill, and the first does not space. The first is Redis's work:
more processes would not make it faster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from scripts.bench.other_work import OtherWork
from worker import keyspace
from worker.keyspace import user_key
from worker.packing import unpack_pool
from worker.seen_set import parts_of, words_of
from worker.store import items
from worker.store.connect import Store

PIPELINE = 500
PASSES = 3  # over lists that exist; the fastest counts
PYTHON_PASSES = 2  # the first makes its lists
SCRATCH = "bench:{native}:"
TOP = SCRATCH + "top"
CANDIDATES = 2  # times the list's length that the Python loop spaces

Client = redis.Redis


def measure(store: Store, redis_pid: int, users: Sequence[str], python_users: int, length: int) -> dict[str, Any]:
    """Users a second of both ways, on ``users`` and the first ``python_users`` of them; the store is left as it was."""
    client = store.redis
    top = _top(store)
    try:
        seen = _prepare(client, users, top)
        first = _zdiffstore(client, len(users))
        with OtherWork(redis_pid) as others:
            passes = [_zdiffstore(client, len(users)) for _ in range(PASSES)]
        python = max(_python(store, python_users, top, length) for _ in range(PYTHON_PASSES))
    finally:
        _remove(client, len(users))
    return {
        "users_per_second": round(max(passes)),
        "passes_users_per_second": [round(each) for each in passes],
        "fresh_lists_users_per_second": round(first),
        "python_users_per_second": round(python),
        "other_work_cores": others.cores,
        "users": len(users), "python_users": python_users, "top": len(top), "pipeline": PIPELINE,
        "seen_per_user": round(sum(map(len, seen)) / len(users), 1),
        "seen_in_top_per_user": round(sum(len(each & set(top)) for each in seen) / len(users), 1),
    }


def _top(store: Store) -> list[int]:
    """Numbers of the top content of the last run, best first."""
    client: Any = store.redis
    generation = int(client.hget(keyspace.key("generation"), "generation"))
    pool = unpack_pool(client.get(keyspace.key("pool", generation)))
    numbers: list[int] = pool.items[: pool.top_count].tolist()
    return numbers


def _prepare(client: Client, users: Sequence[str], top: Sequence[int]) -> list[set[int]]:
    """One seen set a user, and the sorted set of top content. Returns what the users have seen."""
    client.zadd(TOP, {str(number): len(top) - rank for rank, number in enumerate(top)})
    seen: list[set[int]] = []
    for rows in _parts(len(users)):
        pipe = client.pipeline(transaction=False)
        for row in rows:
            pipe.get(user_key("seen", users[row]))
        found = [{parts_of(word)[0] for word in words_of(raw).tolist()} for raw in pipe.execute()]
        for row, numbers in zip(rows, found, strict=True):
            pipe.sadd(f"{SCRATCH}seen:{row}", *numbers)
        pipe.execute()
        seen += found
    return seen


def _zdiffstore(client: Client, users: int) -> float:
    """Users a second: top content minus seen, by Redis."""
    start = time.perf_counter()
    for rows in _parts(users):
        pipe = client.pipeline(transaction=False)
        for row in rows:
            pipe.zdiffstore(f"{SCRATCH}list:{row}", [TOP, f"{SCRATCH}seen:{row}"])
        pipe.execute()
    return users / (time.perf_counter() - start)


def _python(store: Store, users: int, top: Sequence[int], length: int) -> float:
    """Users a second: seen sets read by SMEMBERS, subtracted and spaced in Python, lists written as JSON."""
    meta = items.read_meta(store)
    category = {number: int(meta["category"][number - 1]) for number in top}
    start = time.perf_counter()
    for rows in _parts(users):
        pipe = store.redis.pipeline(transaction=False)
        for row in rows:
            pipe.smembers(f"{SCRATCH}seen:{row}")
        for row, members in zip(rows, pipe.execute(), strict=True):
            seen = set(map(int, members))
            left = [number for number in top if number not in seen][: CANDIDATES * length]
            pipe.set(f"{SCRATCH}json:{row}", json.dumps(spaced(left, category, store.settings.gap, length)))
        pipe.execute()
    return users / (time.perf_counter() - start)


def spaced(left: list[int], category: dict[int, int], gap: int, length: int) -> list[int]:
    """The best item first whose category is not among the last ``gap``, ``length`` times; else simply the best."""
    waiting, placed = list(left), list[int]()
    while waiting and len(placed) < length:
        recent = {category[number] for number in placed[-gap:]} if gap else set()
        place = next((at for at, number in enumerate(waiting) if category[number] not in recent), 0)
        placed.append(waiting.pop(place))
    return placed


def _remove(client: Client, users: int) -> None:
    client.unlink(TOP)
    for rows in _parts(users):
        client.unlink(*(f"{SCRATCH}{name}:{row}" for row in rows for name in ("seen", "list", "json")))


def _parts(users: int) -> Iterator[range]:
    return (range(start, min(start + PIPELINE, users)) for start in range(0, users, PIPELINE))
