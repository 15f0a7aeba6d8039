"""Long strings, read a piece at a time: nobody else waits for more than one of them."""

from __future__ import annotations

from typing import Any

PIECE = 1 << 20  # bytes read at once: a fraction of a millisecond of Redis


def read_string(client: Any, key: str) -> bytes:
    """The string at ``key``, empty where there is none. What is written meanwhile may be in it from a piece on."""
    pieces: list[bytes] = []
    while not pieces or len(pieces[-1]) == PIECE:
        start = len(pieces) * PIECE
        pieces.append(client.getrange(key, start, start + PIECE - 1))
    return b"".join(pieces)
