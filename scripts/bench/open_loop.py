"""An open-loop load of GET /feed: requests are due at a fixed rate, and latency counts from when each was due.

A reply that comes late delays nothing but itself: the next requests are sent when they are due, or as soon as a
connection is free, and the waiting counts. Reads signed tokens from a file, a line each; runs until SIGTERM, then
writes rows of (due, sent, done, status) as an .npy file; times are of CLOCK_MONOTONIC in seconds.

python scripts/bench/open_loop.py --port 8080 --rate 2000 --tokens FILE --out FILE.npy
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import itertools
import os
import re
import select
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

CONNECTIONS = 64
READ = 1 << 17
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LOST = 0  # the status of a request whose connection broke


class Connection:
    """One kept-open connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.due = self.sent = 0.0
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def send(self, due: float, request: bytes) -> None:
        """Send a request that was due at ``due``."""
        self.due, self.sent = due, time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status when the answer is whole, LOST when the connection broke, None while more is to come."""
        try:
            data = self.socket.recv(READ)
        except ConnectionError:
            data = b""
        if not data:
            self._again()
            return LOST
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return None
        status = int(head[9:12])
        if b"\r\nconnection: close" in head.lower():
            self._again()
        self._answer = b""
        return status

    def _again(self) -> None:
        self.socket.close()
        self._open()


class Load:
    """The loop: what is due is sent as soon as a connection is free."""

    def __init__(self, port: int, rate: float, requests: list[bytes]) -> None:
        # In turn: nginx closes one that nobody uses for a minute.
        self._free = collections.deque(Connection(port) for _ in range(CONNECTIONS))
        self._busy: set[Connection] = set()
        self._step, self._requests = 1 / rate, itertools.cycle(requests)
        self.rows: list[tuple[float, float, float, int]] = []
        self.ended = False

    def run(self) -> None:
        """Until ``ended``; requests on their way then are left out."""
        due = time.monotonic()
        while not self.ended:
            while self._free and due <= time.monotonic():
                self._send(due)
                due += self._step
            # select takes microseconds, epoll only milliseconds: too coarse for a request each half of one.
            wait = max(due - time.monotonic(), 0) if self._free else 1.0
            for connection in select.select(self._busy, (), (), wait)[0]:
                self._receive(connection)

    def _send(self, due: float) -> None:
        connection = self._free.popleft()
        connection.send(due, next(self._requests))
        self._busy.add(connection)

    def _receive(self, connection: Connection) -> None:
        due, sent = connection.due, connection.sent
        status = connection.receive()
        if status is not None:
            self.rows.append((due, sent, time.monotonic(), status))
            self._busy.remove(connection)
            self._free.append(connection)


def request(token: str, items: int = 20) -> bytes:
    """One page of a feed."""
    return (f"GET /feed?n={items} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n").encode()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="An open-loop load of GET /feed.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--tokens", type=Path, required=True, help="signed tokens, one a line")
    parser.add_argument("--out", type=Path, required=True, help="the .npy file to write")
    options = parser.parse_args()
    load = Load(options.port, options.rate, [request(token) for token in options.tokens.read_text().split()])

    def end(_number: int, _frame: object) -> None:
        load.ended = True

    signal.signal(signal.SIGTERM, end)
    # It stands for machines elsewhere, which a busy host does not slow down. Only root may.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    gc.disable()  # a collection would stop the clock of everything that is due
    load.run()
    np.save(options.out, np.array(load.rows).reshape(-1, 4))
    return 0


if __name__ == "__main__":
    sys.exit(main())
