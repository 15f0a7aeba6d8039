"""A small HTTP/1.1 client that sends what it is told, byte for byte, and says when a connection is gone."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.stack_fixture import Stack

SECONDS = 30


class GoneError(Exception):
    """The connection was refused, reset or closed, or was silent for too long, before an answer was whole."""


@dataclass(frozen=True)
class Answer:
    """One answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Connection:
    """One connection to a port of this host. Whatever goes wrong with it raises GoneError."""

    def __init__(self, port: int, seconds: float = SECONDS) -> None:
        self.used = False  # whether it has given an answer already
        self._rest = b""
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        except OSError as error:
            raise GoneError(f"no connection: {error}") from error
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise GoneError(f"nothing more can be sent: {error}") from error

    def answer(self) -> Answer:
        """The next answer."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = self._exactly(int(headers.get("content-length", 0)))
        self.used = True
        return Answer(int(first.split()[1]), headers, body)

    def ask(self, data: bytes) -> Answer:
        """Send one request, and its answer."""
        self.send(data)
        return self.answer()

    def leave(self, reset: bool = False) -> None:
        """Close it; with ``reset`` the other side learns of it at once and loses what was under way."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def ended(self) -> bool:
        """Wait for the other side to end the connection without another byte; False when it sends something."""
        with contextlib.suppress(ConnectionError):
            return self._rest == b"" and self.sock.recv(1) == b""
        return True

    def _receive(self) -> None:
        try:
            more = self.sock.recv(65536)
        except OSError as error:
            raise GoneError(f"no answer: {error}") from error
        if not more:
            raise GoneError("closed before an answer was whole")
        self._rest += more

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._receive()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._receive()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"",
            length: int | None = None) -> bytes:
    """A request as bytes. ``length``: the Content-Length that it claims, by default that of the body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if length is not None or body:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(path: str, headers: dict[str, str], body: bytes, size: int, end: bool = True) -> bytes:
    """A POST whose body comes in chunks of ``size`` bytes; without ``end`` the last, empty one is missing."""
    head = request("POST", path, {**headers, "Transfer-Encoding": "chunked"})
    pieces = (body[at:at + size] for at in range(0, len(body), size))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if end else b"")


def beacon_body(events: Iterable[dict[str, Any]]) -> bytes:
    """The body of a beacon."""
    return json.dumps({"events": list(events)}).encode()


def connect(stack: Stack, seconds: float = SECONDS) -> Connection:
    """A connection to the stack's edge."""
    return Connection(stack.port, seconds)
