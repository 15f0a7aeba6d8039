"""A small HTTP server for load generators: it keeps what it was asked, and can be slow or wrong on purpose."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest


class Asked(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers POST by 204 and GET by 200 with 10,000 bytes; ``stall`` seconds before the first one, then at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str, str]] = []  # path, token, body
        self.stall, self.status = 0.0, {"POST": 204, "GET": 200}
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def wait(self) -> None:
        """What the first request waits for; all that come meanwhile wait as well."""
        with self.lock:
            time.sleep(self.stall)
            self.stall = 0.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    server: Asked

    def do_GET(self) -> None:
        """A page, or the try-out of /healthz."""
        self._answer(b"x" * 10_000)

    def do_POST(self) -> None:
        """A beacon."""
        self._answer(b"")

    def _answer(self, text: bytes) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.requests.append((self.path, token, body.decode()))
        self.server.wait()
        self.send_response_only(self.server.status[self.command])
        if self.server.status[self.command] != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()


@pytest.fixture
def asked() -> Iterator[Asked]:
    """A running one."""
    server = Asked()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
