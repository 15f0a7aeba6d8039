"""The bare connection of the nightly run: replies belong to their request, whatever happens to Redis meanwhile."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack_fixture import REDIS_AWAY, Stack
from worker.store.errors import StoreError
from worker.store.wire import StoreDown, Wire, pack, retrying

MEBIBYTE = 1 << 20


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    with Wire(stack.run, timeout_s=5) as wire:
        yield wire


def later(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    """Do something in ``seconds``, beside the test."""
    thread = threading.Timer(seconds, action)
    thread.start()
    return thread


def test_replies_come_in_the_order_of_the_commands(wire: Wire) -> None:
    """Texts, numbers, nothing, lists; and an empty request has no replies."""
    request = pack("SET", "a", "ä") + pack("GET", "a") + pack("GET", "b") + pack("STRLEN", "a") + pack("MGET", "a", "b")
    assert wire.exchange(request, 5) == [b"OK", "ä".encode(), None, 2, ["ä".encode(), None]]
    assert wire.exchange(b"", 0) == []


def test_more_than_all_buffers_hold_goes_both_ways_at_once(wire: Wire) -> None:
    """64 MiB of requests whose replies are as large: neither side waits for the other for ever."""
    texts = [bytes([n]) * MEBIBYTE for n in range(64)]
    assert wire.exchange(b"".join(pack("ECHO", text) for text in texts), len(texts)) == texts


def test_many_small_commands_with_large_replies(wire: Wire) -> None:
    """Less than 1 MB of requests, 300 MB of replies: they are read while the rest is being sent."""
    wire.exchange(pack("SET", "large", b"x" * 10_000), 1)
    replies = wire.exchange(pack("GET", "large") * 30_000, 30_000)
    assert {len(reply) for reply in replies} == {10_000}


def test_a_refusal_says_what_redis_said_and_later_requests_get_their_own_replies(wire: Wire) -> None:
    """The connection is closed: whatever else the request had for an answer is never read."""
    with pytest.raises(StoreError, match="refused a command: WRONGTYPE") as caught:
        wire.exchange(pack("SET", "a", 1) + pack("LPUSH", "a", 2) + pack("GET", "a"), 3)
    assert not isinstance(caught.value, StoreDown)
    assert wire.exchange(pack("GET", "a"), 1) == [b"1"]


def test_a_command_that_the_user_may_not_run_is_explained(wire: Wire) -> None:
    """As after an update of the program without a restart of the stack."""
    with pytest.raises(StoreError, match=r"NOPERM .*restart the stack"):
        wire.exchange(pack("CONFIG", "SET", "maxmemory", 1), 1)
    with pytest.raises(StoreError, match=r"Function not found.*restart the stack"):
        wire.exchange(pack("FCALL", "nightfeed_nothing", 0), 1)


def test_a_refusal_in_a_transaction_leaves_nothing_behind(wire: Wire) -> None:
    """No half a transaction waits for the next request."""
    with pytest.raises(StoreError, match="NOPERM"):
        wire.exchange(pack("MULTI") + pack("CONFIG", "SET", "maxmemory", 1), 2)
    assert wire.exchange(pack("ECHO", "now"), 1) == [b"now"]


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_connection_killed_in_mid_request_is_opened_again(wire: Wire) -> None:
    """Redis has answered half of it. The second attempt has all replies, and only its own."""
    own = wire.exchange(pack("CLIENT", "ID"), 1)[0]
    attempts = iter([pack("CLIENT", "KILL", "ID", own, "SKIPME", "no"), pack("ECHO", "middle")])

    def work() -> list[Any]:
        first, last = (pack("ECHO", word) for word in ("first", "last"))
        return wire.exchange(first + next(attempts) + last, 3)

    with pytest.raises(StoreDown, match="closed the connection"):
        work()
    assert retrying(work, "words") == [b"first", b"middle", b"last"]


def test_a_connection_killed_again_and_again_never_mixes_replies_up(stack: Stack, wire: Wire) -> None:
    """Fifteen times at random moments of long requests."""
    done = threading.Event()

    def kill() -> None:
        for _ in range(15):
            time.sleep(0.02)
            for client in stack.redis.client_list():
                if client["cmd"] == "echo":
                    stack.redis.client_kill_filter(_id=client["id"])
        done.set()

    killer = later(0, kill)
    number = 0
    while not done.is_set():
        words = [b"%d" % (number + each) for each in range(20_000)]
        request = b"".join(map(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n".__mod__, ((len(word), word) for word in words)))
        assert retrying(lambda request=request: wire.exchange(request, 20_000), "words") == words  # type: ignore[misc]
        number += 20_000
    killer.join()


def test_an_interrupted_request_leaves_no_reply_to_the_next(stack: Stack, wire: Wire) -> None:
    """As by Ctrl-C or the end of a lease, while Redis is silent; it answers the first request later."""
    stack.expect_log(REDIS_AWAY)
    wire.exchange(pack("PING"), 1)

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    stack.signal("redis", signal.SIGSTOP)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        wire.exchange(pack("ECHO", "first"), 1)
    signal.signal(signal.SIGALRM, before)
    stack.signal("redis", signal.SIGCONT)
    assert wire.exchange(pack("ECHO", "second"), 1) == [b"second"]


def test_a_redis_that_pauses_is_waited_for(stack: Stack, wire: Wire) -> None:
    """A pause shorter than the timeout goes unnoticed."""
    stack.expect_log(REDIS_AWAY)
    wire.exchange(pack("PING"), 1)
    stack.signal("redis", signal.SIGSTOP)
    resumed = later(1, lambda: stack.signal("redis", signal.SIGCONT))
    assert wire.exchange(pack("ECHO", "after"), 1) == [b"after"]
    resumed.join()


def test_a_longer_pause_is_retried_and_logged(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """One line when the waiting begins, one when it ends; the answer to the attempt that timed out is never seen."""
    stack.expect_log(REDIS_AWAY)
    with Wire(stack.run, timeout_s=0.2) as wire, caplog.at_level(logging.WARNING):
        wire.exchange(pack("PING"), 1)
        stack.signal("redis", signal.SIGSTOP)
        resumed = later(1, lambda: stack.signal("redis", signal.SIGCONT))
        words = iter(range(1000))
        found = retrying(lambda: wire.exchange(pack("ECHO", next(words)), 1), "reading seen sets", 20)
        assert found == [b"%d" % (next(words) - 1)]
    resumed.join()
    assert [record.message.split(":")[0] for record in caplog.records] == ["reading seen sets"] * 2
    assert "silent for 0.2 s" in caplog.records[0].message
    assert "goes on after" in caplog.records[1].message


def test_patience_ends_with_a_clear_message(stack: Stack) -> None:
    """What was tried, for how long, and what is wrong."""
    stack.expect_log(REDIS_AWAY)
    with Wire(stack.run, timeout_s=0.1) as wire:
        stack.signal("redis", signal.SIGSTOP)
        with pytest.raises(StoreError, match=r"writing: given up after 1 s. .*silent for 0.1 s.*make up") as caught:
            retrying(lambda: wire.exchange(pack("PING"), 1), "writing", 0.5)
        stack.signal("redis", signal.SIGCONT)
    assert not isinstance(caught.value, StoreDown)


def test_a_restarted_redis_is_found_again_and_known_as_another_one(stack: Stack, wire: Wire) -> None:
    """``server`` changes: who must know whether acknowledged writes may be lost can ask."""
    stack.expect_log(REDIS_AWAY)
    wire.exchange(pack("SET", "a", 1), 1)
    before = wire.server
    stack.restart("redis")
    assert retrying(lambda: wire.exchange(pack("GET", "a"), 1), "reading") == [b"1"]
    assert len(before) == len(wire.server) == 40
    assert before != wire.server


# --- servers that misbehave ------------------------------------------------------------------------------------------


@pytest.fixture
def answering() -> Iterator[Callable[..., Wire]]:
    """Makes a wire to a server that gives one of ``answers`` on each connection, behind its greeting, and hangs up."""
    run = Path(tempfile.mkdtemp(prefix="nf-"))
    for folder in ("sock", "secrets"):
        (run / folder).mkdir()
    for name, secrets in {"tokens": {"current": "k", "keys": {"k": "00"}}, "api": {}, "redis": {"worker": "x"}}.items():
        (run / f"secrets/{name}.json").write_text(json.dumps(secrets))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run / "sock/redis.sock"))
    listener.listen()

    def serve(answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"+OK\r\n$10\r\nrun_id:abc\r\n")
                connection.recv(1000)
                connection.sendall(answer)

    def make(*answers: bytes) -> Wire:
        threading.Thread(target=serve, args=(answers,), daemon=True).start()
        return Wire(run, timeout_s=2)

    yield make
    listener.close()
    shutil.rmtree(run)


@pytest.mark.parametrize("passing", ["LOADING Redis is loading", "BUSY Redis is busy", "MISCONF Errors writing"])
def test_a_redis_that_is_not_ready_is_waited_for(answering: Callable[..., Wire], passing: str) -> None:
    """It starts, is busy with a script, or its disk is full."""
    wire = answering(*[f"-{passing}\r\n".encode()] * 2, b"+PONG\r\n")
    assert retrying(lambda: wire.exchange(pack("PING"), 1), "asking", 10) == [b"PONG"]
    assert wire.server == "abc"


def test_a_full_disk_is_named(answering: Callable[..., Wire]) -> None:
    """What to do stands behind Redis's own words."""
    with pytest.raises(StoreDown, match=r"MISCONF no space.*make room"):
        answering(b"-MISCONF no space\r\n").exchange(pack("SET", "a", 1), 1)


@pytest.mark.parametrize("answer", [
    b"", b"$5\r\nhel", b"hello\r\n", b"+one\r\n", b"+1\r\n+2\r\n+3\r\n", b"*2\r\n+a\r\n",
])  # fmt: skip
def test_half_an_answer_or_nonsense_is_never_taken_for_one(answering: Callable[..., Wire], answer: bytes) -> None:
    """The next request goes over a new connection."""
    wire = answering(answer, b"+right\r\n+too\r\n")
    with pytest.raises(StoreDown):
        wire.exchange(pack("GET", "a") * 2, 2)
    assert wire.exchange(pack("GET", "a") * 2, 2) == [b"right", b"too"]


def test_a_stack_that_is_down_is_named(answering: Callable[..., Wire]) -> None:
    """What is wrong, and how to start it."""
    wire = answering()
    wire._run.joinpath("sock/redis.sock").unlink()
    with pytest.raises(StoreDown, match=r"does not answer .*make up"):
        wire.exchange(pack("PING"), 1)


def test_the_password_of_another_stack_is_refused(stack: Stack, answering: Callable[..., Wire]) -> None:
    """Waiting would not help: it is said at once, with the likely reason."""
    wire = answering()
    path = wire._run / "sock/redis.sock"
    path.unlink()
    path.symlink_to(stack.run / "sock/redis.sock")
    with pytest.raises(StoreError, match=r"WRONGPASS.*another run directory") as caught:
        retrying(lambda: wire.exchange(pack("PING"), 1), "asking")
    assert not isinstance(caught.value, StoreDown)
