"""Token keys over their life: a second key comes, the first retires; what was verified before is not remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.security.wire import Wire
from tests.stack_fixture import Stack
from worker import tokens
from worker.tokens import Keyring

NEW, NEWER = bytes(range(32)), bytes(range(32, 64))


def install(stack: Stack, ring: Keyring) -> None:
    """Give the edge a keyring, and wait until each of its workers has it: new ones have other pids."""
    before = worker_pids(stack)
    keys = {name: key.hex() for name, key in ring.keys.items()}
    (stack.run / "secrets/tokens.json").write_text(json.dumps({"current": ring.current, "keys": keys}))
    stack.reload()
    stack.until(lambda: not worker_pids(stack) & before and len(worker_pids(stack)) == 2)


def worker_pids(stack: Stack) -> set[int]:
    """nginx's worker processes."""
    pid = stack.part("nginx").pid()
    return {int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()}


def user_of(stack: Stack, token: str, times: int = 8) -> set[str]:
    """Whom a token speaks for, asked on several connections so that each worker is likely to be asked."""
    found = set()
    for _ in range(times):
        with Wire(stack.port) as wire:
            answer = wire.get("/feed", (b"Cookie", b"__Host-nightfeed=" + token.encode()))
        found.add(answer.json()["user"])
    return found


def test_keys_come_and_go_and_tokens_with_them(fresh_stack: Callable[..., Stack]) -> None:
    """Both keys; then the second only; then another key under the retired one's name; then the first again."""
    stack = fresh_stack()
    first = stack.credentials.keyring
    old = stack.token("u1")
    assert user_of(stack, old) == {"u1"}
    both = Keyring("k2", {**first.keys, "k2": NEW})
    install(stack, both)
    young = tokens.sign(both, "u2", int(time.time()))
    assert (user_of(stack, old), user_of(stack, young)) == ({"u1"}, {"u2"})
    # A retired key: both workers had verified the token many times, and none may remember it.
    install(stack, Keyring("k2", {"k2": NEW}))
    assert "u1" not in user_of(stack, old)
    assert user_of(stack, young) == {"u2"}
    # Another key that has the name of one that leaked does not bring its tokens back.
    install(stack, Keyring("k1", {"k1": NEWER, "k2": NEW}))
    assert "u1" not in user_of(stack, old)
    assert user_of(stack, tokens.sign(Keyring("k1", {"k1": NEWER}), "u3", 1)) == {"u3"}
    # What was signed with one key under the other's name is forged.
    for mixed in (Keyring("k1", {"k1": NEW}), Keyring("k2", {"k2": NEWER})):
        assert "u4" not in user_of(stack, tokens.sign(mixed, "u4", int(time.time())))
    install(stack, first)
    assert user_of(stack, old) == {"u1"}


def test_minted_tokens_are_of_the_current_key_and_old_ones_are_replaced(fresh_stack: Callable[..., Stack]) -> None:
    """A visitor who comes back under an old key leaves with the new one, and is the same person."""
    stack = fresh_stack()
    ring = Keyring("k2", {**stack.credentials.keyring.keys, "k2": NEW})
    with Wire(stack.port) as wire:
        before = cookie_of(wire.get("/feed").all("set-cookie"))
    install(stack, ring)
    with Wire(stack.port) as wire:
        reissued = cookie_of(wire.get("/feed", (b"Cookie", b"__Host-nightfeed=" + before.encode())).all("set-cookie"))
        minted = cookie_of(wire.get("/feed").all("set-cookie"))
    was, now, other = (tokens.verify(ring, token) for token in (before, reissued, minted))
    assert was
    assert now
    assert other
    assert (was.key_id, now.key_id, other.key_id) == ("k1", "k2", "k2")
    assert now.user == was.user != other.user


def cookie_of(values: list[str]) -> str:
    """The token of the only Set-Cookie."""
    [value] = values
    return value.partition(";")[0].partition("=")[2]
