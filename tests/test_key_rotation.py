"""Token keys that rotate: old ones are accepted and reissued, withdrawn ones are not, broken files change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.edge_state import users
from tests.stack_fixture import Stack
from tests.test_identity import bearer, cookie, minted, send
from worker import tokens
from worker.tokens import Keyring


def rotate(stack: Stack, **changes: Any) -> None:
    """Replace the token keys, and have nginx read them."""
    path = stack.run / "secrets/tokens.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    stack.reload()


def test_a_token_of_an_old_key_is_accepted_and_reissued(fresh_stack: Callable[..., Stack]) -> None:
    """Same person, new key: as a cookie to who came with a cookie, as a header to who came with a Bearer token."""
    stack = fresh_stack()
    old, before = stack.token("u1"), stack.credentials.keyring
    keys = {name: secret.hex() for name, secret in before.keys.items()}
    rotate(stack, current="k2", keys={**keys, "k2": "ab" * 32})
    ring = Keyring("k2", {**before.keys, "k2": bytes.fromhex("ab" * 32)})
    answer = stack.until(lambda: (a := send(stack, cookie(old))) and "set-cookie" in a.headers and a)
    reissued = tokens.verify(ring, minted(answer))
    assert reissued
    assert (reissued.user, reissued.key_id) == ("u1", "k2")
    answer = send(stack, bearer(old))
    assert "set-cookie" not in answer.headers
    assert tokens.verify(ring, answer.headers["nightfeed-token"]) == reissued
    assert "set-cookie" not in send(stack, cookie(minted(send(stack, cookie(old))))).headers
    assert list(users(stack)) == ["u1"]


def test_a_token_of_a_withdrawn_key_counts_as_none(fresh_stack: Callable[..., Stack]) -> None:
    """A key that leaked is taken out, and with it all it signed."""
    stack = fresh_stack()
    old = stack.token("u1")
    rotate(stack, current="k2", keys={"k2": "ab" * 32})
    stack.until(lambda: "set-cookie" in send(stack, bearer(old)).headers)
    stack.empty()
    send(stack, bearer(old))
    assert "u1" not in users(stack)


@pytest.mark.parametrize("content", [
    '{"current":"k2","keys":{"k1":"' + "ab" * 32 + '"}}', '{"current":"k1","keys":{"k1":"xyz"}}', "[]", "",
])  # fmt: skip
def test_a_broken_keyring_stops_the_start_and_not_what_runs(fresh_stack: Callable[..., Stack], content: str) -> None:
    """nginx keeps the old configuration when it is told to read a broken one."""
    stack = fresh_stack()
    stack.expect_log(r"init_by_lua error|tokens\.json")
    (stack.run / "secrets/tokens.json").write_text(content)
    stack.reload()
    stack.until(lambda: "tokens.json" in (stack.run / "log/nginx-error.log").read_text())
    assert send(stack, bearer(stack.token("u1"))).status_code == 204
    assert list(users(stack)) == ["u1"]
