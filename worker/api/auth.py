"""Bearer tokens and what each role may do. A resource says the role it needs; one that says nothing needs admin."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import falcon

ADMIN = "admin"
CHALLENGE = 'Bearer realm="nightfeed"'


class Bearer:
    """Middleware that lets a request through to its resource, or answers 401 or 403."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = {role: token.encode() for role, token in tokens.items()}

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: Any, params: Any) -> None:
        """Compare the request's token with the role that ``resource.role`` names (None: open to all)."""
        needed = getattr(resource, "role", ADMIN)
        if needed is None:
            return
        role = self._role(req.auth or "")
        if role is None:
            raise falcon.HTTPUnauthorized(
                description="send Authorization: Bearer <token>; `worker token --api ROLE` prints one",
                challenges=[CHALLENGE],
            )
        if role not in (needed, ADMIN):
            raise falcon.HTTPForbidden(description=f"this needs the {needed} token, and got the one of {role}")

    def _role(self, header: str) -> str | None:
        """The role of the token in an Authorization header. Every token is compared, each in constant time."""
        scheme, _, token = header.partition(" ")
        given = token.strip().encode() if scheme.lower() == "bearer" else b""
        matching = [role for role, known in self._tokens.items() if hmac.compare_digest(given, known)]
        return matching[0] if matching else None
