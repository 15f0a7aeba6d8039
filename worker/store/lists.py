"""Publishes user lists: whole windows of them in one transaction each, which a newer run's fencing token prevents.

A plain ``SET`` inside ``MULTI`` costs Redis little more than half of what it costs inside a function. The fence is
compared all the same in the step that writes: it is watched before it is read, so that ``EXEC`` writes nothing when
anybody has changed it since. Reading it for the next window travels with this window's ``EXEC``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker import keyspace
from worker.packing import LIST_HEADER, VERSION
from worker.store.connect import StoreError
from worker.store.generations import FencedError
from worker.store.wire import Wire, pack

# One transaction: about half a millisecond of Redis, in which it serves nobody else.
WINDOW = 512

Bytes = NDArray[np.uint8]
# A field of many commands: the same bytes in each, or a row for each (n, width) and which bytes of it count.
Field = bytes | tuple[Bytes, NDArray[np.bool_] | None]


@dataclass(frozen=True)
class Lists:
    """Finished lists of users of one partition.

    ``entries`` (users, width) uint16, of which the first ``lengths`` (users,) count; ``expiries`` (users,) Unix s;
    ``made_at`` Unix s.
    """

    users: Sequence[str]
    entries: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    expiries: NDArray[np.int64]
    generation: int
    made_at: int

    def part(self, rows: slice) -> Lists:
        """The lists of some rows."""
        return Lists(self.users[rows], self.entries[rows], self.lengths[rows], self.expiries[rows], self.generation,
                     self.made_at)


def publish_lists(wire: Wire, partition: int, token: int, lists: Lists, window: int = WINDOW) -> None:
    """Write ``lists``, ``window`` at a time, each window whole or not at all; doing it again changes nothing.

    Raises FencedError when a newer run has begun, StoreDown or StoreError (see Wire.exchange) when Redis fails; the
    windows before that are written.
    """
    fence = _Fence(wire, partition, token)
    fence.check(wire.exchange(fence.request, 2))
    for start in range(0, len(lists.users), window):
        commands = pack_sets(partition, lists.part(slice(start, start + window)))
        count = min(window, len(lists.users) - start)
        request = b"".join([pack("MULTI"), commands, pack("EXEC"), fence.request])
        while True:
            *_, written, watched, stored = wire.exchange(request, count + 4)
            fence.check([watched, stored])
            if written is not None:
                break
    wire.exchange(pack("UNWATCH"), 1)


class _Fence:
    """The newest token that a partition was written with, watched and compared."""

    def __init__(self, wire: Wire, partition: int, token: int) -> None:
        self._wire, self._token = wire, token
        self._key = keyspace.partition_key("fence", partition)
        self.request = pack("WATCH", self._key) + pack("HGET", self._key, "token")

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


def pack_sets(partition: int, lists: Lists) -> memoryview:
    """``SET <list key> <list> EXAT <expiry>`` for each user, as Redis's protocol wants it, without Python for each."""
    prefix = keyspace.partition_key("list", partition, "").encode()
    users = list(map(str.encode, lists.users))
    sizes = np.fromiter(map(len, users), np.int64, len(users))
    return _joined(len(users), [
        b"*5\r\n$3\r\nSET\r\n$", _numbers(sizes + len(prefix)), b"\r\n" + prefix, _words(users, sizes),
        b"\r\n$", _numbers(LIST_HEADER.size + 2 * lists.lengths), b"\r\n", *_values(lists),
        b"\r\n$4\r\nEXAT\r\n$", _numbers(_digits(lists.expiries)), b"\r\n", _numbers(lists.expiries), b"\r\n",
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


def _digits(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many digits each has."""
    return 1 + np.searchsorted(10 ** np.arange(1, 19), numbers, side="right")


def _numbers(numbers: NDArray[np.int64]) -> Field:
    """Decimal text of numbers from 1 on."""
    largest = int(numbers.max())
    if largest == numbers.min():
        return b"%d" % largest
    powers = 10 ** np.arange(len(str(largest)) - 1, -1, -1)
    cells = (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)
    return cells, None if numbers.min() >= powers[0] else powers <= numbers[:, None]


def _joined(rows: int, fields: Sequence[Field]) -> memoryview:
    """The fields of each row one after the other, row after row."""
    columns = [(np.frombuffer(field, np.uint8), None) if isinstance(field, bytes) else field for field in fields]
    ends = np.cumsum([cells.shape[-1] for cells, _ in columns])
    table = np.empty((rows, ends[-1]), np.uint8)
    keep = np.ones(table.shape, np.bool_) if any(kept is not None for _, kept in columns) else None
    for (cells, kept), end in zip(columns, ends.tolist(), strict=True):
        table[:, end - cells.shape[-1] : end] = cells
        if keep is not None and kept is not None:
            keep[:, end - cells.shape[-1] : end] = kept
    return (table.reshape(-1) if keep is None else table[keep]).data
