"""Publishing lists on a real Redis: what is written, for how long, and that a newer run's token prevents it."""

from __future__ import annotations

import contextlib
import itertools
import random
import string
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError

from tests.stack_fixture import Stack
from worker.keyspace import partition_key, partition_of
from worker.packing import pack_list, unpack_list
from worker.store.errors import StoreError
from worker.store.generations import FencedError, RestartedError, Turn
from worker.store.lists import WINDOW, Lists, pack_lists, publish_lists
from worker.store.wire import StoreDown, Wire, pack, retrying

MADE_AT = 1_790_000_000
SOON = int(time.time()) + 10_000
FENCE, LISTS = partition_key("fence", 9), partition_key("list", 9)


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    with Wire(stack.run) as wire:
        yield wire


def made(users: Sequence[str], lengths: Sequence[int], generation: int = 7, expires: int = SOON) -> Lists:
    """Random entries."""
    rng = np.random.default_rng(generation)
    entries = rng.integers(0, 2**16, (len(users), max([*lengths, 1]) + 3), np.uint16)
    ids = list(map(str.encode, users))
    return Lists(ids, entries, np.array(lengths, np.int64), expires, generation, MADE_AT)


def publish(wire: Wire, turn: Turn, lists: Lists, window: int = WINDOW) -> None:
    """All are of partition 9."""
    publish_lists(wire, [(9, slice(0, len(lists.users)))], turn, lists, window)


def of_partition(partition: int, count: int) -> list[str]:
    """Ids of different lengths that all belong to a partition."""
    rng, found = random.Random(partition), list[str]()
    while len(found) < count:
        user = "".join(rng.choices(string.ascii_letters + "._~:-", k=rng.randint(1, 128)))
        if partition_of(user) == partition:
            found.append(user)
    return found


def assert_published(stack: Stack, lists: Lists) -> None:
    """Byte for byte what ``pack_list`` makes, with the right expiry."""
    for at, user in enumerate(lists.users):
        raw: Any = stack.redis.hget(LISTS, user)
        assert raw == pack_list(lists.generation, MADE_AT, lists.entries[at, : lists.lengths[at]])
        assert unpack_list(raw).entries.tolist() == lists.entries[at, : lists.lengths[at]].tolist()
    assert stack.redis.expiretime(LISTS) == lists.expires


@pytest.mark.parametrize("window", [1, 7, 512])
def test_lists_are_written_with_their_expiry(stack: Stack, wire: Wire, window: int) -> None:
    """Ids of all lengths, lists of all lengths, none included; over lists that are there already, too."""
    users = of_partition(9, 40)
    for generation in (7, 8):
        lists = made(users, [(at * 37) % 203 for at in range(40)], generation)
        publish(wire, Turn(3), lists, window)
        assert_published(stack, lists)
    assert stack.redis.hgetall(FENCE) == {b"token": b"3"}


def test_lists_of_one_length_and_nobody(stack: Stack, wire: Wire) -> None:
    """The ordinary night; and a part of a partition without users."""
    users = [user for user in of_partition(9, 300) if len(user) == 30] or of_partition(9, 1)
    lists = made(users, [200] * len(users))
    publish(wire, Turn(3), lists)
    assert_published(stack, lists)
    publish(wire, Turn(3), made([], []))


def test_an_older_run_writes_nothing(stack: Stack, wire: Wire) -> None:
    """The fence is newer; afterwards the wire works on, without a watch or an unread reply."""
    users = of_partition(9, 3)
    publish(wire, Turn(5), made(users, [2, 2, 2], 5))
    with pytest.raises(FencedError, match="newer"):
        publish(wire, Turn(4), made(users, [1, 1, 1], 4))
    assert_published(stack, made(users, [2, 2, 2], 5))
    assert wire.exchange(pack("PING"), 1) == [b"PONG"]


class Interrupted(Wire):
    """Does something once, just before the transaction of a window is sent: the worst moment."""

    def __init__(self, stack: Stack, at: int, *command: object) -> None:
        super().__init__(stack.run)
        self._stack, self._at, self._command = stack, at, command

    def exchange(self, request: Any, count: int) -> list[Any]:
        if b"MULTI" in bytes(request[:20]):
            self._at -= 1
            if self._at == 0:
                self._stack.redis.execute_command(*self._command)
        return super().exchange(request, count)


def test_a_run_that_is_outrun_between_its_look_and_its_write_writes_nothing(stack: Stack) -> None:
    """The second of three windows: the first is written, nothing after it."""
    users = of_partition(9, 6)
    with Interrupted(stack, 2, "FCALL", "nightfeed_fence", 1, FENCE, 6) as wire, pytest.raises(FencedError):
        publish(wire, Turn(5), made(users, [4] * 6), window=2)
    assert [stack.redis.hexists(LISTS, user) for user in users] == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("at", [2, 3])
@pytest.mark.parametrize("command", [("HSET", FENCE, "report", "x"), ("DEL", FENCE), ("HSET", FENCE, "token", 3)])
def test_another_change_of_the_fence_only_delays(stack: Stack, command: tuple[object, ...], at: int) -> None:
    """A report, a lost or an older fence: the window is written again, and the fence is raised to this run's."""
    users = of_partition(9, 6)
    lists = made(users, [4] * 6)
    with Interrupted(stack, at, *command) as wire:
        publish(wire, Turn(5), lists, window=2)
    assert_published(stack, lists)
    assert stack.redis.hget(FENCE, "token") == b"5"


def test_the_last_window_is_fenced_too(stack: Stack) -> None:
    """Outrun just before its last transaction: that is not written, and the wire is as good as new."""
    users = of_partition(9, 6)
    with Interrupted(stack, 3, "FCALL", "nightfeed_fence", 1, FENCE, 6) as wire:
        with pytest.raises(FencedError):
            publish(wire, Turn(5), made(users, [4] * 6), window=2)
        assert [stack.redis.hexists(LISTS, user) for user in users] == [1, 1, 1, 1, 0, 0]
        publish(wire, Turn(6), made(users, [4] * 6), window=2)
    assert_published(stack, made(users, [4] * 6))


def test_no_watch_is_left(stack: Stack, wire: Wire) -> None:
    """A transaction afterwards is not undone by a change of the fence."""
    publish(wire, Turn(3), made(of_partition(9, 3), [4] * 3), window=2)
    stack.redis.hset(FENCE, "report", "x")
    assert wire.exchange(pack("MULTI") + pack("PING") + pack("EXEC"), 3)[-1] == [b"PONG"]


def test_another_redis_than_the_turn_s_gets_nothing(stack: Stack, wire: Wire) -> None:
    """It was restarted, and may not know the plan of these lists."""
    users = of_partition(9, 2)
    with pytest.raises(RestartedError):
        publish(wire, Turn(3, "of a Redis before"), made(users, [4] * 2))
    assert not stack.redis.exists(LISTS)
    publish(wire, Turn(3, wire.server), made(users, [4] * 2))
    assert_published(stack, made(users, [4] * 2))


def test_a_connection_that_is_lost_in_mid_run(stack: Stack) -> None:
    """Nothing of the window is written; done again, everything is."""
    users = of_partition(9, 6)
    lists = made(users, [4] * 6)
    with Wire(stack.run) as plain:
        plain.exchange(pack("PING"), 1)
        ours = {client["id"] for client in stack.redis.client_list()}
    with Interrupted(stack, 2, "PING") as wire:
        wire.exchange(pack("PING"), 1)
        mine = next(client["id"] for client in stack.redis.client_list() if client["id"] not in ours)
        wire._command = ("CLIENT", "KILL", "ID", mine)
        with pytest.raises(StoreDown):
            publish(wire, Turn(5), lists, window=2)
        assert [stack.redis.hexists(LISTS, user) for user in users] == [1, 1, 0, 0, 0, 0]
        retrying(lambda: publish(wire, Turn(5), lists, window=2), "lists")
    assert_published(stack, lists)


def test_a_full_redis_is_named(fresh_stack: Any) -> None:
    """Redis refuses the transaction as a whole and says why; the lists before stay, and reading goes on."""
    stack = fresh_stack(redis_maxmemory="16mb")
    users = of_partition(9, 6)
    with Wire(stack.run) as wire:
        publish(wire, Turn(5), made(users, [4] * 6, 5))
        for size in (500_000, 5_000, 50):
            fill(stack, size)
        with pytest.raises(StoreError, match=r"OOM .*raise redis_maxmemory"):
            publish(wire, Turn(5), made(users, [200] * 6, 6))
        assert_published(stack, made(users, [4] * 6, 5))
        stack.redis.delete("filling:500000")
        publish(wire, Turn(5), made(users, [200] * 6, 6))
        assert_published(stack, made(users, [200] * 6, 6))


def fill(stack: Stack, size: int) -> None:
    """Fill the memory with values of ``size`` bytes until Redis refuses one."""
    with contextlib.suppress(OutOfMemoryError):
        while True:
            stack.redis.rpush(f"filling:{size}", b"x" * size)


# --- several partitions --------------------------------------------------------------------------------------------

SEVERAL = [(9, 5), (2, 1), (41, 4), (7, 2)]  # partitions and how many of their users


def of_several() -> tuple[list[tuple[int, slice]], Lists]:
    """Parts and lists of random lengths."""
    users, parts = list[str](), []
    for partition, count in SEVERAL:
        parts.append((partition, slice(len(users), len(users) + count)))
        users += of_partition(partition, count)
    return parts, made(users, [(at * 37) % 203 for at in range(len(users))])


def held(stack: Stack) -> dict[int, int]:
    """How many lists each partition has."""
    found = {partition: stack.redis.hlen(partition_key("list", partition)) for partition, _ in SEVERAL}
    return {partition: count for partition, count in found.items() if count}


@pytest.mark.parametrize("packed", [1, 4, 512])
@pytest.mark.parametrize("window", [1, 2, 64])
def test_lists_of_several_partitions_are_each_in_its_own(stack: Stack, wire: Wire, window: int, packed: int) -> None:
    """With its fence and its expiry, however many are packed at once; a part that is left out is not written."""
    parts, lists = of_several()
    with mock.patch("worker.store.lists.PACKED", packed):
        publish_lists(wire, [parts[0], *parts[2:]], Turn(3), lists, window)
    assert held(stack) == {9: 5, 41: 4, 7: 2}
    for partition, rows in (parts[0], *parts[2:]):
        expected = {lists.users[at]: pack_list(7, MADE_AT, lists.entries[at, : lists.lengths[at]])
                    for at in range(rows.start, rows.stop)}
        assert stack.redis.hgetall(partition_key("list", partition)) == expected
        assert stack.redis.hgetall(partition_key("fence", partition)) == {b"token": b"3"}
        assert stack.redis.expiretime(partition_key("list", partition)) == SOON
    assert not stack.redis.exists(partition_key("fence", 2))


@pytest.mark.parametrize(("partition", "written"), [(9, {}), (2, {9: 5}), (7, {9: 5, 2: 1, 41: 4})])
def test_a_newer_run_in_any_of_them_ends_it_there(stack: Stack, wire: Wire, partition: int,
                                                  written: dict[int, int]) -> None:
    """Those before are written; afterwards the wire is as good as new."""
    parts, lists = of_several()
    stack.redis.hset(partition_key("fence", partition), "token", 6)
    with pytest.raises(FencedError):
        publish_lists(wire, parts, Turn(5), lists, 2)
    assert held(stack) == written
    assert wire.exchange(pack("PING"), 1) == [b"PONG"]


@pytest.mark.parametrize("at", range(1, 8))
def test_a_fence_that_changes_meanwhile_is_looked_at_again(stack: Stack, at: int) -> None:
    """Of any partition, just before any transaction, the one whose turn it is and the next one included."""
    parts, lists = of_several()
    for partition, _ in SEVERAL:
        stack.redis.delete(partition_key("list", partition))
        with Interrupted(stack, at, "HSET", partition_key("fence", partition), "report", "x") as wire:
            publish_lists(wire, parts, Turn(5), lists, 2)
        assert held(stack) == dict(SEVERAL)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_fence_that_is_raised_meanwhile_is_obeyed(stack: Stack, at: int) -> None:
    """Whatever was not written by then is not written, in the partition whose fence it is."""
    parts, lists = of_several()
    windows = [partition for partition, count in SEVERAL for _ in range(-(-count // 2))]
    for turn, (partition, _) in enumerate(SEVERAL):
        for other, _ in SEVERAL:
            stack.redis.delete(partition_key("list", other))
        fence, token = partition_key("fence", partition), 10 * (turn + 1)
        raised = partition in windows[at - 1 :]
        refused = pytest.raises(FencedError) if raised else contextlib.nullcontext()
        with Interrupted(stack, at, "FCALL", "nightfeed_fence", 1, fence, token + 1) as wire, refused:
            publish_lists(wire, parts, Turn(token), lists, 2)
        before = windows[: at - 1].count(partition)
        assert held(stack).get(partition, 0) == min(2 * before, dict(SEVERAL)[partition])


# --- packing, without Redis ------------------------------------------------------------------------------------------

user = st.text(string.ascii_letters + string.digits + "._~:-", min_size=1, max_size=128) | st.text(min_size=1).filter(
    lambda text: max(text) < "\ud800" or min(text) > "\udfff"
)
row = st.tuples(user, st.integers(0, 120))


@settings(max_examples=60)
@given(st.lists(row, min_size=1, max_size=20), st.integers(0, 63), st.integers(0, 2**32 - 1), st.integers(1, 21))
def test_the_packed_commands_are_those_of_one_field_after_the_other(rows: list[tuple[str, int]], partition: int,
                                                                  generation: int, window: int) -> None:
    """Any ids and lengths, alike or not, so many in a command; also with several commands packed at once."""
    users, lengths = zip(*rows, strict=True)
    lists, key = made(users, lengths, generation), partition_key("list", partition)
    parts = [(partition, slice(0, len(users)))]
    fields = [(user, pack_list(generation, MADE_AT, lists.entries[at, : lengths[at]])) for at, user in enumerate(users)]
    expected = [(partition, pack("HSET", key, *itertools.chain(*fields[at : at + window])))
                for at in range(0, len(fields), window)]
    for packed in (1, 2 * window, 512):
        with mock.patch("worker.store.lists.PACKED", packed):
            assert list(pack_lists(parts, lists, window)) == expected
