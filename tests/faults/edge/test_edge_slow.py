"""Clients that are slow, fall silent, or leave: they cost others nothing, and no write of theirs stops half-way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.edge_state import now_ms
from tests.faults.edge import ledger
from tests.faults.edge.load import Load, catalogue
from tests.faults.edge.private import changed_stack, emptied
from tests.faults.edge.raw import Connection, GoneError, beacon_body, chunked, connect, request
from tests.faults.night import FULL
from tests.stack_fixture import Stack

BATCH = 4
LEAVERS = 2000 if FULL else 60
HELD = 2000 if FULL else 300


@pytest.fixture
def edge(stack: Stack) -> Stack:
    """A stack with a catalogue."""
    catalogue(stack)
    return stack


@pytest.fixture(scope="module")
def changed() -> Iterator[Stack]:
    """A stack that waits long for Redis, and but a second for a client's headers or body."""
    with changed_stack(("_timeout 15s", "_timeout 1s"), redis_timeout_ms=10_000) as stack:
        yield stack


@pytest.fixture
def hasty(changed: Stack) -> Iterator[Stack]:
    """That stack with a catalogue."""
    for stack in emptied(changed):
        catalogue(stack)
        yield stack


def beacon(stack: Stack, user: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a beacon of BATCH impressions."""
    events = [{"event": "impression", "item": f"i{n}", "ts": now_ms()} for n in range(BATCH)]
    return stack.bearer(user), beacon_body(events)


def drip(connection: Connection, data: bytes, pause: float) -> None:
    """Send one byte after another."""
    for at in range(len(data)):
        connection.send(data[at:at + 1])
        time.sleep(pause)


def test_a_beacon_that_comes_byte_by_byte_is_taken(edge: Stack) -> None:
    """Headers, body and chunks, each byte a packet of its own: slow is not wrong."""
    headers, body = beacon(edge, "u1")
    for data in (request("POST", "/beacon", headers, body), chunked("/beacon", edge.bearer("u2"), body, 7)):
        connection = connect(edge)
        drip(connection, data, 0.0005)
        assert connection.answer().status == 204
    assert ledger.present(edge, ["u1", "u2"]) == {(user, f"i{n}") for user in ("u1", "u2") for n in range(BATCH)}


def test_who_falls_silent_is_let_go(hasty: Stack) -> None:
    """In a body and in its chunks: nothing is stored, and it is counted. Headers may not even take longer in drops."""
    headers, body = beacon(hasty, "u1")
    before = ledger.dropped(hasty)
    for data in (request("POST", "/beacon", headers, body[:-1], length=len(body)),
                 chunked("/beacon", headers, body, 7, end=False)):
        connection = connect(hasty)
        connection.send(data)
        assert connection.ended()
    hasty.until(lambda: ledger.dropped(hasty) - before == {"too_slow": 2})
    connection = connect(hasty)
    with pytest.raises(GoneError):
        drip(connection, request("POST", "/beacon", headers, body), 0.05)
    assert ledger.present(hasty, ["u1"]) == set()


def test_hundreds_of_slow_clients_keep_nobody_waiting(edge: Stack) -> None:
    """Half of them hold headers back, half a body; everyone else is answered, and so are they in the end."""
    headers, body = beacon(edge, "held")
    data = request("POST", "/beacon", headers, body)
    slow = [connect(edge, 30) for _ in range(HELD)]
    for number, connection in enumerate(slow):
        connection.send(data[:40] if number % 2 else data[:-1])
    with Load(edge, clients=3) as load:
        load.wait(204)
        time.sleep(0.5)
    assert (set(load.answers), load.unanswered(), load.lost()) == ({204}, 0, {})
    for number, connection in enumerate(slow):
        assert connection.ask(data[40:] if number % 2 else data[-1:]).status == 204


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_leaves_in_mid_request_stored_nothing_and_is_counted(edge: Stack, reset: bool) -> None:
    """Half headers are no beacon yet; half a body is one that was dropped."""
    headers, body = beacon(edge, "u1")
    before = ledger.dropped(edge)
    data = request("POST", "/beacon", headers, body)
    parts = [data[:10], data[:100], data[:-len(body)], data[:-len(body) // 2], data[:-1],
             chunked("/beacon", headers, body, 7, end=False)]
    for part in parts:
        connection = connect(edge)
        connection.send(part)
        time.sleep(0.02)
        connection.leave(reset)
    edge.until(lambda: ledger.dropped(edge) - before == {"malformed": 4})
    assert ledger.present(edge, ["u1"]) == set()


def sent_by(stack: Stack, people: list[str]) -> list[Connection]:
    """A beacon of each, on a connection of its own."""
    connections = [connect(stack) for _ in people]
    for user, connection in zip(people, connections, strict=True):
        connection.send(request("POST", "/beacon", *beacon(stack, user)))
    return connections


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_leaves_right_after_sending_has_the_beacon_stored_whole(edge: Stack, reset: bool) -> None:
    """Closing stops nothing. What a reset connection had under way may be lost with it, but never a part."""
    before = ledger.events(edge)
    people = [f"left-{number}" for number in range(LEAVERS)]
    for user in people:
        for connection in sent_by(edge, [user]):
            connection.leave(reset)
    with Load(edge, clients=1, name="after") as load:
        load.wait(204)

    def settled() -> set[ledger.Pair] | None:
        there = ledger.present(edge, people)
        counted = ledger.events(edge) - before
        return there if counted == {"stored": len(there) + len(load.acknowledged)} else None

    there = edge.until(settled)
    assert len(there) == BATCH * len({user for user, _ in there})
    assert reset or len(there) == BATCH * LEAVERS


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_leaves_while_redis_takes_its_time_stops_no_write(hasty: Stack, reset: bool) -> None:
    """The write goes on to its end, and is counted."""
    before = ledger.events(hasty)
    people = [f"{'reset' if reset else 'closed'}-{number}" for number in range(50)]
    hasty.redis.client_pause(1000, all=False)
    connections = sent_by(hasty, people)
    time.sleep(0.4)
    for connection in connections:
        connection.leave(reset)
    hasty.until(lambda: ledger.events(hasty) - before == {"stored": len(people) * BATCH})
    assert len(ledger.present(hasty, people)) == len(people) * BATCH
