"""Bodies around each limit, whole and in chunks of any size: what fits is taken, what does not is 413 and counted."""

from __future__ import annotations

import time

import pytest

from tests.edge_state import now_ms
from tests.faults.edge import ledger
from tests.faults.edge.raw import Answer, beacon_body, chunked, connect, request
from tests.faults.night import FULL
from tests.stack_fixture import Stack

LARGEST = 65536
MIB = 1 << 20
CHUNKS = [None, 3, 10, 4096, LARGEST] if FULL else [None, 10, LARGEST]
IN_A_FILE = "a client request body is buffered to a temporary file"
TOO_LARGE = "client intended to send too large (chunked )?body"


@pytest.fixture
def edge(stack: Stack) -> Stack:
    """A stack with the items a1 to a3."""
    stack.import_items(stack.item(f"a{n}") for n in range(1, 4))
    return stack


def sent(stack: Stack, size: int, chunk: int | None, user: str = "u1") -> Answer:
    """The answer to one impression of a1 in a body of that size."""
    body = beacon_body([{"event": "impression", "item": "a1", "ts": now_ms()}]).ljust(size)
    headers = stack.bearer(user)
    whole = request("POST", "/beacon", headers, body) if chunk is None else chunked("/beacon", headers, body, chunk)
    return connect(stack).ask(whole)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_beacon_of_up_to_64_kib_is_taken(edge: Stack, chunk: int | None) -> None:
    """However it is cut: where what stands between chunks outgrows nginx's buffer, the body is read from its file."""
    edge.expect_log(IN_A_FILE)
    for size in (20_000, LARGEST - 1, LARGEST):
        assert sent(edge, size, chunk, f"u{size}").status == 204
        assert ledger.present(edge, [f"u{size}"]) == {(f"u{size}", "a1")}
    edge.until(lambda: not list((edge.run / "nginx/body").iterdir()))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_beacon_of_one_byte_more_is_413_and_counted(edge: Stack, chunk: int | None) -> None:
    """As JSON that says the limit; nothing of it is stored."""
    edge.expect_log(f"{IN_A_FILE}|{TOO_LARGE}")
    before = ledger.dropped(edge)
    answer = sent(edge, LARGEST + 1, chunk)
    assert answer.status == 413
    assert "65536 bytes" in answer.json()["error"]
    edge.until(lambda: ledger.dropped(edge) - before == {"too_large": 1})
    assert ledger.present(edge, ["u1"]) == set()


@pytest.mark.parametrize("chunk", [None, 65536])
def test_the_api_gets_bodies_of_up_to_1_mib(edge: Stack, chunk: int | None) -> None:
    """The API refuses a record as long as that; one byte more is refused before it, as JSON like all of the edge."""
    edge.expect_log(f"{IN_A_FILE}|{TOO_LARGE}")
    headers = {"Authorization": f"Bearer {edge.credentials.api['catalogue']}"}
    for size, refused_by in ((MIB, "application/problem+json"), (MIB + 1, "application/json")):
        if chunk is None:
            data = request("PUT", "/api/items/a9", headers, b" " * size)
        else:
            data = chunked("/api/items/a9", headers, b" " * size, chunk).replace(b"POST", b"PUT", 1)
        answer = connect(edge).ask(data)
        assert (answer.status, answer.headers["content-type"]) == (413, refused_by)


def test_the_api_takes_a_catalogue_of_up_to_64_mib(edge: Stack) -> None:
    """Whoever asks first is told before sending: 100 for as much as that, 413 for one byte more."""
    edge.expect_log(TOO_LARGE)
    headers = {"Authorization": f"Bearer {edge.credentials.api['catalogue']}", "Expect": "100-continue"}
    for size, status in ((64 * MIB, 100), (64 * MIB + 1, 413)):
        assert connect(edge).ask(request("POST", "/api/items", headers, length=size)).status == status


def test_a_catalogue_that_never_ends_does_not_reach_the_api(edge: Stack) -> None:
    """It is collected before it is passed on: the one worker of the API stays free for others."""
    edge.expect_log(IN_A_FILE)
    headers = {"Authorization": f"Bearer {edge.credentials.api['catalogue']}"}
    slow = [connect(edge) for _ in range(4)]
    for connection in slow:
        connection.send(request("POST", "/api/items", headers, b"x" * MIB, length=2 * MIB))
    time.sleep(0.2)
    assert edge.http.get("/api/items/a1", headers=headers).status_code == 200
    for connection in slow:
        connection.leave()
