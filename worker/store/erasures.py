"""Who was erased and when, under pseudonyms: so that neither late events nor a restored back-up bring a person back.

An erasure stands in two places. ``RUN/erasures.log`` is the ledger, one line each: Unix ms, partition, pseudonym. It
lies outside of Redis, so that restoring an older Redis does not lose it. ``erased:{partition}`` in Redis holds what
``nightfeed_record`` compares events with, for as long as an event from before may still arrive.

A pseudonym is a keyed hash: whoever has no key can't tell whether a given user is among them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.credentials import erasure_keys
from worker.keyspace import BUCKET_DAYS, DAY_MS, DAY_SECONDS, PARTITIONS, partition_key, partition_of
from worker.store.connect import Store, explained
from worker.store.errors import StoreError

LEDGER = "erasures.log"
# The widest window an event may be late by, and the bucket it falls into.
KEPT_DAYS = 90 + BUCKET_DAYS
_LINE = re.compile(r"(\d{1,15}) (\d{1,5}) ([0-9a-f]{40})")
_USER_KEY = re.compile(r"(?:acts:\{(\d+)\}:\d+|(?:seen|searches|list):\{(\d+)\}):(.+)", re.DOTALL)


@dataclass(frozen=True, order=True)
class Erasure:
    """One line of the ledger: when (Unix ms), in which partition, and whom."""

    at_ms: int
    partition: int
    pseudonym: str

    @property
    def line(self) -> str:
        """As it stands in the ledger."""
        return f"{self.at_ms} {self.partition} {self.pseudonym}\n"


def pseudonym(key: str, user: str) -> str:
    """The user under a key: two SHA-1 with half of it each. ``lua/redis/events.lua`` makes the same."""
    half = len(key) // 2
    inner = hashlib.sha1((key[:half] + user).encode()).hexdigest()
    return hashlib.sha1((key[half:] + inner).encode()).hexdigest()


def note(run: Path, user: str, at_ms: int) -> Erasure:
    """Write an erasure into the run directory's ledger, and to disk. Raises StoreError when that fails."""
    erasure = Erasure(at_ms, partition_of(user), pseudonym(erasure_keys(run)[0], user))
    try:
        _append(run / LEDGER, erasure.line)
    except OSError as error:
        raise StoreError(f"nothing was erased, because {run / LEDGER} cannot be written ({error.strerror}): it keeps "
                         "a restored back-up from bringing the person back. Make room, and erase again") from error
    return erasure


def _append(path: Path, line: str) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(handle).st_size
        # A line that a crash cut short was never answered for; it must not spoil the next one.
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, ("\n" * torn + line).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> list[Erasure]:
    """All erasures of a ledger file, oldest first; none when there is no file. What a crash cut short is left out."""
    text = path.read_text() if path.exists() else ""
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    return sorted({Erasure(int(match[1]), int(match[2]), match[3]) for match in matches if match})


def write(path: Path, erasures: Iterable[Erasure]) -> None:
    """Write a whole ledger, or nothing of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(erasure.line for erasure in sorted(set(erasures)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def mark(pipe: Any, erasures: Iterable[Erasure], now_ms: int) -> None:
    """Have events from before these erasures dropped: adds the commands to a pipeline. Older ones are left out."""
    oldest = now_ms - KEPT_DAYS * DAY_MS
    for erasure in erasures:
        if erasure.at_ms > oldest:
            key = partition_key("erased", erasure.partition)
            pipe.zadd(key, {erasure.pseudonym: erasure.at_ms}, gt=True)
            pipe.zremrangebyscore(key, "-inf", oldest)
            pipe.expire(key, KEPT_DAYS * DAY_SECONDS)


def partitions_since(store: Store, since_ms: int) -> list[int]:
    """Partitions in which somebody was erased at or after ``since_ms``."""
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.zcount(partition_key("erased", partition), since_ms, "+inf")
    return [partition for partition, erased in enumerate(pipe.execute()) if erased]


@explained("Redis")
def returned(store: Store, erasures: Sequence[Erasure], keys: Sequence[str]) -> dict[str, int]:
    """Users of whom the store holds something although the ledger has them: user to the time of the erasure."""
    times: dict[tuple[int, str], int] = {}
    for erasure in erasures:
        place = erasure.partition, erasure.pseudonym
        times[place] = max(times.get(place, 0), erasure.at_ms)
    found: dict[str, int] = {}
    for partition, user in _people(store, {partition for partition, _ in times}):
        at = [times[place] for key in keys if (place := (partition, pseudonym(key, user))) in times]
        if at:
            found[user] = max(at)
    return found


def _people(store: Store, partitions: set[int]) -> Iterator[tuple[int, str]]:
    """Every user named in some partitions, with the partition: in `users`, in lists, or at the end of a key."""
    known: set[str] = set()
    for partition in partitions:
        for user, _ in store.redis.zscan_iter(partition_key("users", partition), count=1000):
            known.add(user.decode())
        for user, _ in store.redis.hscan_iter(partition_key("list", partition), count=1000):
            known.add(user.decode())
    for name in store.redis.scan_iter(count=1000) if partitions else ():
        match = _USER_KEY.fullmatch(name.decode())
        if match and int(match[1] or match[2]) in partitions:
            known.add(match[3])
    for user in known:
        yield partition_of(user), user
