"""Runs ``worker`` and does something to it at one of its requests to Redis: every state that Redis can be left in.

    python -m tests.faults.at_request ACTION WHERE worker's arguments

ACTION ``kill``: SIGKILL before the request is sent; ``half``: after the first half of its bytes; ``stop``: SIGSTOP
before it; ``trace``: WHERE is a file that gets one line a request; ``processes``: a pool however few users there are.
WHERE is ``pattern#n``: the n-th request whose words match; or ``#n``: the n-th of all; or several, one after another.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from redis.connection import AbstractConnection

from worker.cli import main
from worker.nightly import pool
from worker.store.wire import Wire

SHOWN_BYTES = 100_000
Send = Callable[[bytes], None]


class Watch:
    """Sees each request before it is sent, by ``redis-py`` and by ``Wire`` alike."""

    def __init__(self, action: str, where: str) -> None:
        self._action, self._where = action, where
        # For "stop", several places one after the other.
        self._places = [] if action == "trace" else re.findall(r" ?(.*?)#(\d+)", where)
        self._next()

    def _next(self) -> None:
        pattern, number = self._places.pop(0) if self._places else ("", "0")
        self._pattern, self._left = re.compile(pattern), int(number)

    def sees(self, request: bytes, send: Send) -> None:
        """Look at a request; ``send`` would send bytes of it."""
        words = b" ".join(re.sub(rb"[*$]\d+\r\n", b"", request[:SHOWN_BYTES]).split()).decode(errors="replace")
        if self._action == "trace":
            with Path(self._where).open("a") as trace:
                trace.write(ascii(words[:200]) + "\n")
        elif self._pattern.search(words):
            self._left -= 1
            if self._left == 0:
                self._act(request, send)

    def _act(self, request: bytes, send: Send) -> None:
        if self._action == "half":
            send(request[: len(request) // 2])
        self._next()
        os.kill(os.getpid(), signal.SIGSTOP if self._action == "stop" else signal.SIGKILL)


def install(watch: Watch) -> None:
    """Put the watch before both ways of sending."""
    packed, exchange = AbstractConnection.send_packed_command, Wire._exchange

    def send_packed_command(self: Any, command: bytes | Iterable[bytes], check_health: bool = True) -> None:
        whole = command if isinstance(command, bytes) else b"".join(command)
        watch.sees(whole, lambda part: self._sock.sendall(part))
        packed(self, [whole], check_health)

    def _exchange(self: Wire, request: bytes, count: int) -> list[Any]:
        watch.sees(bytes(request), lambda part: blocking(self).sendall(part))
        return exchange(self, request, count)

    AbstractConnection.send_packed_command = send_packed_command  # type: ignore[method-assign]
    Wire._exchange = _exchange  # type: ignore[method-assign,assignment]


def blocking(wire: Wire) -> Any:
    """The wire's socket, which waits until all is sent."""
    assert wire._socket is not None
    wire._socket.setblocking(True)
    return wire._socket


if __name__ == "__main__":
    if sys.argv[1] == "processes":
        pool.WORTH_A_PROCESS = 1
    else:
        install(Watch(sys.argv[1], sys.argv[2]))
    main(sys.argv[3:])
