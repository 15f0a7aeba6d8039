"""Fuzzed pages: cursors that were damaged, forged or taken from others, and whole requests with bytes changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.edge_state import now_ms
from tests.security.fuzzing import CLIENTS_FAULT, EDGES, check_answer, examples, nothing_dies
from tests.security.wire import Wire, raw_exchange
from tests.stack_fixture import Stack

# The full form takes minutes a test.
pytestmark = pytest.mark.timeout(7200)
CATEGORIES, ITEMS = 6, 90
# Fields of a cursor by name, as edge/cursor.lua documents them.
FIELDS = ["version", "list_generation", "generation", "start", "repeats", "stage", "index", "fresh_posted",
          "fresh_item", "position", "recent", "deferred", "waiting"]  # fmt: skip


class Site:
    """Items, lists, and a reader who has seen ten of them; one item is hidden, one is expired."""

    def __init__(self, stack: Stack, wire: Wire) -> None:
        self.stack, self.wire = stack, wire
        records = [stack.item(f"i{n}", category=f"c{n % CATEGORIES}") for n in range(ITEMS)]
        records += [stack.item("gone", hidden=True), stack.item("over", expires_at="2026-01-01T00:00:00Z")]
        stack.import_items(records)
        self.seen = {f"i{n}" for n in range(0, 50, 5)}
        stack.beacon("u1", [{"event": "impression", "item": name} for name in self.seen])
        stack.beacon("u2", [{"event": "impression", "item": "i1"}])
        stack.worker("nightly", "--force")
        stack.sync()  # each worker knows the generation: cursors of before would only begin anew
        self.cursors = [cursor for user in ("u1", "u2", "nobody") for cursor in self.walk(user)]
        self.token = b"Bearer " + stack.token("u1").encode()

    def walk(self, user: str) -> list[str]:
        """The cursors of all pages of a user."""
        found: list[str] = []
        while cursor := self.stack.feed(user, 7, found[-1] if found else None)["cursor"]:
            found.append(cursor)
        return found

    def page(self, cursor: str, n: str = "20") -> None:
        """Ask as u1 with this cursor, percent-encoded, and check what comes back."""
        query = f"/feed?n={n}&cursor={quote_from_bytes(cursor.encode('latin-1'))}"
        answer = self.wire.get(query, (b"Authorization", self.token))
        check_answer(answer, cursor)
        assert answer.status in (200, 400, 414), (answer, cursor)
        if answer.status == 200:
            self.check_page(answer.json(), cursor)

    def check_page(self, page: dict[str, Any], cursor: str) -> None:
        """It is u1's, and has nothing that u1 has seen or nobody may see."""
        assert page["user"] == "u1"
        ids = {item["id"] for item in page["items"]}
        assert not ids & (self.seen | {"gone", "over"}), (ids, cursor)
        assert len(page["items"]) <= 100


@pytest.fixture(scope="module")
def made(_session_stack: Stack) -> Iterator[Site]:
    """The site, made once: the tests of this file change nothing in it."""
    _session_stack.heal()
    _session_stack.empty()
    with Wire(_session_stack.port) as wire:
        yield Site(_session_stack, wire)


@pytest.fixture
def site(made: Site) -> Iterator[Site]:
    """The site; its processes must outlive each test, and its error log stay clean."""
    with nothing_dies(made.stack):
        yield made
    assert made.stack.unexpected_log() == []


numbers = st.sampled_from(EDGES).map(str) | st.integers(0, 200).map(str)
lines = st.lists(numbers, max_size=40).map("_".join)
lettered = st.lists(st.builds(str.__add__, numbers, st.sampled_from("tnedox")), max_size=40).map("_".join)
VALUES = {"version": numbers, "repeats": st.sampled_from("012"), "stage": st.integers(0, 6).map(str), "recent": lines,
          "deferred": lettered | lines, "waiting": lines}  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> dict[str, str]:
    """New values of some fields."""
    names = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True))
    return {name: draw(VALUES.get(name, numbers)) for name in names}


@examples(350, 6000)
@given(which=st.integers(0, 999), changed=changes(), n=st.sampled_from(["1", "20", "100"]))
@example(which=0, changed={"recent": "4294967295"}, n="20")  # once wrote far behind an array
@example(which=0, changed={"recent": "65536_65537"}, n="20")
@example(which=0, changed={"stage": "4", "index": "4294967295"}, n="20")  # once counted down from there
def test_a_forged_cursor_changes_nothing_but_the_place(site: Site, which: int, changed: dict[str, str], n: str) -> None:
    """Real cursors, also other people's, with other numbers in some fields: a page of unseen, live items, or 400."""
    real = dict(zip(FIELDS, site.cursors[which % len(site.cursors)].split("."), strict=True))
    site.page(".".join((real | changed).values()), n)


@examples(250, 6000)
@given(which=st.integers(0, 999), data=st.data())
def test_a_damaged_cursor_is_refused_or_harmless(site: Site, which: int, data: st.DataObject) -> None:
    """Characters changed, left out, put in, doubled; also what is no cursor at all."""
    text = site.cursors[which % len(site.cursors)]
    for _ in range(data.draw(st.integers(1, 3))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 9))
        pieces = [".", "_", "", "-", "1e9", "0x1", "99999999999", text[at : at + length] * 3, "\0", "%"]
        piece = data.draw(st.sampled_from(pieces) | st.text(st.characters(codec="latin-1"), max_size=3))
        text = text[:at] + piece + text[at + length :]
    site.page(text)


@examples(300, 3000)
@given(n=st.sampled_from(["0", "101", "-1", "1.5", "1e1", "", "abc", "%31", "99999999999999999999"]) | numbers,
       extra=st.binary(max_size=30).map(quote_from_bytes))  # fmt: skip
def test_any_number_of_items_may_be_asked_for(site: Site, n: str, extra: str) -> None:
    """1 to 100 are given, others refused; arguments that no rule knows are ignored."""
    answer = site.wire.get(f"/feed?n={n}&{extra}", (b"Authorization", site.token))
    check_answer(answer, (n, extra))
    allowed = n.isdecimal() and len(n) <= 3 and 1 <= int(n) <= 100
    assert answer.status == (200 if allowed else 400), (n, answer)


REQUESTS = st.sampled_from([
    b"GET /feed?n=5 HTTP/1.1\r\nHost: x\r\nAuthorization: @\r\nConnection: close\r\n\r\n",
    b"GET /feed?cursor=0.7 HTTP/1.1\r\nHost: x\r\nCookie: __Host-nightfeed=@; a=b\r\nConnection: close\r\n\r\n",
    b"POST /beacon HTTP/1.1\r\nHost: x\r\nContent-Length: 62\r\nConnection: close\r\n\r\n"
    b'{"events":[{"event":"impression","item":"i0","ts":1795300000}]}',
    b"POST /beacon HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
    b"GET /pixel.gif?event=search&query=x HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
])  # fmt: skip
STATUS = re.compile(rb"HTTP/1\.[01] (\d\d\d) ")


@examples(350, 8000)
@given(data=st.data())
def test_requests_with_bytes_changed_get_an_answer(site: Site, data: st.DataObject) -> None:
    """The whole of a request as bytes: line, headers and body. No answer of 500 or more that is not about HTTP."""
    site.stack.expect_log(r"client (sent invalid|intended to send too large) (chunked )?body")
    text = data.draw(REQUESTS).replace(b"@", site.token)
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 6))
        text = text[:at] + data.draw(st.binary(max_size=5)) + text[at + length :]
    for status in map(int, STATUS.findall(raw_exchange(site.stack.port, text))):
        assert status < 500 or status in CLIENTS_FAULT, (status, text)


def test_the_site_still_works_afterwards(site: Site) -> None:
    """Pages of the reader go through all that is unseen, each item once."""
    found, cursor = [], None
    while True:
        page = site.stack.feed("u1", 20, cursor)
        found += [item["id"] for item in page["items"]]
        if not (cursor := page["cursor"]):
            break
    assert sorted(found) == sorted({f"i{n}" for n in range(ITEMS)} - site.seen)
    body = [{"event": "impression", "item": "i2", "ts": now_ms()}]
    assert site.stack.beacon("u9", body).status_code == 204
