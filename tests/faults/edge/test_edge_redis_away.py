"""Redis paused, gone, or still reading its data, under load: feeds go on, beacons are told to wait, and it passes."""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.edge_state import now_ms
from tests.faults.edge.client import ITEMS
from tests.faults.edge.load import Load, catalogue
from tests.faults.edge.raw import Connection, beacon_body, request
from tests.faults.night import FULL
from tests.faults.redis_faults import answers, kill_redis
from tests.stack_fixture import REDIS_AWAY, SHORT_MS, Stack

PAUSED_S = 5.0 if FULL else 1.0
MARGIN_S = 20.0  # for each client to be refused twice, by requests that may wait for Redis twice
GONE_S = 60.0 if FULL else 2.0
LOST_S = 2.0
CLIENTS = 4


@pytest.fixture
def edge(fresh_stack: Callable[..., Stack]) -> Stack:
    """A stack with a catalogue, whose error log may name Redis."""
    stack = fresh_stack(redis_timeout_ms=SHORT_MS)
    stack.expect_log(REDIS_AWAY)
    catalogue(stack)
    return stack


@contextlib.contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    """Redis does nothing at all."""
    stack.signal("redis", signal.SIGSTOP)
    try:
        yield
    finally:
        stack.signal("redis", signal.SIGCONT)


@contextlib.contextmanager
def paused(stack: Stack, reads: bool) -> Iterator[None]:
    """Redis takes connections, but answers no command, or none that writes. It passes: UNPAUSE would wait, too."""
    stack.redis.client_pause(int((PAUSED_S + MARGIN_S) * 1000), all=not reads)
    yield


@pytest.mark.parametrize(("pause", "source"), [
    (stopped, "fallback"),
    (lambda stack: paused(stack, reads=False), "fallback"),
    (lambda stack: paused(stack, reads=True), "default"),
], ids=["stopped", "all commands", "writes"])  # fmt: skip
def test_while_redis_is_paused_beacons_are_503_and_feeds_go_on(
        edge: Stack, pause: Callable[[Stack], contextlib.AbstractContextManager[None]], source: str) -> None:
    """What Redis had got and does later, nobody was told of: it is sent again, and counts once."""
    with Load(edge, CLIENTS) as load:
        load.wait(204)
        with pause(edge), load.refused(source):
            time.sleep(PAUSED_S)
            load.wait(503)
        load.wait(204)
    assert (load.lost(), load.repeats) == ({}, [])
    load.check_counted()


def test_a_page_does_not_wait_behind_writes(fresh_stack: Callable[..., Stack]) -> None:
    """Redis may hold back writes alone, during a failover for instance: beacons wait for it, pages do not."""
    stack = fresh_stack(nginx_workers=1, redis_timeout_ms=30_000)
    catalogue(stack)
    stack.redis.client_pause(60_000, all=False)
    with contextlib.ExitStack() as beacons:
        waiting = [Connection(stack.port) for _ in range(2 * CLIENTS)]
        for n, connection in enumerate(waiting):
            beacons.callback(connection.leave)
            body = beacon_body([{"event": "impression", "item": ITEMS[n], "ts": now_ms()}])
            connection.send(request("POST", "/beacon", stack.bearer(f"u{n}"), body))
        stack.until(lambda: stack.redis.info("clients")["blocked_clients"] > 0)
        pages = [stack.feed(f"u{n}") for n in range(CLIENTS)]
        assert [page["source"] for page in pages] == ["default"] * CLIENTS
        assert select.select([each.sock for each in waiting], [], [], 0)[0] == [], "a beacon was answered before"
        stack.redis.client_unpause()
        assert [connection.answer().status for connection in waiting] == [204] * len(waiting)


def test_while_redis_is_gone_and_reads_its_data_beacons_are_503(edge: Stack) -> None:
    """Then everything goes on by itself: no connection of before, no process that needs a restart."""
    with Load(edge, CLIENTS) as load:
        load.wait(204)
        killed = time.time()
        kill_redis(edge)
        with load.refused("fallback"):
            time.sleep(GONE_S)
            start_slowly(edge)
            load.wait(503)
        edge.until(lambda: answers(edge))
        load.wait(204)
    assert min([killed, *load.lost().values(), *(at for _, at in load.repeats)]) >= killed - LOST_S
    load.check_counted()


def start_slowly(stack: Stack) -> None:
    """Redis, which takes a second and more to read its log: each command of it takes longer."""
    part = stack.part("redis")
    size = sum(path.stat().st_size for path in (stack.run / "redis/appendonlydir").iterdir())
    delay = str(int(2_000_000 / (size / 60)) + 1)  # µs for each command of about 60 bytes
    process = subprocess.Popen([*part.command, "--key-load-delay", delay], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    part.pid_file.write_text(f"{process.pid}\n")
