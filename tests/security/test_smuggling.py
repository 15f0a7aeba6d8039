"""Requests that two servers may read differently are refused at the door; what follows is never a second request."""

from __future__ import annotations

import json
import re

import pytest

from tests.security.wire import Wire
from tests.stack_fixture import Stack

HOST = b"Host: x\r\n"
INNER = b"GET /healthz?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POSTS = ["/beacon", "/api/items"]

LENGTHS = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n",
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "a signed length": b"Content-Length: +5\r\n",
    "a negative length": b"Content-Length: -5\r\n",
    "a hexadecimal length": b"Content-Length: 0x5\r\n",
    "a length with a blank in it": b"Content-Length: 5 5\r\n",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551621\r\n",
    "an empty length": b"Content-Length: \r\n",
    "a length with a blank before the colon": b"Content-Length : 5\r\n",
    "chunks with a blank before the colon": b"Transfer-Encoding : chunked\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunks and nothing": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
    "a folded length": b"Content-Length:\r\n\t5\r\n",
    "a NUL in the length": b"Content-Length: 5\x00\r\n",
    "a bare CR": b"X-A: b\rContent-Length: 5\r\n",
}
CODINGS = [b"xchunked", b"chunked, identity", b"identity, chunked", b"\x0bchunked", b"chunked;x", b"gzip", b'"chunked"']
HEADERS = {
    "obs-fold": b"X-A: b\r\n folded: c\r\n", "obs-fold with a tab": b"X-A: b\r\n\tfolded: c\r\n",
    "a fold at the top": b" X-A: b\r\n", "NUL in a value": b"X-A: b\x00c\r\n", "NUL in a name": b"X\x00A: b\r\n",
    "NUL in a token": b"Authorization: Bearer v1\x00\r\n", "NUL in a cookie": b"Cookie: a=\x00\r\n",
    "a control in a name": b"X\x01A: b\r\n", "an empty name": b": b\r\n", "two hosts": b"Host: y\r\n",
    "a bare CR in a value": b"X-A: b\rX-B: c\r\n",
}  # fmt: skip


def refused(stack: Stack, data: bytes, status: int) -> None:
    """One answer, with that status, as JSON; the connection ends and what came behind was not answered."""
    stack.expect_log(r"client sent invalid chunked body")
    with Wire(stack.port) as wire:
        answer = wire.send(data)
        assert answer.status == status, (data, answer)
        assert json.loads(answer.body)["error"]
        assert answer.one("connection") == "close", data


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("what", LENGTHS)
def test_a_body_of_doubtful_length_is_400(stack: Stack, path: str, what: str) -> None:
    """Two lengths, a length and chunks, a length that is no number: never a guess."""
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST + LENGTHS[what] + b"\r\n"
    refused(stack, head + b"0\r\n\r\n" + INNER, 400)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coding_that_is_not_exactly_chunked_is_501(stack: Stack, coding: bytes) -> None:
    """A server behind might take it for chunked."""
    head = b"POST /beacon HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: " + coding + b"\r\n\r\n"
    refused(stack, head + b"0\r\n\r\n" + INNER, 501)


@pytest.mark.parametrize("chunks", [b"-1\r\n", b"0x5\r\nhello\r\n", b"fffffffffffffffff\r\n", b"5 hello\r\n", b"\r\n",
                                    b"+5\r\n"])  # fmt: skip
def test_chunks_whose_sizes_are_no_sizes_are_400(stack: Stack, chunks: bytes) -> None:
    """Nothing of them is taken for a body."""
    refused(stack, b"POST /beacon HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + INNER, 400)


@pytest.mark.parametrize("path", ["/feed", "/api/status"])
@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_is_none_is_400(stack: Stack, path: str, what: str) -> None:
    """Folded lines, NUL and other controls, two hosts."""
    refused(stack, f"GET {path} HTTP/1.1\r\n".encode() + HOST + HEADERS[what] + b"\r\n" + INNER, 400)


@pytest.mark.parametrize("line", [b"GET /feed\x00 HTTP/1.1", b"GET /fe\x01ed HTTP/1.1", b"GET /feed x HTTP/1.1",
                                  b"GET\t/feed HTTP/1.1", b"PRI * HTTP/2.0", b"CONNECT x:1 HTTP/1.1",
                                  b"GET /feed HTTP/1.1 "])  # fmt: skip
def test_a_request_line_that_is_none_is_refused(stack: Stack, line: bytes) -> None:
    """Controls and blanks in it, other protocols, other hosts. A blank at its end is the only thing forgiven."""
    with Wire(stack.port) as wire:
        answer = wire.send(line + b"\r\n" + HOST + b"\r\n")
    assert answer.status == (200 if line.endswith(b" ") else 400), answer


def test_a_body_that_nobody_asked_for_is_not_a_request(stack: Stack) -> None:
    """A page's request with a body that looks like a request: read away, whole; the next request is the next one."""
    body = b"DELETE /api/users/u1 HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(stack.port) as wire:
        for _ in range(20):
            head = b"GET /feed HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
            assert wire.send(head + body).status == 200
            assert wire.get("/healthz").json() == {"status": "ok"}


def test_requests_behind_one_another_are_answered_in_order(stack: Stack) -> None:
    """Pipelined by one client for two people: each gets their own page."""
    heads = {user: b"GET /feed HTTP/1.1\r\n" + HOST + f"Authorization: Bearer {stack.token(user)}\r\n".encode()
             for user in ("u1", "u2", "u3")}
    requests = b"".join(heads[user] + tail for user, tail in (
        ("u1", b"\r\n"), ("u2", b"\r\n"), ("u3", b"Connection: close\r\n\r\n")))
    with Wire(stack.port) as wire:
        text = wire.all_of(requests)
    assert re.findall(rb'"user":"(u\d)"', text) == [b"u1", b"u2", b"u3"]


def test_what_the_api_is_asked_stays_within_its_request(stack: Stack) -> None:
    """Bodies with requests in them and chunks over the kept connection to the API: each answer is the one's own."""
    secret = f"Authorization: Bearer {stack.credentials.api['catalogue']}\r\n".encode()
    with Wire(stack.port) as wire:
        for number in range(10):
            name = f"nope-{number}".encode()
            body = INNER * 3
            for framed in (b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
                           b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)):
                answer = wire.send(b"GET /api/items/" + name + b" HTTP/1.1\r\n" + HOST + secret + framed)
                assert (answer.status, name.decode() in answer.json()["detail"]) == (404, True)


def test_visitors_cookies_and_headers_do_not_reach_the_api(stack: Stack) -> None:
    """Headers that a server may act upon change nothing: only token and content type are passed on."""
    token = stack.credentials.api["admin"].encode()
    headers = [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Ssl", b"off"), (b"X-Forwarded-Prefix", b"/x"),
               (b"Script-Name", b"/api"), (b"SCRIPT_NAME", b"/api"), (b"X-HTTP-Method-Override", b"DELETE"),
               (b"Cookie", b"x=" + b"y" * 9000), (b"Accept", b"text/xml"),
               *((f"X-{n}".encode(), b"y") for n in range(150))]
    with Wire(stack.port) as wire:
        answer = wire.get("/api/status", (b"Authorization", b"Bearer " + token), *headers)
    assert (answer.status, answer.one("content-type")) == (200, "application/json")
