"""Publishes user lists: whole windows of them in one transaction each, which a newer run's fencing token prevents.

All lists of a partition are fields of one hash: a window is one ``HSET``, which costs Redis a quarter of a ``SET`` for
each user. The fence is compared in the step that writes: it is watched before it is read, so that ``EXEC`` writes
nothing when anybody has changed it since. Reading it for the next window travels with this window's ``EXEC``.

A hash expires as a whole. Fields go when their user is forgotten: ``drop``, and ``drop_strangers`` for those that were
written while their user was erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.packing import LIST_HEADER, VERSION
from worker.store.connect import Store
from worker.store.errors import StoreError
from worker.store.generations import FencedError, RestartedError, Turn
from worker.store.wire import Wire, pack

# Lists of one transaction: about a quarter of a millisecond of Redis, in which it serves nobody else.
WINDOW = 64
PACKED = 512  # lists that are packed at once: what that costs once is then little for each window

Bytes = NDArray[np.uint8]
# A field of many commands: the same bytes in each, or a row for each (n, width) and which bytes of it count.
Field = bytes | tuple[Bytes, NDArray[np.bool_] | None]
# A partition, and which rows of something are its users'.
Part = tuple[int, slice]


@dataclass(frozen=True)
class Lists:
    """Finished lists of users.

    ``entries`` (users, width) uint16, of which the first ``lengths`` (users,) count; ``expires``, when all lists of
    their partitions do unless there is another run, and ``made_at`` are Unix seconds.
    """

    users: Sequence[bytes]
    entries: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    expires: int
    generation: int
    made_at: int

    def part(self, rows: slice) -> Lists:
        """The lists of some rows."""
        return Lists(self.users[rows], self.entries[rows], self.lengths[rows], self.expires, self.generation,
                     self.made_at)


def list_key(user: str) -> str:
    """The hash of the user's partition, in which the list is the field named like the user."""
    return keyspace.partition_key("list", keyspace.partition_of(user))


def publish_lists(wire: Wire, parts: Sequence[Part], turn: Turn, lists: Lists, window: int = WINDOW) -> None:
    """Write ``lists``, ``window`` at a time, each window whole or not at all; doing it again changes nothing.

    ``parts`` gives the partition of each slice of them, in order. All on one connection, or not at all: a Redis that
    was restarted may not know the plan of these lists.

    Raises RestartedError when it is not the Redis of the turn, FencedError when a newer run has begun, StoreDown or
    StoreError (see Wire.exchange) when Redis fails; the windows before that are written.
    """
    fence, transaction = None, list[bytes]()
    for partition, command in pack_lists(parts, lists, window):
        following = fence if fence and fence.partition == partition else _Fence(wire, partition, turn.token)
        if fence is None:
            following.watch()
            if turn.server and wire.server != turn.server:
                wire.close()
                raise RestartedError
        else:
            _write(wire, transaction, fence, following)
        expire = pack("EXPIREAT", keyspace.partition_key("list", partition), lists.expires)
        fence, transaction = following, [pack("MULTI"), command, expire, pack("EXEC")]
    if fence is not None:
        _write(wire, transaction, fence, None)


def _write(wire: Wire, transaction: list[bytes], fence: _Fence, following: _Fence | None) -> None:
    """A transaction of four commands, under its fence; the look at the fence that the next one needs goes along."""
    request = b"".join([*transaction, following.request] if following else transaction)
    while True:
        replies = wire.exchange(request, 6 if following else 4)
        if following:
            following.check(replies[4:])
        if replies[3] is not None:
            return
        fence.watch()


class _Fence:
    """The newest token that a partition was written with, watched and compared."""

    def __init__(self, wire: Wire, partition: int, token: int) -> None:
        self.partition = partition
        self._wire, self._token = wire, token
        self._key = keyspace.partition_key("fence", partition)
        self.request = pack("WATCH", self._key) + pack("HGET", self._key, "token")

    def watch(self) -> None:
        """Watch it until the next transaction. Raises as ``check``."""
        self.check(self._wire.exchange(self.request, 2))

    def check(self, replies: list[object]) -> None:
        """``replies`` to the request. Raises FencedError when a newer run has begun; an older fence is raised."""
        stored = _token(replies[1])
        if stored < self._token:
            self._raise()
        elif stored > self._token:
            self._wire.close()
            raise FencedError("a newer nightly run has begun: this one stops and has written nothing since")

    def _raise(self) -> None:
        """Make this run's token the fence, and watch it from then on."""
        raised = pack("UNWATCH") + pack("FCALL", "nightfeed_fence", 1, self._key, self._token)
        try:
            *_, watched, stored = self._wire.exchange(raised + self.request, 4)
        except StoreError as error:
            if "FENCED" in str(error):
                raise FencedError(str(error)) from error
            raise
        self.check([watched, stored])


def _token(stored: object) -> int:
    return int(stored) if isinstance(stored, bytes) else 0


def pack_lists(parts: Sequence[Part], lists: Lists, window: int = WINDOW) -> Iterator[tuple[int, bytes]]:
    """Partitions and ``HSET <lists> <user> <list> …`` of ``window`` users each, or fewer where a partition ends.

    As Redis's protocol wants it, without Python for each user.
    """
    for block in _blocks(parts, max(PACKED // window, 1) * window):
        begin = block[0][1].start
        data, ends = _fields(lists.part(slice(begin, block[-1][1].stop)))
        for partition, rows in block:
            key = keyspace.partition_key("list", partition).encode()
            name = b"HSET\r\n$%d\r\n%s\r\n" % (len(key), key)
            for first in range(rows.start, rows.stop, window):
                last = min(first + window, rows.stop)
                fields = data[ends[first - begin] : ends[last - begin]]
                yield partition, b"*%d\r\n$4\r\n" % (2 + 2 * (last - first)) + name + fields


def _blocks(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """The same rows in order, at most ``size`` of them and no gap in a block: small parts together, large in pieces."""
    block = list[Part]()
    for partition, rows in parts:
        for first in range(rows.start, rows.stop, size):
            piece = slice(first, min(first + size, rows.stop))
            if block and (piece.start != block[-1][1].stop or piece.stop - block[0][1].start > size):
                yield block
                block = []
            block.append((partition, piece))
    if block:
        yield block


def _fields(lists: Lists) -> tuple[memoryview, list[int]]:
    """Users and lists as arguments, and where in them each user begins, with their end."""
    users = lists.users
    sizes = np.fromiter(map(len, users), np.int64, len(users))
    return _joined(len(users), [
        b"$", _numbers(sizes), b"\r\n", _words(users, sizes), b"\r\n$", _numbers(LIST_HEADER.size + 2 * lists.lengths),
        b"\r\n", *_values(lists), b"\r\n",
    ])  # fmt: skip


def _values(lists: Lists) -> list[Field]:
    """The bytes of worker.packing.pack_list."""
    entries = np.ascontiguousarray(lists.entries, "<u2").view(np.uint8)
    lengths = lists.lengths.astype("<u2")
    longest = int(lengths.max())
    if longest == lengths.min():
        header = LIST_HEADER.pack(VERSION, 0, longest, lists.generation, lists.made_at)
        return [header, (entries[:, : 2 * longest], None)]
    header = LIST_HEADER.pack(VERSION, 0, 0, lists.generation, lists.made_at)
    keep = np.arange(2 * longest) < 2 * lists.lengths[:, None]
    return [header[:2], (lengths[:, None].view(np.uint8), None), header[4:], (entries[:, : 2 * longest], keep)]


def _words(words: Sequence[bytes], sizes: NDArray[np.int64]) -> Field:
    longest = int(sizes.max())
    if longest == sizes.min():
        return np.frombuffer(b"".join(words), np.uint8).reshape(len(words), longest), None
    cells = np.array(words, f"S{longest}").view(np.uint8).reshape(len(words), longest)
    return cells, np.arange(longest) < sizes[:, None]


def _numbers(numbers: NDArray[np.int64]) -> Field:
    """Decimal text of numbers from 1 on."""
    largest = int(numbers.max())
    if largest == numbers.min():
        return b"%d" % largest
    powers = 10 ** np.arange(len(str(largest)) - 1, -1, -1)
    cells = (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)
    return cells, None if numbers.min() >= powers[0] else powers <= numbers[:, None]


def _joined(rows: int, fields: Sequence[Field]) -> tuple[memoryview, list[int]]:
    """The fields of each row one after the other, row after row; where each row begins, and the end of the last."""
    columns = [(np.frombuffer(field, np.uint8), None) if isinstance(field, bytes) else field for field in fields]
    ends = np.cumsum([cells.shape[-1] for cells, _ in columns])
    table = np.empty((rows, ends[-1]), np.uint8)
    keep = np.ones(table.shape, np.bool_) if any(kept is not None for _, kept in columns) else None
    for (cells, kept), end in zip(columns, ends.tolist(), strict=True):
        table[:, end - cells.shape[-1] : end] = cells
        if keep is not None and kept is not None:
            keep[:, end - cells.shape[-1] : end] = kept
    if keep is None:
        return table.reshape(-1).data, list(range(0, table.size + 1, table.shape[1]))
    return table[keep].data, [0, *np.cumsum(keep.sum(axis=1)).tolist()]


def drop(store: Store, users: Iterable[str]) -> None:
    """Delete the lists of users."""
    by_key: dict[str, list[str]] = {}
    for user in users:
        by_key.setdefault(list_key(user), []).append(user)
    pipe = store.redis.pipeline(transaction=False)
    for key, fields in by_key.items():
        for start in range(0, len(fields), WINDOW):
            pipe.hdel(key, *fields[start : start + WINDOW])
    pipe.execute()


def drop_strangers(store: Store, partitions: Iterable[int]) -> None:
    """Delete the lists of whoever is not on record as a visitor of the partition."""
    for partition in partitions:
        key, visits = keyspace.partition_key("list", partition), keyspace.partition_key("users", partition)
        cursor = -1
        while cursor:
            cursor, found = cast(tuple[int, dict[bytes, bytes]], store.redis.hscan(key, max(cursor, 0), count=WINDOW))
            users = list(map(bytes.decode, found))
            seen = store.redis.zmscore(visits, users) if users else []
            if strangers := [user for user, at in zip(users, seen, strict=True) if at is None]:
                store.redis.hdel(key, *strangers)
