"""A Redis connection for writing much at once: commands packed by hand, sent and answered in threads of their own."""

from __future__ import annotations

import queue
import socket
import threading
from pathlib import Path

from worker import credentials

AHEAD = 2  # packed pieces that wait while Redis works
READ = 1 << 16
LAST = b"+PONG\r\n"  # the reply to what is sent last


class PipeError(Exception):
    """Redis refused a command, or the connection broke; the message says which."""


def packed(*words: bytes) -> bytes:
    """One command in the Redis protocol (RESP)."""
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def bulk(word: bytes) -> bytes:
    """One word of a command in the Redis protocol."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


class Pipe:
    """Sends packed commands whose replies are integers. Leaving the ``with`` block waits for the last reply."""

    def __init__(self, run: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(run / "sock/redis.sock"))
        self._socket.sendall(packed(b"AUTH", b"worker", credentials.load(run).redis["worker"].encode()))
        answer = self._socket.recv(READ)
        if not answer.startswith(b"+OK"):
            raise PipeError(f"Redis refused the worker's password: {answer.decode(errors='replace').strip()}")
        self._pieces: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._expected, self._error = 0, ""
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer.start()
        self._reader.start()

    def send(self, piece: bytes, replies: int) -> None:
        """Queue packed commands that ``replies`` integers answer. Raises PipeError for an earlier failure."""
        self._check()
        self._expected += replies
        self._pieces.put(piece)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._pieces.put(packed(b"PING"))
                self._pieces.put(None)
                self._writer.join()
                self._reader.join()
                self._check()
        finally:
            self._socket.close()

    def _check(self) -> None:
        if self._error:
            raise PipeError(self._error)

    def _write(self) -> None:
        while (piece := self._pieces.get()) is not None:
            try:
                self._socket.sendall(piece)
            except OSError as error:
                # The reader's message, if it has one, names the cause. What is queued still has to be taken.
                self._error = self._error or f"the connection to Redis broke: {error}"

    def _read(self) -> None:
        """Count replies as far as that of the last PING."""
        answered, end = 0, b""
        try:
            while not end.endswith(LAST):
                data = self._socket.recv(READ)
                if not data:
                    raise ConnectionError("it was closed")
                answered += data.count(b"\n")
                end = (end + data)[-len(LAST) :]
                if b"-" in data:
                    self._error = f"Redis refused a command: {data.decode(errors='replace').partition('-')[2][:200]}"
            if answered != self._expected + 1:
                self._error = self._error or f"Redis gave {answered - 1} replies to {self._expected} commands"
        except OSError as error:
            self._error = self._error or f"the connection to Redis broke: {error}"
