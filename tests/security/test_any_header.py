"""Whatever stands in the headers: an answer below 500, for the person who signed or for a new visitor."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.wire import Answer, Wire
from tests.stack_fixture import Stack
from worker import tokens
from worker.tokens import Keyring

FULL = os.environ.get("NIGHTFEED_FAULTS") == "full"
RELAXED = settings(max_examples=5000 if FULL else 400)
NAME = "__Host-nightfeed"
# Stand-ins: tokens of two people, one of a key that is unknown here, and pieces that headers are made of.
PIECES = ["<one>", "<two>", "<forged>", NAME, "=", ";", "; ", " ", ",", "Bearer", "bearer ", "\t", ".", "v1", '"', "x",
          "Basic ", f"{NAME}=", f"; {NAME}=<one>", f"; {NAME}=<two>", f"{NAME}=<forged>; ", "<one><two>", "\x80", "%3D"]
visible = st.characters(codec="latin-1", exclude_characters="\r\n\0")
values = st.lists(st.sampled_from(PIECES) | st.text(visible, max_size=12), max_size=8).map("".join)
bearers = st.sampled_from(["Bearer <one>", "Bearer <two>", "Bearer <forged>", "bearer  <one> "]) | values
cookies = st.lists(st.sampled_from([f"{NAME}=<one>", f"{NAME}=<two>", f"{NAME}=<forged>", f"x{NAME}=<two>", f"{NAME}=",
                                    "a=b"]), max_size=12).map("; ".join) | values  # fmt: skip


class Speakers:
    """Two people's tokens for the stand-ins, and the raw connection that carries them."""

    def __init__(self, stack: Stack, wire: Wire) -> None:
        self.ring, self.wire = stack.credentials.keyring, wire
        self.tokens = {"<one>": stack.token("u-one"), "<two>": stack.token("u-two"),
                       "<forged>": tokens.sign(Keyring("k1", {"k1": b"f" * 32}), "u-forged", int(time.time()))}
        self.minted: set[str] = set()

    def filled(self, text: str) -> str:
        """Text with tokens in the places of the stand-ins."""
        return re.sub(r"<one>|<two>|<forged>", lambda match: self.tokens[match[0]], text)

    def valid(self, token: str) -> str | None:
        """Whose token it is, by Python's own verification."""
        identity = tokens.verify(self.ring, token)
        return identity.user if identity else None

    def expected(self, bearer: str, cookie: str) -> str | None:
        """The oracle: the header's user, else that of the first valid among eight cookies of our name."""
        match = re.fullmatch(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *", bearer)
        if match and (user := self.valid(match[1])):
            return user
        named = re.findall(rf"(?:^|(?<=[; ])){re.escape(NAME)}=([^; ]*)", cookie)
        return next((user for token in named[:8] if (user := self.valid(token))), None)

    def check_new(self, answer: Answer) -> None:
        """A page for a visitor who was never seen before, with a valid token in a cookie."""
        user = answer.json()["user"]
        assert re.fullmatch(r"a-[A-Za-z0-9_-]{22}", user)
        assert user not in self.minted
        self.minted.add(user)
        assert self.valid((answer.one("set-cookie") or "").partition(";")[0].partition("=")[2]) == user


@pytest.fixture
def speakers(stack: Stack) -> Iterator[Speakers]:
    """Who may speak on the session's stack."""
    with Wire(stack.port) as wire:
        yield Speakers(stack, wire)


@RELAXED
@given(bearer=bearers, cookie=cookies)
def test_the_user_is_the_one_who_signed_or_a_new_one(speakers: Speakers, bearer: str, cookie: str) -> None:
    """Exactly as Python reads the same headers."""
    # Around a value nginx drops blanks; a tab inside is part of it.
    sent = [speakers.filled(text).strip(" ") for text in (bearer, cookie)]
    raw = [text.encode("latin-1") for text in sent]
    answer = speakers.wire.get("/feed", (b"Authorization", raw[0]), (b"Cookie", raw[1]))
    assert answer.status == 200, answer
    expected = speakers.expected(*sent)
    if expected is None:
        speakers.check_new(answer)
    else:
        assert answer.json()["user"] == expected


names = st.sampled_from([b"Authorization", b"Cookie", b"cookie", b"Host", b"X-User", b"X-Forwarded-For", b"Origin",
                         b"Range", b"If-None-Match", b"Accept-Encoding", b"Nightfeed-Token", b"Content-Length",
                         b"Expect", b"Connection", b"Upgrade", b"TE"]) | st.binary(max_size=12)  # fmt: skip
contents = st.binary(max_size=60) | values.map(lambda text: text.encode("latin-1"))
headers = st.lists(st.tuples(names, contents), max_size=6)


@RELAXED
@given(lines=headers)
def test_any_bytes_as_headers_get_an_answer(speakers: Speakers, lines: list[tuple[bytes, bytes]]) -> None:
    """Also line breaks, NUL and what is no header: below 500, JSON, nobody but one of those whose token was sent."""
    filled = [(name, speakers.filled(value.decode("latin-1")).encode("latin-1")) for name, value in lines]
    with Wire(speakers.wire._port) as wire:
        # The blank lines end a body that some header may have promised, and the whole request.
        head = b"".join(name + b": " + value + b"\r\n" for name, value in filled)
        answer = wire.send(b"GET /feed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n" + b"\r\n" * 99)
    assert answer.status < 500, answer
    if answer.status == 200:
        user = answer.json()["user"]
        sent = b" ".join(value for _, value in filled).decode("latin-1")
        signed = {"u-one": "<one>", "u-two": "<two>"}.get(user)
        assert speakers.tokens[signed] in sent if signed else user is None or user.startswith("a-")
    elif answer.body:
        assert answer.json()["error"]
