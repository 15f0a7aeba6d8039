"""Behind a server block with HTTP/2: beacons with and without Content-Length, in pieces, given up, and too large.

The edge itself speaks HTTP/1.1; a site gets HTTP/2 from what stands in front of it, or from an nginx that loads the
edge's routes into a server of its own. The latter is tested here, on a private port, without TLS.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.edge_state import now_ms
from tests.faults.edge import ledger
from tests.faults.edge.http2 import Http2
from tests.faults.edge.private import changed_stack, emptied
from tests.faults.edge.raw import beacon_body
from tests.stack_fixture import Stack, free_port

LARGEST = 65536
BATCH = 4
TOO_LARGE = "client intended to send too large (chunked )?body"


class Site:
    """A stack that speaks HTTP/2 on ``port``, too, and lets go who is silent for a second."""

    def __init__(self, stack: Stack, port: int) -> None:
        self.stack, self.port = stack, port
        stack.import_items(stack.item(f"a{n}") for n in range(BATCH))

    def beacon(self, user: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of a beacon of BATCH impressions."""
        events = [{"event": "impression", "item": f"a{n}", "ts": now_ms()} for n in range(BATCH)]
        headers = {name.lower(): value for name, value in self.stack.bearer(user).items()}
        return headers, beacon_body(events)

    def has(self, user: str) -> int:
        """How many items the user has seen."""
        return len(ledger.present(self.stack, [user]))


@pytest.fixture(scope="module")
def stack_and_port() -> Iterator[tuple[Stack, int]]:
    """The stack of this file's tests."""
    port = free_port()
    also = ("backlog=4096;", f"backlog=4096; listen 127.0.0.1:{port} http2;")
    with changed_stack(also, ("_timeout 15s", "_timeout 1s"), redis_timeout_ms=10_000) as stack:
        yield stack, port


@pytest.fixture
def site(stack_and_port: tuple[Stack, int]) -> Iterator[Site]:
    """That stack without data."""
    for stack in emptied(stack_and_port[0]):
        yield Site(stack, stack_and_port[1])


def test_a_beacon_without_content_length_is_taken_whatever_its_size(site: Site) -> None:
    """Up to 64 KiB, in one piece or byte by byte, with an end of its own or not; one byte more is 413."""
    site.stack.expect_log(f"{TOO_LARGE}|buffered to a temporary file")
    for length in (True, False):
        for size in (300, LARGEST - 1, LARGEST, LARGEST + 1):
            connection, user = Http2(site.port), f"u{length}-{size}"
            headers, body = site.beacon(user)
            reply = connection.post("/beacon", headers, body.ljust(size), length)
            assert (reply.status, site.has(user)) == ((204, BATCH) if size <= LARGEST else (413, 0))
            if size > LARGEST:
                assert b"65536 bytes" in reply.body
            again = connection.post("/beacon", *site.beacon(user), length)
            assert (again.status, site.has(user)) == (204, BATCH), "the connection is as good as before"
            connection.close()


def test_a_beacon_in_pieces_ends_with_its_last_one_even_if_that_is_empty(site: Site) -> None:
    """Each byte a frame; the end comes by itself."""
    connection = Http2(site.port)
    headers, body = site.beacon("u1")
    stream = connection.begin("POST", "/beacon", headers)
    for at in range(len(body)):
        connection.data(stream, body[at:at + 1])
    time.sleep(0.2)
    assert site.has("u1") == 0
    connection.data(stream, b"", end=True)
    assert (connection.reply(stream).status, site.has("u1")) == (204, BATCH)
    empty = connection.begin("POST", "/beacon", headers, end=True)
    assert connection.reply(empty).status == 400
    connection.close()


def test_a_beacon_given_up_in_its_body_stores_nothing_and_is_counted(site: Site) -> None:
    """By a reset of its stream, a lost connection, silence, or an end before its length; others go on beside it."""
    before, connection = ledger.dropped(site.stack), Http2(site.port)
    headers, body = site.beacon("u1")
    reset, silent = (connection.begin("POST", "/beacon", headers) for _ in range(2))
    short = connection.begin("POST", "/beacon", {**headers, "content-length": str(len(body) + 1)})
    for stream in (reset, silent, short):
        connection.data(stream, body)
    connection.reset(reset)
    connection.data(short, b"", end=True)
    assert connection.reply(short).status == 400
    assert connection.post("/beacon", *site.beacon("u2")).status == 204
    assert connection.reply(silent).ended == "reset"
    lost = Http2(site.port)
    lost.data(lost.begin("POST", "/beacon", headers), body)
    lost.close()
    expected = {"client_left": 2, "malformed": 1, "too_slow": 1}
    site.stack.until(lambda: ledger.dropped(site.stack) - before == expected)
    assert (site.has("u1"), site.has("u2")) == (0, BATCH)
    connection.close()


def test_beacons_given_up_while_redis_takes_its_time_are_stored_whole(site: Site) -> None:
    """A page that is left resets its streams and closes its connections: the writes go on to their end."""
    before = ledger.events(site.stack)
    people = [f"left-{number}" for number in range(40)]
    site.stack.redis.client_pause(1000, all=False)
    connections = [Http2(site.port) for _ in range(4)]
    for number, user in enumerate(people):
        connection = connections[number % 4]
        headers, body = site.beacon(user)
        stream = connection.begin("POST", "/beacon", headers)
        connection.data(stream, body, end=True)
    time.sleep(0.4)
    for connection in connections[:2]:
        for stream in range(1, 20, 2):
            connection.reset(stream)
    for connection in connections:
        connection.close()
    site.stack.until(lambda: ledger.events(site.stack) - before == {"stored": len(people) * BATCH})
    assert {site.has(user) for user in people} == {BATCH}
