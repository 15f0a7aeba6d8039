"""Signed tokens: ``v1.<key id>.<user>.<issued>.<HMAC-SHA-256>``, the last part in unpadded base64url.

The signature covers everything before its dot, so that neither the key id nor the time can be exchanged.
``lua/edge/identity.lua`` signs and verifies the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_TOKEN = re.compile(r"v1\.([A-Za-z0-9]+)\.([A-Za-z0-9._~:-]{1,128})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Keyring:
    """Token keys by id; ``current`` signs, all verify."""

    current: str
    keys: dict[str, bytes]


@dataclass(frozen=True)
class Identity:
    """Who a valid token speaks for, when it was issued (Unix s), and by which key."""

    user: str
    issued: int
    key_id: str


def signature(secret: bytes, payload: str) -> str:
    """HMAC-SHA-256 (RFC 2104) of ``payload``, base64url without padding: 43 characters."""
    digest = hmac.new(secret, payload.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def sign(keyring: Keyring, user: str, issued: int) -> str:
    """A token for ``user``, issued at Unix second ``issued``. Raises ValueError when the id is not valid."""
    if not ID.fullmatch(user):
        raise ValueError(f"{user!r} is not a user id: 1-128 characters of A-Z a-z 0-9 . _ ~ : -")
    payload = f"v1.{keyring.current}.{user}.{issued}"
    return f"{payload}.{signature(keyring.keys[keyring.current], payload)}"


def verify(keyring: Keyring, token: str) -> Identity | None:
    """The token's identity, or None when it is malformed, signed by an unknown key, or forged."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    key_id, user, issued, signed = match.groups()
    secret = keyring.keys.get(key_id)
    if secret is None:
        return None
    expected = signature(secret, token.rsplit(".", 1)[0])
    if not hmac.compare_digest(expected, signed):
        return None
    return Identity(user, int(issued), key_id)
