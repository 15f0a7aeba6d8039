"""Reads active users and their seen sets, a chunk at a time, for the nightly run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.store.connect import Store
from worker.store.intsets import Members, Unpack, members_of
from worker.store.wire import Wire, pack, retrying

Visitors = tuple[list[str], NDArray[np.int64]]

SCANNED = 1000  # entries that Redis looks at for a page: a fraction of a millisecond
BUCKET_MS = keyspace.BUCKET_DAYS * keyspace.DAY_MS
# Users asked for at once: their replies still lie in the processor's cache when they are taken apart, and Redis is
# never held up by more than a few hundred kilobytes of them.
WINDOW = 512


def scan_many(wire: Wire, partition: int, since_ms: int, chunk: int) -> Iterator[Visitors]:
    """Users of a partition last seen at or after ``since_ms``, ``chunk`` at a time: ids, and last seen in Unix ms.

    Read by cursor, so that Redis never works long at one command; one that a growing set shows twice is given once. A
    cursor means nothing to a Redis that was restarted meanwhile: the scan begins again then, and repeats nobody.
    """
    known: set[bytes] = set()
    users: list[str] = []
    times = np.empty(0, np.int64)
    for page in _pages(wire, keyspace.partition_key("users", partition)):
        found, last_seen_ms = _recent(page, since_ms, known)
        users += map(bytes.decode, found)
        times = np.concatenate([times, last_seen_ms])
        while len(users) >= chunk:
            yield users[:chunk], times[:chunk]
            users, times = users[chunk:], times[chunk:]
    if users:
        yield users, times


def _recent(page: list[bytes], since_ms: int, known: set[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Users of a page that were here since and are not ``known`` yet; they are from now on."""
    users = page[::2]
    times = np.fromiter(map(float, page[1::2]), np.float64, len(users)).astype(np.int64)
    fresh = dict(zip(users, range(len(users)), strict=True))
    if len(fresh) < len(users) or times.min(initial=since_ms) < since_ms or not known.isdisjoint(fresh):
        places = [at for user, at in fresh.items() if times[at] >= since_ms and user not in known]
        users, times = [users[at] for at in places], times[places]
    known.update(users)
    return users, times


def _pages(wire: Wire, key: str) -> Iterator[list[bytes]]:
    """All of a sorted set, some a page: member, score, member, …; some may come twice."""
    cursor, server = b"0", ""
    while True:
        request = pack("ZSCAN", key, cursor, "COUNT", SCANNED)
        [(following, page)] = retrying(partial(wire.exchange, request, 1), "reading users")
        # A cursor is a place in a hash table, which a restarted Redis lays out in another order: begin again.
        moved, server = cursor != b"0" and server != wire.server, wire.server
        cursor = b"0" if moved else following
        yield page
        if cursor == b"0" and not moved:
            return


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

    For some users at a time, over the store's ordinary connection; ``read_many`` is the nightly run's.
    """
    keys = [keyspace.user_key("seen", user, bucket) for user in users for bucket in buckets]
    pipe = store.redis.pipeline(transaction=False)
    for key in keys:
        pipe.dump(key)
    members, counts = members_of(pipe.execute(), lambda index: store.redis.smembers(keys[index]))
    rows = np.repeat(np.arange(len(keys)) // max(len(buckets), 1), counts)
    return members.astype(np.int64), rows


def read_many(wire: Wire, users: Sequence[str], rows: Sequence[tuple[int, slice]], last_seen_ms: NDArray[np.int64],
              buckets: Sequence[int], unpack: Unpack = members_of) -> tuple[Members, NDArray[np.int64]]:
    """Members of the users' seen sets: ``(members, offsets)``, those of user ``u`` at ``offsets[u]:offsets[u + 1]``.

    ``rows`` gives the partition of each slice of ``users``, in order and without gaps; ``last_seen_ms`` (users,) is
    their score in ``users``; ``buckets`` are the live ones, newest first, without gaps. A bucket newer than a user's
    last visit is not asked for: the score is the newest event's time, written with it, so there was no such set when
    the score was read. ``unpack`` is members_of or a twin of it. ``members`` (n,) is int32, or int64 if one is too
    large for that; ``offsets`` (users + 1,) int64.

    Raises StoreDown or StoreError, see Wire.exchange; reading again is harmless.
    """
    newer = np.clip(buckets[0] - last_seen_ms // BUCKET_MS, 0, len(buckets))
    starts = np.concatenate([[0], np.cumsum(len(buckets) - newer)])
    requests = [request for partition, part in rows
                for request in _requests(users[part], newer[part].tolist(), partition, buckets)]
    asked = _Asked(wire, users, buckets, newer, starts, requests)
    parts = [asked.read(first, min(first + WINDOW, len(users)), unpack) for first in range(0, len(users), WINDOW)]
    members: Members = np.concatenate([np.empty(0, np.int32), *(members for members, _ in parts)])
    ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *(counts for _, counts in parts)]))
    return members, ends[starts]


@dataclass(frozen=True)
class _Asked:
    """Which sets are read: of each user those in ``buckets`` but the first ``newer``; from ``starts`` on in all."""

    wire: Wire
    users: Sequence[str]
    buckets: Sequence[int]
    newer: NDArray[np.int64]
    starts: NDArray[np.int64]
    requests: Sequence[bytes]

    def read(self, first: int, last: int, unpack: Unpack) -> tuple[Members, NDArray[np.int64]]:
        """Members, and how many each set has, of users ``first`` to ``last``."""
        begin = int(self.starts[first])
        dumps = self.wire.exchange(b"".join(self.requests[first:last]), int(self.starts[last]) - begin)
        return unpack(dumps, lambda index: self._members(begin + index))

    def _members(self, index: int) -> list[bytes]:
        user = int(np.searchsorted(self.starts, index, side="right")) - 1
        bucket = self.buckets[int(self.newer[user] + index - self.starts[user])]
        key = keyspace.user_key("seen", self.users[user], bucket)
        found: list[bytes] = self.wire.exchange(pack("SMEMBERS", key), 1)[0]
        return found


def _requests(users: Sequence[str], newer: Sequence[int], partition: int, buckets: Sequence[int]) -> list[bytes]:
    """Packed commands for each user: dumps of the sets in ``buckets`` but the first ``newer``."""
    templates = [_Template(partition, buckets[skipped:]) for skipped in range(len(buckets) + 1)]
    return [user.join(templates[skipped][len(user)])
            for user, skipped in zip(map(str.encode, users), newer, strict=True)]


class _Template(dict[int, list[bytes]]):
    """By length of the user's id: what stands before, between and behind the id in its commands."""

    def __init__(self, partition: int, buckets: Sequence[int]) -> None:
        super().__init__()
        self._prefixes = [keyspace.partition_key("seen", partition, bucket, "").encode() for bucket in buckets]

    def __missing__(self, size: int) -> list[bytes]:
        heads = [b"*2\r\n$4\r\nDUMP\r\n$%d\r\n%s" % (len(prefix) + size, prefix) for prefix in self._prefixes]
        self[size] = [*heads[:1], *(b"\r\n" + head for head in heads[1:]), b"\r\n"] if heads else []
        return self[size]
