"""Who is asking: tokens as Bearer and cookie, visitors without one, forged ones, and keys that rotate."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import httpx
import pytest

from tests.edge_state import users
from tests.stack_fixture import Stack
from worker import tokens
from worker.tokens import Keyring

COOKIE = "__Host-nightfeed"
SEARCH = [{"event": "search", "query": "sourdough"}]


def send(stack: Stack, headers: dict[str, str] | None = None) -> httpx.Response:
    """A beacon that is valid without any item, with these headers only."""
    body = {"events": [{**event, "ts": int(time.time() * 1000)} for event in SEARCH]}
    return stack.http.post("/beacon", content=json.dumps(body), headers=headers)


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={token}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def minted(answer: httpx.Response) -> str:
    """The token of a Set-Cookie."""
    match = re.match(rf"{COOKIE}=([^;]+);", answer.headers["set-cookie"])
    assert match
    return match[1]


def test_a_visitor_without_a_token_gets_an_anonymous_identity(stack: Stack) -> None:
    """Random, signed, in a cookie that scripts cannot read; Python verifies what Lua signed."""
    answer = send(stack)
    assert answer.status_code == 204
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert attributes == ["Path=/", "Max-Age=31536000", "HttpOnly", "SameSite=Lax", "Secure"]
    identity = tokens.verify(stack.credentials.keyring, minted(answer))
    assert identity
    assert re.fullmatch(r"a-[A-Za-z0-9_-]{22}", identity.user)
    assert abs(identity.issued - time.time()) < 60
    assert list(users(stack)) == [identity.user]


def test_the_next_request_is_the_same_person(stack: Stack) -> None:
    """A cookie that is valid is not set again."""
    first = send(stack)
    second = send(stack, cookie(minted(first)))
    assert second.status_code == 204
    assert "set-cookie" not in second.headers
    assert len(users(stack)) == 1


def test_two_visitors_are_two_people(stack: Stack) -> None:
    """No identity is given out twice."""
    assert len({minted(send(stack)) for _ in range(30)}) == 30
    assert len(users(stack)) == 30


def test_nothing_stored_means_no_identity(stack: Stack) -> None:
    """A refused beacon leaves no cookie."""
    answer = stack.http.post("/beacon", content="{}")
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


ODD_USERS = ["u7", "a.b.c", "..", "A_Z~:-", "v1.k1", "x" * 128, "0"]


@pytest.mark.parametrize("user", ODD_USERS)
def test_python_signs_what_the_edge_accepts(stack: Stack, user: str) -> None:
    """As Bearer and as cookie, with any id that is allowed."""
    for headers in (bearer(stack.token(user)), cookie(stack.token(user))):
        answer = send(stack, headers)
        assert answer.status_code == 204
        assert "set-cookie" not in answer.headers
    assert list(users(stack)) == [user]


def forgeries(stack: Stack) -> dict[str, str]:
    """Tokens that must count as none, by what is wrong with them."""
    token = stack.token("victim")
    head, _, signed = token.rpartition(".")
    stranger = Keyring("k1", {"k1": b"x" * 32})
    other = "A" if signed[0] != "A" else "B"
    # The last character carries four bits; its two spare bits must be zero, or one token would have four texts.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = last[last.index(signed[-1]) ^ 1]
    return {
        "another signature": f"{head}.{other}{signed[1:]}",
        "a signature that is too short": token[:-1],
        "a signature that is too long": token + "A",
        "spare bits": f"{head}.{signed[:-1]}{spare}",
        "another user": token.replace("victim", "victin"),
        "another time": head.rpartition(".")[0] + f".1.{signed}",
        "another key id": token.replace(".k1.", ".k2."),
        "a stranger's key": tokens.sign(stranger, "victim", int(time.time())),
        "another version": "v2" + token[2:],
        "one character": "x",
        "no dots": "victim",
        "no signature": head,
        "an empty signature": head + ".",
        "a long user": tokens.sign(stranger, "v" * 128, 1).replace("v" * 128, "v" * 4000),
        "binary": "v1.k1.\x80\xff.1.AAAA",
        "padding": token + "=",
    }


def test_a_wrong_token_counts_as_none(stack: Stack) -> None:
    """Never an error page, and never the person whose name stands in it."""
    for what, forged in forgeries(stack).items():
        for headers in (bearer(forged), cookie(forged)):
            raw = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = send(stack, raw)  # type: ignore[arg-type]
            assert answer.status_code == 204, what
            assert minted(answer), what
    assert "victim" not in users(stack)
    assert all(user.startswith("a-") for user in users(stack))


def test_a_valid_bearer_wins_over_the_cookie(stack: Stack) -> None:
    """And a wrong one does not hide the cookie."""
    send(stack, bearer(stack.token("u1")) | cookie(stack.token("u2")))
    assert list(users(stack)) == ["u1"]
    send(stack, bearer("v1.k1.u3.1.forged") | cookie(stack.token("u2")))
    assert sorted(users(stack)) == ["u1", "u2"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(stack: Stack, scheme: str) -> None:
    """As RFC 9110 has it."""
    send(stack, {"Authorization": f"{scheme} {stack.token('u1')}"})
    assert list(users(stack)) == ["u1"]


def test_of_several_cookies_the_first_valid_one_counts(stack: Stack) -> None:
    """Another path or subdomain may have set one of the same name; a longer name is another cookie."""
    token, later = stack.token("u1"), stack.token("u2")
    header = f"a=b; x{COOKIE}={later}; {COOKIE}=; {COOKIE}=junk; {COOKIE}={token}; {COOKIE}={later}"
    answer = send(stack, {"Cookie": header})
    assert "set-cookie" not in answer.headers
    assert list(users(stack)) == ["u1"]


@pytest.mark.parametrize("size", [7000, 8192, 15_000])
def test_large_cookies_of_the_site_are_no_error(stack: Stack, size: int) -> None:
    """They come along with every request to the site's host."""
    answer = send(stack, {"Cookie": f"other={'x' * size}; {COOKIE}={stack.token('u1')}"})
    assert answer.status_code == 204
    assert list(users(stack)) == ["u1"]


def test_cookies_that_are_larger_than_any_browser_sends_are_refused(stack: Stack) -> None:
    """431 as JSON, not a page of nginx's."""
    answer = send(stack, {"Cookie": "x" * 40_000})
    assert answer.status_code == 431
    assert "headers are too large" in answer.json()["error"]


def test_hundreds_of_cookies_of_our_name_cost_little(stack: Stack) -> None:
    """Only a few are tried: a request cannot make the edge compute without end."""
    header = "; ".join(f"{COOKIE}=v1.k1.u{i}.1.{'A' * 43}" for i in range(150))
    assert send(stack, {"Cookie": header + f"; {COOKIE}={stack.token('u1')}"}).status_code == 204
    assert "u1" not in users(stack)


def test_the_cookie_follows_the_configuration(fresh_stack: Callable[..., Stack]) -> None:
    """Name, life, SameSite and Secure, as an embed on plain HTTP or across sites needs them."""
    stack = fresh_stack(cookie_name="visitor", cookie_secure=False, cookie_same_site="Strict", cookie_days=30)
    header = send(stack).headers["set-cookie"]
    assert header.startswith("visitor=v1.k1.a-")
    assert header.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict")


def test_a_cookie_past_half_of_its_life_is_renewed(stack: Stack) -> None:
    """Who comes every day is not forgotten after a year."""
    old = tokens.sign(stack.credentials.keyring, "u1", int(time.time()) - 200 * 86_400)
    renewed = tokens.verify(stack.credentials.keyring, minted(send(stack, cookie(old))))
    assert renewed
    assert renewed.user == "u1"
    assert abs(renewed.issued - time.time()) < 60
    assert "set-cookie" not in send(stack, bearer(old)).headers
