"""Forged tokens: every bit flipped, every length, other signers, both places at once; nobody becomes another person."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import time
from collections.abc import Iterator

import pytest

from tests.edge_state import now_ms, users
from tests.security.wire import Answer, Wire
from tests.stack_fixture import Stack
from worker import tokens
from worker.tokens import Keyring

COOKIE = b"__Host-nightfeed="
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    """A raw connection to the edge."""
    with Wire(stack.port) as connection:
        yield connection


def carried(token: bytes) -> dict[str, tuple[bytes, bytes]]:
    """The header that carries a token, in each of its two places."""
    return {"bearer": (b"Authorization", b"Bearer " + token), "cookie": (b"Cookie", COOKIE + token)}


def speaks_for(answer: Answer) -> str | None:
    """The user of a page, or None for a request that is not valid HTTP; nothing else may come back."""
    if answer.status == 400:
        assert "not valid HTTP" in answer.json()["error"]
        return None
    assert answer.status == 200, answer
    return str(answer.json()["user"])


def check_stranger(stack: Stack, answer: Answer, what: object) -> None:
    """The answer is for a visitor who was new with this request, and says so in a cookie that is valid."""
    user = speaks_for(answer)
    if user is None:
        return
    assert user.startswith("a-"), what
    name, _, token = (answer.one("set-cookie") or "").partition(";")[0].partition("=")
    identity = tokens.verify(stack.credentials.keyring, token)
    assert name == "__Host-nightfeed"
    assert identity is not None, what
    assert identity.user == user, what


@pytest.mark.parametrize("place", ["bearer", "cookie"])
def test_no_token_with_one_bit_flipped_is_anyones(stack: Stack, wire: Wire, place: str) -> None:
    """All bits of all bytes: each is a new visitor, or no valid HTTP where the bit made a line break or a control."""
    token = stack.token("victim").encode()
    assert speaks_for(wire.get("/feed", carried(token)[place])) == "victim"
    for at, bit in itertools.product(range(len(token)), range(8)):
        flipped = token[:at] + bytes([token[at] ^ (1 << bit)]) + token[at + 1 :]
        check_stranger(stack, wire.get("/feed", carried(flipped)[place]), (at, bit, flipped))
    assert users(stack) == {}


@pytest.mark.parametrize("place", ["bearer", "cookie"])
def test_no_token_that_was_cut_or_grew_is_anyones(stack: Stack, wire: Wire, place: str) -> None:
    """Every length from nothing on, from both ends; and one more character, whichever."""
    token = stack.token("victim").encode()
    cut = [token[:length] for length in range(len(token))] + [token[length:] for length in range(1, len(token))]
    grown = [token + extra.encode() for extra in BASE64URL + ".=~"] + [extra.encode() + token for extra in "v1.~"]
    for other in [*cut, *grown, token + token, token * 20]:
        check_stranger(stack, wire.get("/feed", carried(other)[place]), other)


def test_the_last_character_has_one_form_only(stack: Stack, wire: Wire) -> None:
    """43 characters of base64 hold two bits more than a digest: of the 64 only one is the token's."""
    token = stack.token("victim")
    forms = {last: carried((token[:-1] + last).encode())["bearer"] for last in BASE64URL}
    accepted = [last for last, header in forms.items() if speaks_for(wire.get("/feed", header)) == "victim"]
    assert accepted == [token[-1]]


def test_no_part_may_come_from_another_token(stack: Stack, wire: Wire) -> None:
    """Two people's tokens of two times: every mixture of their parts that is neither is nobody's."""
    first, second = stack.token("victim"), tokens.sign(stack.credentials.keyring, "thief", 1_700_000_000)
    parts = list(zip(first.split("."), second.split("."), strict=True))
    mixtures = {".".join(choice) for choice in itertools.product(*parts)} - {first, second}
    assert len(mixtures) == 6  # user, time and signature differ: 2^3 less the two
    for mixture in mixtures:
        check_stranger(stack, wire.get("/feed", carried(mixture.encode())["cookie"]), mixture)


def test_other_ways_to_sign_are_not_taken(stack: Stack, wire: Wire) -> None:
    """The key's text for its bytes, no key, another digest, another encoding, the signature of something else."""
    key = stack.credentials.keyring.keys["k1"]
    payload = f"v1.k1.victim.{int(time.time())}"

    def digest(secret: bytes, text: str = payload, name: str = "sha256") -> bytes:
        return hmac.new(secret, text.encode(), name).digest()

    def url(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    forged = [url(digest(key.hex().encode())), url(digest(b"")), url(digest(key, name="sha1")),
              url(digest(key, name="sha512")), url(digest(key, name="sha512")[:32]), digest(key).hex(),
              base64.b64encode(digest(key)).decode(), url(digest(key, payload + ".")), url(digest(key, "victim")),
              url(hashlib.sha256(key + payload.encode()).digest()), url(digest(key)[::-1]), "none", ""]
    for signature in forged:
        check_stranger(stack, wire.get("/feed", carried(f"{payload}.{signature}".encode())["bearer"]), signature)
    strange = tokens.sign(Keyring("k1", {"k1": bytes(32)}), "victim", int(time.time()))
    renamed = [stack.token("victim").replace(".k1.", f".{other}.") for other in ("1", "index", "K1", "k11")]
    for odd in (strange, *renamed):
        check_stranger(stack, wire.get("/feed", carried(odd.encode())["cookie"]), odd)


def test_both_places_at_once_in_any_combination(stack: Stack, wire: Wire) -> None:
    """The header wins when it is valid, else the first valid cookie; never a third person."""
    good, other = stack.token("u1").encode(), stack.token("u2").encode()
    flipped = stack.token("victim").encode()[:-2] + b"xx"
    for header, cookies in itertools.product([None, good, flipped], itertools.permutations([other, flipped, b""], 2)):
        headers = [(b"Cookie", b"; ".join(COOKIE + each for each in cookies))]
        headers += [(b"Authorization", b"Bearer " + header)] if header else []
        for order in (headers, headers[::-1]):
            answer = wire.get("/feed", *order)
            if header == good or other in cookies:
                assert speaks_for(answer) == ("u1" if header == good else "u2")
            else:
                check_stranger(stack, answer, (header, cookies))


def test_doubled_headers_never_make_a_third_person(stack: Stack, wire: Wire) -> None:
    """Cookies in several headers count as one header, in order; of two Authorization headers one is taken, or none."""
    one, two, bad = (COOKIE + token.encode() for token in (stack.token("u1"), stack.token("u2"), "v1.k1.victim.1.AA"))
    for first, second, expected in ((one, two, "u1"), (two, one, "u2"), (bad, one, "u1"), (bad, two, "u2")):
        assert speaks_for(wire.get("/feed", (b"Cookie", first), (b"cookie", second))) == expected
    answer = wire.get("/feed", carried(stack.token("u1").encode())["bearer"], carried(b"v1.k1.victim.1.AA")["bearer"])
    assert answer.status in (200, 400)
    assert answer.status == 400 or answer.json()["user"] != "victim"


def test_cookies_of_eight_kilobytes_change_nothing(stack: Stack, wire: Wire) -> None:
    """Before ours, behind it, as one value or as hundreds; the header's limit is answered as JSON, never a 5xx."""
    ours = COOKIE + stack.token("u1").encode()
    big = (b"a=" + b"x" * 8190, b"; ".join(b"c%d=%s" % (n, b"y" * 70) for n in range(100)), b"=" * 8192, b";" * 8192)
    for other in big:
        for cookies in (other + b"; " + ours, ours + b"; " + other):
            assert speaks_for(wire.get("/feed", (b"Cookie", cookies))) == "u1"
        check_stranger(stack, wire.get("/feed", (b"Cookie", other)), other[:20])
    check_stranger(stack, wire.get("/feed", (b"Cookie", COOKIE + b"v" * 8192)), "8 KB of ours")
    for size in range(16_000, 16_500, 50):
        answer = wire.get("/feed", (b"Cookie", b"x" * size))
        assert answer.status in (200, 431)
        assert answer.status == 200 or answer.json()["error"]


def test_what_a_forger_sends_is_stored_as_a_strangers(stack: Stack, wire: Wire) -> None:
    """Beacons and pictures under forged tokens: nothing is written under the name that stands in them."""
    body = b'{"events":[{"event":"search","query":"x","ts":%d}]}' % now_ms()
    token = stack.token("victim").encode()
    for at in range(0, len(token), 3):
        forged = token[:at] + (b"A" if token[at : at + 1] != b"A" else b"B") + token[at + 1 :]
        for name, value in carried(forged).values():
            lines = b"%s: %s\r\nContent-Length: %d\r\n\r\n" % (name, value, len(body))
            assert wire.send(b"POST /beacon HTTP/1.1\r\nHost: x\r\n" + lines + body).status == 204
            assert wire.get(f"/pixel.gif?event=search&query=y&ts={now_ms()}", (name, value)).status == 200
    assert users(stack)
    assert all(user.startswith("a-") for user in users(stack))
