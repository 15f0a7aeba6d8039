"""Reads active users and their seen sets, a chunk at a time, for the nightly run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.packing import unpack_intset
from worker.store.connect import Store

Visitors = tuple[list[str], NDArray[np.int64]]


def scan_users(store: Store, partition: int, since_ms: int, chunk: int) -> Iterator[Visitors]:
    """Users of a partition last seen at or after ``since_ms``, ``chunk`` at a time: ids, and last seen in Unix ms.

    Read by cursor, so that Redis never works long at one command; one that a growing set shows twice is given once.
    """
    found = _once(store.redis.zscan_iter(keyspace.partition_key("users", partition), count=1000), since_ms)
    while batch := list(itertools.islice(found, chunk)):
        yield [user.decode() for user, _ in batch], np.array([int(ms) for _, ms in batch], np.int64)


def _once(found: Iterator[tuple[bytes, float]], since_ms: int) -> Iterator[tuple[bytes, float]]:
    known: set[bytes] = set()
    for user, last_seen_ms in found:
        if last_seen_ms >= since_ms and user not in known:
            known.add(user)
            yield user, last_seen_ms


def sample_users(store: Store, since_ms: int, size: int) -> dict[int, Visitors]:
    """Some active users of every partition, most recent first, about ``size`` in all."""
    each = -(-size // keyspace.PARTITIONS)
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        key = keyspace.partition_key("users", partition)
        pipe.zrevrangebyscore(key, "+inf", since_ms, start=0, num=each, withscores=True)
    return {
        partition: ([user.decode() for user, _ in pairs], np.array([int(ms) for _, ms in pairs], np.int64))
        for partition, pairs in enumerate(pipe.execute())
        if pairs
    }


def count_users(store: Store, since_ms: int) -> list[int]:
    """Active users of each partition."""
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        pipe.zcount(keyspace.partition_key("users", partition), since_ms, "+inf")
    counts: list[int] = pipe.execute()
    return counts


def forget_inactive(store: Store, before_ms: int) -> None:
    """Drop users last seen before ``before_ms``; their other keys expire by themselves."""
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        pipe.zremrangebyscore(keyspace.partition_key("users", partition), "-inf", f"({before_ms}")
    pipe.execute()


def read_seen(store: Store, users: Sequence[str],
              buckets: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members of the users' seen sets: ``(members, rows)``, both (n,) int64; ``rows`` says whose they are.

    A set is read as Redis's own dump of an intset, raw integers; one in another encoding (too many members for an
    intset) is read by its members.
    """
    keys = [keyspace.user_key("seen", user, bucket) for user in users for bucket in buckets]
    pipe = store.redis.pipeline(transaction=False)
    for key in keys:
        pipe.dump(key)
    parts: list[NDArray[np.int64]] = []
    owners: list[int] = []
    for index, dump in enumerate(pipe.execute()):
        if dump is not None:
            parts.append(_members(store, keys[index], dump))
            owners.append(index // len(buckets))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(parts), np.repeat(np.array(owners, np.int64), [len(part) for part in parts])


def _members(store: Store, key: str, dump: bytes) -> NDArray[np.int64]:
    members = unpack_intset(dump)
    if members is None:
        members = np.array([int(member) for member in store.redis.smembers(key)], np.int64)
    return members
