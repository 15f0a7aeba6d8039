"""Signed tokens: what was signed verifies, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack_fixture import Stack
from worker import credentials
from worker.tokens import Identity, Keyring, sign, signature, verify

RING = Keyring("k2", {"k1": b"old key", "k2": b"new key"})
users = st.from_regex(r"[A-Za-z0-9._~:-]{1,128}", fullmatch=True)
TOKEN = sign(RING, "u7", 1763740000)


def test_a_signature_is_hmac_sha_256_in_base64url() -> None:
    """RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?"."""
    digest = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    assert signature(b"Jefe", "what do ya want for nothing?") == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_the_signature_covers_everything_before_it() -> None:
    """Version, key id, user and time, with their dots."""
    expected = hmac.new(b"new key", b"v1.k2.u7.1763740000", hashlib.sha256).digest()
    assert f"v1.k2.u7.1763740000.{base64.urlsafe_b64encode(expected).decode().rstrip('=')}" == TOKEN


@given(users, st.integers(0, 10**12 - 1), st.sampled_from(["k1", "k2"]))
def test_what_was_signed_verifies_and_says_who_when_and_by_which_key(user: str, issued: int, key: str) -> None:
    """Also a user with dots in it, and an older key that is still known."""
    assert verify(RING, sign(Keyring(key, RING.keys), user, issued)) == Identity(user, issued, key)


@given(st.integers(0, len(TOKEN) - 1), st.integers(0, 6))
def test_a_token_with_one_bit_flipped_is_not_valid(place: int, bit: int) -> None:
    """Anywhere in it. Only the last character has bits that carry nothing, and they are compared as well."""
    flipped = TOKEN[:place] + chr(ord(TOKEN[place]) ^ (1 << bit)) + TOKEN[place + 1 :]
    assert verify(RING, flipped) is None


@given(st.integers(0, len(TOKEN) - 1))
def test_a_token_cut_short_is_not_valid(length: int) -> None:
    """At any length; nor is one with more behind it."""
    assert verify(RING, TOKEN[:length]) is None
    assert verify(RING, TOKEN + TOKEN[length:]) is None


@given(st.text(max_size=80))
def test_arbitrary_text_is_no_token_and_no_exception(text: str) -> None:
    """Whatever a client sends."""
    assert verify(RING, text) is None
    assert verify(RING, f"v1.k2.u7.1.{text}") is None


@pytest.mark.parametrize("token", [
    TOKEN.replace("v1", "v2"), TOKEN.replace("k2", "k1"), TOKEN.replace("k2", "k3"), TOKEN.replace("u7", "u8"),
    TOKEN.replace("1763740000", "1763740001"), TOKEN + "\n", " " + TOKEN, TOKEN + "=", TOKEN.replace(".u7.", "..u7."),
])
def test_a_token_whose_parts_were_changed_is_not_valid(token: str) -> None:
    """Another version, key, user or time, and anything around it."""
    assert verify(RING, token) is None


def test_a_key_that_was_withdrawn_no_longer_verifies() -> None:
    """Rotation: known keys verify, the current one signs."""
    old = sign(Keyring("k1", RING.keys), "u7", 1)
    assert verify(RING, old) == Identity("u7", 1, "k1")
    assert verify(Keyring("k2", {"k2": b"new key"}), old) is None


@pytest.mark.parametrize("user", ["", "a b", "x" * 129, "é", "a\n", "a/b"])
def test_what_is_no_user_id_is_not_signed(user: str) -> None:
    """The error says what an id is."""
    with pytest.raises(ValueError, match="is not a user id: 1-128 characters"):
        sign(RING, user, 1)


def test_the_command_prints_a_token_that_the_edge_takes(stack: Stack) -> None:
    """Only the token, issued now, for that user."""
    printed = stack.worker("token", "u.7~x:y-z").stdout
    identity = verify(stack.credentials.keyring, printed.removesuffix("\n"))
    assert identity is not None
    assert identity.user == "u.7~x:y-z"
    assert abs(identity.issued - time.time()) < 60
    answer = stack.http.get("/feed", headers={"Authorization": f"Bearer {printed.strip()}"})
    assert answer.json()["user"] == "u.7~x:y-z"


@pytest.mark.parametrize("role", credentials.ROLES)
def test_the_command_prints_the_api_token_of_a_role(stack: Stack, role: str) -> None:
    """The one in the run directory."""
    secrets = json.loads((stack.run / "secrets/api.json").read_text())
    assert stack.worker("token", "--api", role).stdout == secrets[role] + "\n"


@pytest.mark.parametrize("args", [[], ["u7", "--api", "admin"], ["--api", "root"], ["a b"], [""]])
def test_the_command_says_when_it_is_used_wrongly(stack: Stack, args: list[str]) -> None:
    """Exit 2 and nothing that could be taken for a token."""
    done = stack.worker("token", *args, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage:" in done.stderr


def test_secrets_that_are_missing_are_named(stack: Stack) -> None:
    """Exit 1, with the file and what to do."""
    done = stack.worker("token", "u7", check=False, env={"NIGHTFEED_RUN": str(stack.run / "nowhere")})
    assert done.returncode == 1
    assert "tokens.json is missing: start the stack once (make up), or set NIGHTFEED_RUN" in done.stderr
