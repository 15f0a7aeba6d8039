"""A stack with items, an anonymous and a signed-in person, and a page that asks to merge them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.edge_state import now_ms
from tests.stack_fixture import Stack
from worker import tokens

ANN = "a-0123456789abcdef"


@pytest.fixture
def items(stack: Stack) -> Stack:
    """Six items of six categories."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n}") for n in range(1, 7)])
    return stack


def act(stack: Stack, user: str, *events: tuple[Any, ...]) -> None:
    """Events of a user as (kind, item) or (kind, item, more fields); signed a month ago, so that all of them count."""
    batch = [{"event": kind, "item": item, "ts": now_ms(), **(more[0] if more else {})} for kind, item, *more in events]
    token = tokens.sign(stack.credentials.keyring, user, now_ms() // 1000 - 10 * 86400)
    answer = stack.http.post("/beacon", content=json.dumps({"events": batch}),
                             headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 204, answer.text


def ask(stack: Stack, anonymous: str = ANN, user: str = "u1", **kw: Any) -> httpx.Response:
    """As a page does: the signed-in person's token in the header, the anonymous one's in the cookie."""
    return stack.http.post("/identify", headers={**stack.bearer(user), **cookie(stack, anonymous)}, **kw)


def cookie(stack: Stack, user: str) -> dict[str, str]:
    """A browser's cookie of a user."""
    return {"Cookie": f"{stack.settings.cookie_name}={stack.token(user)}"}
