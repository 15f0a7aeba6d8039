"""HTTP as bytes: requests exactly as a test writes them, many on one connection, and the answers taken apart."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One response: status, headers in order with names in lower case, body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for known, value in self.headers if known == name]

    def one(self, name: str) -> str | None:
        """The value of a header that stands at most once."""
        values = self.all(name)
        assert len(values) <= 1, self.headers
        return values[0] if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """A connection to a port of this host that is made again when the other side has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket:
            self._socket.close()
        self._socket, self._read = None, b""

    def get(self, path: str, *headers: tuple[bytes, bytes], method: bytes = b"GET") -> Answer:
        """A request without a body; header values are sent as they are."""
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return self.send(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n", method)

    def send(self, data: bytes, method: bytes = b"GET") -> Answer:
        """These bytes, and the first response to them; whatever follows it is dropped with the connection."""
        self._connect().sendall(data)
        answer = self._answer(method)
        if self._read or answer.one("connection") == "close":
            self.close()
        return answer

    def all_of(self, data: bytes) -> bytes:
        """These bytes, and everything that comes back until the other side closes."""
        self._connect().sendall(data)
        text = b"".join(iter(lambda: self._connect().recv(65536), b""))
        self.close()
        return text

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        return self._socket

    def _answer(self, method: bytes) -> Answer:
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        status, length = int(first.split()[1]), int(dict(headers).get("content-length", "0"))
        if method == b"HEAD" or status in (204, 304):
            length = 0
        assert ("transfer-encoding", "chunked") not in headers, "a chunked answer is not expected here"
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Answer(status, headers, body)

    def _more(self) -> None:
        assert self._socket is not None
        block = self._socket.recv(65536)
        assert block, f"the connection was closed without a whole answer: {self._read!r}"
        self._read += block


def raw_exchange(port: int, data: bytes) -> bytes:
    """Bytes on a connection of their own, and all that comes back until the other side closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))
