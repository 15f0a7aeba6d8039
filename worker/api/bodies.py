"""Request bodies: their size is known before they are read, and none is left unread."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Protocol

import falcon

MAX_RECORD_BODY = 64 * 1024
MAX_LINES_BODY = 64 * 1024 * 1024
BLOCK = 64 * 1024


class Source(Protocol):
    """What a body is read from: fewer bytes than asked for come at its end only."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to ``size`` bytes."""


class Body(io.RawIOBase):
    """The ``length`` bytes of a request's body.

    Not falcon's own bounded stream: that one counts a line as long as the longest it would have taken, and so ends
    before the body does.
    """

    def __init__(self, stream: Source, length: int) -> None:
        self._stream = stream
        self._left = length

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of ``buffer``; returns how many bytes, 0 at the end or when the client has gone."""
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def opened(req: falcon.Request, limit: int) -> BinaryIO:
    """The body to read. Raises 411 when its length is not said, 413 when it is over ``limit``, 400 when it is 0."""
    if req.content_length is None and req.get_header("Transfer-Encoding"):
        raise falcon.HTTPLengthRequired(description="send the body with a Content-Length")
    length = req.content_length or 0
    if length > limit:
        raise falcon.HTTPContentTooLarge(description=f"the body has {length} bytes; at most {limit} are taken")
    if length == 0:
        raise falcon.HTTPBadRequest(description="the body is empty")
    body = io.BufferedReader(Body(req.stream, length), BLOCK)
    req.context.body = body
    return body


class Drain:
    """Middleware that reads what a refused request still sends.

    A server that closes a connection with unread bytes may take its own answer away from the proxy in front.
    """

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: Any, succeeded: bool) -> None:
        """After the answer is made and before it is sent."""
        length = req.content_length or 0
        if succeeded or length > MAX_LINES_BODY:
            return
        body = getattr(req.context, "body", None) or io.BufferedReader(Body(req.stream, length), BLOCK)
        while body.read(BLOCK):
            pass
