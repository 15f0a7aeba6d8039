"""Requests that fit no route or are no HTTP: JSON like every other error of the edge."""

from __future__ import annotations

import json
import socket

import pytest

from tests.stack_fixture import Stack

ROUTES = [
    "/feed", "/pixel.gif", "/beacon.js", "/beacon.d.ts", "/demo", "/demo/demo.js", "/healthz", "/readyz", "/metrics",
]  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_wrong_method_is_405_with_what_is_allowed(stack: Stack, path: str, method: str) -> None:
    """As JSON, also where nginx alone answers."""
    answer = stack.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert "use GET, HEAD" in answer.json()["error"]


@pytest.mark.parametrize("path", [
    "/", "/nothing", "/index.html", "/feed/", "/beacon/", "/error", "/demo/people", "/demo/pictures/",
    "/demo/pictures/x.txt", "/demo/pictures/..%2f..%2fconfig.json", "/demo/pictures/%2e%2e/%2e%2e/config.json",
    "/demo/../config.json", "/.git/config", "/demo/nginx.conf",
])  # fmt: skip
def test_what_is_not_there_is_404_as_json(stack: Stack, path: str) -> None:
    """No page of nginx's, and nothing outside of what is meant to be served."""
    answer = stack.http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is nothing here: check the path"}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_beacon_of_another_method_is_405(stack: Stack, method: str) -> None:
    """With what is allowed instead."""
    answer = stack.http.request(method, "/beacon")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert method == "HEAD" or "use POST" in answer.json()["error"]


def raw_request(stack: Stack, data: bytes) -> bytes:
    """Bytes as they are, and whatever comes back."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


HOST = b"Host: x\r\n"


@pytest.mark.parametrize(("data", "status"), [
    (b"NONSENSE\r\n\r\n", 400),
    (b"GET /feed HTTP/1.1\r\n\r\n", 400),
    (b"GET /feed HTTP/9.9\r\n" + HOST + b"\r\n", 505),
    (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET /%00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"POST /beacon HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    (b"POST /beacon HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999\r\n\r\n", 413),
    (b"POST /beacon HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    (b"POST /beacon HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST /beacon HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"fff\r\n" + b" " * 4095
     + (b"\r\nfff\r\n" + b" " * 4095) * 17 + b"\r\n0\r\n\r\n", 413),
])  # fmt: skip
def test_broken_http_is_answered_as_json(stack: Stack, data: bytes, status: int) -> None:
    """nginx's own errors look like all others."""
    stack.expect_log("client (intended to send too large|sent invalid) (chunked )?body|closed connection")
    head, _, body = raw_request(stack, data).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
    assert json.loads(body)["error"]
