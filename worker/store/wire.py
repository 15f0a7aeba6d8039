"""A bare connection to Redis for the two ends of the nightly run: requests packed by hand, replies parsed in C.

The ordinary client spends ten times as long on a pipeline of small commands as Redis does. Here a request is bytes
that already hold many commands, and their replies come back as one list: the reader is told that an array of them
follows, so that no Python runs for each.

A connection that had any fault is closed, never used again: an unread reply would be taken for the answer to the next
request. The next exchange opens a new one.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import hiredis

from worker import credentials
from worker.store.errors import StoreError

Request = bytes | bytearray | memoryview
Result = TypeVar("Result")

RECEIVE_BYTES = 1 << 18
TIMEOUT_S = 10.0
PATIENCE_S = 60.0
LONGEST_PAUSE_S = 1.0
# What Redis answers while it starts, runs a long script, fails over, or cannot write to its disk.
PASSING = ("LOADING", "BUSY", "MISCONF", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")
REMEDIES = {
    "OOM": "Redis is full: raise redis_maxmemory, or shorten window_days",
    "MISCONF": "Redis cannot write to its disk: make room there",
    "NOPERM": "its users are older than this program: restart the stack (make down up)",
    "ERR Function": "its functions are older than this program: restart the stack (make down up)",
}

log = logging.getLogger(__name__)


class StoreDown(StoreError):  # noqa: N818 - what the caller waits for, not only what went wrong
    """Redis does not answer, or not yet; the same request may succeed a moment later."""


class Wire:
    """One connection to the Redis of a run directory, opened when it is needed. Not for use by several threads.

    ``server`` is the run id of the Redis that answered last: when it changes, Redis was restarted, and what it had
    acknowledged in its last two seconds may be lost.
    """

    def __init__(self, run: Path, timeout_s: float = TIMEOUT_S,
                 around: contextlib.AbstractContextManager[None] | None = None) -> None:
        """``timeout_s``: how long Redis may be silent before the connection is given up. ``around``: each exchange."""
        self.server = ""
        self._run, self._timeout_s = run, timeout_s
        self._path, self._around = run / "sock/redis.sock", around or contextlib.nullcontext()
        self._socket: socket.socket | None = None
        self._replies = self._both = select.poll()  # what is waited for; of the socket when there is one
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._refused: list[str] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next exchange opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def exchange(self, request: Request, count: int) -> list[Any]:
        """Send packed commands and return their ``count`` replies: bytes, int, None or lists of them.

        Redis may run all of them before it has sent the first reply, and holds the others until then: keep what one
        request asks for below a megabyte or so.

        Raises StoreDown when Redis does not answer, StoreError when it refuses one of the commands, with its words;
        the connection is closed then, and what else the request did is unknown.
        """
        if not count:
            return []
        try:
            if self._socket is None:
                self._open()
            with self._around:
                return self._exchange(request, count)
        except (OSError, hiredis.ProtocolError) as error:
            self.close()
            raise StoreDown(f"Redis at {self._path} does not answer ({error}): is the stack up (make up), and "
                            "NIGHTFEED_RUN its run directory?") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        password = credentials.load(self._run).redis["worker"]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._timeout_s)
        self._socket.connect(str(self._path))
        self._socket.setblocking(False)
        self._replies, self._both = select.poll(), select.poll()
        self._replies.register(self._socket, select.POLLIN)
        self._both.register(self._socket, select.POLLIN | select.POLLOUT)
        _, info = self._exchange(pack("AUTH", "worker", password) + pack("INFO", "server"), 2)
        match = re.search(rb"run_id:(\w+)", info)
        self.server = match[1].decode() if match else ""

    def _exchange(self, request: Request, count: int) -> list[Any]:
        assert self._socket is not None
        reader = hiredis.Reader(replyError=self._note)
        reader.setmaxbuf(0)
        reader.feed(b"*%d\r\n" % count)
        pending = self._send(memoryview(request))
        found: Any = False
        # Both directions at once: were all sent first, both sides' buffers could fill and each wait for the other.
        while found is False:
            if not (self._both if pending else self._replies).poll(self._timeout_s * 1000):
                raise TimeoutError(f"silent for {self._timeout_s:g} s")
            found = self._receive(reader)
            if pending:
                pending = self._send(pending)
        if reader.has_data():
            raise ConnectionError("it gave more answers than it was asked for")
        if self._refused:
            raise self._refusal()
        replies: list[Any] = found
        return replies

    def _send(self, pending: memoryview) -> memoryview:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            return pending[self._socket.send(pending):]
        return pending

    def _receive(self, reader: hiredis.Reader) -> Any:
        """All replies, or False when they are not complete yet."""
        assert self._socket is not None
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if not size:
            raise ConnectionError("it closed the connection")
        reader.feed(self._buffer[:size])  # type: ignore[arg-type] # it takes any buffer
        return reader.gets()

    def _note(self, message: str) -> Exception:
        """Called by the reader for each error, so that nobody has to look at every reply."""
        self._refused.append(message)
        return hiredis.ReplyError(message)

    def _refusal(self) -> StoreError:
        message, self._refused = self._refused[0], []
        remedy = next((text for start, text in REMEDIES.items() if message.startswith(start)), "")
        if message.startswith(("WRONGPASS", "NOAUTH")):
            remedy = "was the stack started from another run directory?"
        kind = StoreDown if message.startswith(PASSING) else StoreError
        return kind(f"Redis at {self._path} refused a command: {message}" + (f" ({remedy})" if remedy else ""))


def pack(*words: str | bytes | int) -> bytes:
    """One command as Redis's protocol wants it (RESP2)."""
    raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"".join([b"*%d\r\n" % len(raw), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)])


def retrying(work: Callable[[], Result], what: str, patience_s: float = PATIENCE_S) -> Result:
    """``work()``, done again until Redis answers: for what may be done twice, as reads and fenced writes may.

    Raises StoreError when Redis still does not answer after ``patience_s`` seconds.
    """
    start, pause, waiting = time.monotonic(), 0.05, False
    while True:
        try:
            result = work()
        except StoreDown as error:
            waited = time.monotonic() - start
            if waited >= patience_s:
                raise StoreError(f"{what}: given up after {waited:.0f} s. {error}") from error
            if not waiting:
                log.warning("%s: waiting up to %.0f s more. %s", what, patience_s - waited, error)
            waiting = True
            time.sleep(min(pause, patience_s - waited))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            if waiting:
                log.warning("%s: goes on after %.1f s", what, time.monotonic() - start)
            return result
