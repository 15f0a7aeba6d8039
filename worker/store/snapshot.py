"""Has Redis write a snapshot of one moment, and tells what must be in it: how many keys, and some of them in full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import ResponseError

from worker.keyspace import KINDS, PARTITIONS, key, partition_key
from worker.store.connect import Store, explained
from worker.store.errors import StoreError

PAUSE_MS = 3000  # writers wait for the fork and the sample; at most so long, should this process die meanwhile
POLL_SECONDS = 0.05
TRIES = 5
SAMPLE = 300
LARGEST = 1 << 16  # bytes of a key that is compared in full
SEEN_SAMPLE = 1000
LENGTHS = {b"string": "STRLEN", b"hash": "HLEN", b"set": "SCARD", b"zset": "ZCARD", b"list": "LLEN"}
CONTENTS = {b"hash": "HGETALL", b"set": "SMEMBERS"}  # these may lie in another order in another server

# A key's type, its DUMP, its contents where order is free, and when it expires (Unix ms, below 0: never).
Entry = tuple[bytes, bytes | None, Any, int]


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot must hold: the number of keys, the lengths of the large ones, and a sample in full."""

    file: Path
    keys: int
    lengths: dict[bytes, tuple[bytes, int]]
    sample: dict[bytes, Entry]


@explained("Redis")
def take(store: Store) -> Snapshot:
    """Write a snapshot and wait until it is on disk. Writers wait for the fork and some milliseconds more.

    Raises StoreError when Redis can't write it, with the reason as far as Redis tells.
    """
    file = _file(store)
    for _ in range(TRIES):
        _wait_for_child(store)
        file.unlink(missing_ok=True)
        begun, snapshot = _begin(store, file)
        if begun:
            _wait_for_child(store)
            if store.redis.info("persistence")["rdb_last_bgsave_status"] != "ok" or not file.exists():
                raise StoreError("Redis could not write the snapshot: its disk may be full, or memory too short to "
                                 f"fork (see {store.run / 'log/redis.log'})")
            return snapshot
    raise StoreError("Redis is busy rewriting its log again and again: try once more later")


def _file(store: Store) -> Path:
    found = {**store.redis.config_get("dir"), **store.redis.config_get("dbfilename")}
    named = {_text(name): _text(value) for name, value in found.items()}
    return Path(named["dir"]) / named["dbfilename"]


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _wait_for_child(store: Store) -> None:
    while any(store.redis.info("persistence")[name] for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")):
        time.sleep(POLL_SECONDS)


def _begin(store: Store, file: Path) -> tuple[bool, Snapshot]:
    """Start the snapshot and read what is in it, both while writers wait. False when Redis was busy."""
    sample, lengths = _choose(store.redis)
    pipe: Any = store.redis.pipeline(transaction=False)
    pipe.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
    pipe.bgsave(schedule=False)
    pipe.dbsize()
    _ask(pipe, sample, lengths)
    pipe.execute_command("CLIENT", "UNPAUSE")
    paused, begun, keys, *answers, _ = pipe.execute(raise_on_error=False)
    for reply in (paused, keys, *answers):
        if isinstance(reply, Exception):
            raise reply
    if isinstance(begun, Exception) and not (isinstance(begun, ResponseError) and "in progress" in str(begun)):
        raise begun
    entries, sizes = _answers(answers, sample, lengths)
    return not isinstance(begun, Exception), Snapshot(file, keys, sizes, entries)


def _choose(client: redis.Redis) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Keys to compare in full, drawn at random, and those to compare by length; each with its type."""
    pipe: Any = client.pipeline(transaction=False)
    for _ in range(SAMPLE):
        pipe.randomkey()
    drawn = sorted({name for name in pipe.execute() if name is not None})
    named = [key(name).encode() for name, kind in KINDS.items() if kind.tag == "shared" and not kind.parts]
    named += [partition_key("users", partition).encode() for partition in range(PARTITIONS)]
    for name in drawn:
        pipe.memory_usage(name)
    sizes = dict(zip(drawn, pipe.execute(), strict=True))
    small = [name for name in drawn if (sizes[name] or 0) <= LARGEST]
    types = _types(client, small + named)
    return {name: types[name] for name in small}, {name: types[name] for name in named}


def _types(client: redis.Redis, names: Sequence[bytes]) -> dict[bytes, bytes]:
    pipe: Any = client.pipeline(transaction=False)
    for name in names:
        pipe.type(name)
    return dict(zip(names, pipe.execute(), strict=True))


def _ask(pipe: Any, sample: dict[bytes, bytes], lengths: dict[bytes, bytes]) -> None:
    for name, kind in sample.items():
        pipe.dump(name)
        pipe.execute_command("PEXPIRETIME", name)
        pipe.execute_command(CONTENTS.get(kind, "EXISTS"), name)
    for name, kind in lengths.items():
        pipe.execute_command(LENGTHS.get(kind, "EXISTS"), name)


def _answers(answers: list[Any], sample: dict[bytes, bytes],
             lengths: dict[bytes, bytes]) -> tuple[dict[bytes, Entry], dict[bytes, tuple[bytes, int]]]:
    parts = iter(answers)
    entries = {name: (kind, next(parts), next(parts), next(parts)) for name, kind in sample.items()}
    return ({name: (kind, dump, contents, expires) for name, (kind, dump, expires, contents) in entries.items()},
            {name: (kind, next(parts)) for name, kind in lengths.items()})


def differences(client: redis.Redis, snapshot: Snapshot) -> list[str]:
    """What a server that has just loaded the snapshot has otherwise than was in it; one sentence each."""
    loaded = loaded_keys(client)
    found = [] if loaded == snapshot.keys else [f"{loaded} keys instead of {snapshot.keys}"]
    pipe: Any = client.pipeline(transaction=False)
    _ask(pipe, {name: entry[0] for name, entry in snapshot.sample.items()},
         {name: kind for name, (kind, _) in snapshot.lengths.items()})
    entries, sizes = _answers(pipe.execute(), {name: entry[0] for name, entry in snapshot.sample.items()},
                              {name: kind for name, (kind, _) in snapshot.lengths.items()})
    now_ms = time.time() * 1000
    found += [f"{name.decode()} differs" for name, entry in snapshot.sample.items()
              if not _same(entry, entries[name]) and not 0 <= entry[3] <= now_ms]
    return found + [f"{name.decode()} has length {sizes[name][1]} instead of {length}"
                    for name, (_, length) in snapshot.lengths.items()
                    if sizes[name][1] != length and name != key("lease").encode()]


def _same(one: Entry, other: Entry) -> bool:
    """Byte for byte; hashes and sets of many entries by contents, because each server has an order of its own."""
    same = one[1] == other[1] or (one[0] in CONTENTS and one[2] == other[2])
    return same and one[3] == other[3]


def loaded_keys(client: redis.Redis) -> int:
    """How many keys a server found in the snapshot that it started from, expired ones included."""
    info: dict[str, Any] = client.info("persistence")
    return int(info["rdb_last_load_keys_loaded"]) + int(info["rdb_last_load_keys_expired"])


def count(client: Any) -> dict[str, Any]:
    """Keys of each kind (``by_kind``), users, items (numbers given out), and sets and members of ``seen_sample``."""
    kinds: Counter[str] = Counter()
    seen: list[bytes] = []
    for name in client.scan_iter(count=1000):
        kinds[name.partition(b":")[0].decode()] += 1
        if name.startswith(b"seen:") and len(seen) < SEEN_SAMPLE:
            seen.append(name)
    users = [partition_key("users", partition).encode() for partition in range(PARTITIONS)]
    members = sum(_lengths(client, "STRLEN", seen)) // 4
    return {"by_kind": dict(sorted(kinds.items())), "users": sum(_lengths(client, "ZCARD", users)),
            "items": int(client.execute_command("HLEN", key("ids"))),
            "seen_sample": {"sets": len(seen), "members": members}}


def _lengths(client: Any, command: str, names: Sequence[bytes]) -> Iterator[int]:
    rest = iter(names)
    while some := list(islice(rest, 1000)):
        pipe: Any = client.pipeline(transaction=False)
        for name in some:
            pipe.execute_command(command, name)
        yield from pipe.execute()
