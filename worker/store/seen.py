"""Reads active users (ids as bytes) and their seen sets, a chunk at a time, for the nightly run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.seen_set import Words, words_of
from worker.store import lists
from worker.store.connect import Store
from worker.store.wire import Wire, pack, retrying

Visitors = tuple[list[bytes], NDArray[np.int64]]

SCANNED = 500  # users of a page: a quarter of a millisecond
# Users asked for at once: their replies still lie in the processor's cache when they are taken apart, and Redis is
# never held up by more than some tens of kilobytes of them.
WINDOW = 64
COMPACTED = 32  # users of one call: half a millisecond, or less


def scan_many(wire: Wire, partition: int, since_ms: int, chunk: int) -> Iterator[Visitors]:
    """Users of a partition last seen at or after ``since_ms``, ``chunk`` at a time: ids, and last seen in Unix ms.

    Read in the order of their last visits, so that Redis never works long at one command. Whoever comes meanwhile moves
    to the end, which is still to be read: nobody is missed, and one that is met twice is given once.
    """
    known: set[bytes] = set()
    users: list[bytes] = []
    times = np.empty(0, np.int64)
    for page in _pages(wire, keyspace.partition_key("users", partition), since_ms):
        found, last_seen_ms = _new(page, known)
        users += found
        times = np.concatenate([times, last_seen_ms])
        while len(users) >= chunk:
            yield users[:chunk], times[:chunk]
            users, times = users[chunk:], times[chunk:]
    if users:
        yield users, times


def _new(page: list[bytes], known: set[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Users of a page who are not ``known`` yet, and when they were last seen; they are known from now on."""
    users = page[::2]
    times = np.fromiter(map(float, page[1::2]), np.float64, len(users)).astype(np.int64)
    if not known.isdisjoint(users):
        places = [at for at, user in enumerate(users) if user not in known]
        users, times = [users[at] for at in places], times[places]
    known.update(users)
    return users, times


def _pages(wire: Wire, key: str, since_ms: int) -> Iterator[list[bytes]]:
    """A sorted set from a score on, some a page: member, score, member, …, by score.

    A page that is full ends where a score does: those of the next one may go on beyond it. Where all of a page have one
    score, whoever else has it comes at once.
    """
    start = b"%d" % since_ms
    while True:
        request = pack("ZRANGEBYSCORE", key, start, "+inf", "WITHSCORES", "LIMIT", 0, SCANNED)
        [page] = retrying(partial(wire.exchange, request, 1), "reading users")
        if len(page) < 2 * SCANNED:
            yield page
            return
        last = page[-1]
        if page[1] == last:
            request = pack("ZRANGEBYSCORE", key, last, last, "WITHSCORES")
            [page] = retrying(partial(wire.exchange, request, 1), "reading users")
            yield page
            start = b"(" + last
        else:
            end = len(page)
            while page[end - 1] == last:
                end -= 2
            yield page[:end]
            start = last


def sample_users(store: Store, since_ms: int, size: int) -> dict[int, Visitors]:
    """Some active users of every partition, most recent first, about ``size`` in all."""
    each = -(-size // keyspace.PARTITIONS)
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        key = keyspace.partition_key("users", partition)
        pipe.zrevrangebyscore(key, "+inf", since_ms, start=0, num=each, withscores=True)
    return {
        partition: ([user for user, _ in pairs], np.array([int(ms) for _, ms in pairs], np.int64))
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
    """Drop users last seen before ``before_ms``, and their lists; their other keys expire by themselves."""
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(keyspace.PARTITIONS):
        pipe.zrangebyscore(keyspace.partition_key("users", partition), "-inf", f"({before_ms}")
    for partition, gone in enumerate(pipe.execute()):
        # Whoever comes back at this very moment has the default list until the next night.
        lists.drop(store, map(bytes.decode, gone))
        pipe.zremrangebyscore(keyspace.partition_key("users", partition), "-inf", f"({before_ms}")
    pipe.execute()


def read_seen(store: Store, user: str) -> Words:
    """Words of one user's seen set, (n,), over the store's ordinary connection."""
    return words_of(cast(bytes | None, store.redis.get(keyspace.user_key("seen", user))))


def read_many(wire: Wire, users: Sequence[bytes],
              rows: Sequence[tuple[int, slice]]) -> tuple[Words, NDArray[np.int64]]:
    """Words of the users' seen sets: ``(words, offsets)``, those of user ``u`` at ``offsets[u]:offsets[u + 1]``.

    ``rows`` gives the partition of each slice of ``users``, in order and without gaps. ``words`` (n,) uint32;
    ``offsets`` (users + 1,) int64.

    Raises StoreDown or StoreError, see Wire.exchange; reading again is harmless.
    """
    found: list[bytes] = []
    for window in _windows(rows):
        requests = [_request(users[part], partition) for partition, part in window]
        for replies in wire.exchange(b"".join(requests), len(requests)):
            found += [raw or b"" for raw in replies]
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, found), np.int64, len(found)) // 4, out=offsets[1:])
    return words_of(b"".join(found)), offsets


def compact(wire: Wire, partition: int, users: Sequence[bytes]) -> None:
    """Give back the memory that seen sets of the partition's ``users`` have to spare; what they hold stays.

    Raises StoreDown or StoreError, see Wire.exchange; doing it again is harmless.
    """
    head = keyspace.partition_key("seen", partition, "").encode()
    for first in range(0, len(users), COMPACTED):
        keys = [head + user for user in users[first : first + COMPACTED]]
        wire.exchange(pack("FCALL", "nightfeed_compact", len(keys), *keys), 1)


def _windows(rows: Sequence[tuple[int, slice]]) -> Iterator[list[tuple[int, slice]]]:
    """The same rows in order, about WINDOW users at a time."""
    window, size = list[tuple[int, slice]](), 0
    for partition, part in rows:
        for first in range(part.start, part.stop, WINDOW):
            piece = slice(first, min(first + WINDOW, part.stop))
            window.append((partition, piece))
            size += piece.stop - piece.start
            if size >= WINDOW:
                yield window
                window, size = [], 0
    if window:
        yield window


def _request(users: Sequence[bytes], partition: int) -> bytes:
    """A packed MGET of the users' seen sets: a tenth less for Redis than a GET for each."""
    head = keyspace.partition_key("seen", partition, "").encode()
    starts = _Starts(head)
    keys = [starts[len(user)] + user for user in users]
    return b"".join([b"*%d\r\n$4\r\nMGET" % (1 + len(keys)), *keys, b"\r\n"])


class _Starts(dict[int, bytes]):
    """By length of the user's id: what stands before it in the command."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self._head = head

    def __missing__(self, size: int) -> bytes:
        self[size] = b"\r\n$%d\r\n%s" % (len(self._head) + size, self._head)
        return self[size]
