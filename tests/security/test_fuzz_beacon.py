"""Fuzzed beacons and pictures: structure, then bytes. What was valid in a batch is stored, whatever is beside it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edge_state import now_ms
from tests.security.fuzzing import EDGES, check_answer, examples, json_values, nothing_dies, words
from tests.security.wire import Answer, Wire
from tests.stack_fixture import Stack
from worker.store import users
from worker.store.connect import Store
from worker.store.items import numbers_of

# The full form takes minutes a test.
pytestmark = pytest.mark.timeout(7200)
ITEMS = [f"i{n}" for n in range(8)]
KINDS = ["impression", "click", "dwell", "reaction", "conversion", "hide", "search"]
_user = (f"fuzz-{n}" for n in itertools.count())


class Site:
    """Items, what they are numbered, and a raw connection to the edge that they are on."""

    def __init__(self, stack: Stack, wire: Wire) -> None:
        stack.import_items([stack.item(name) for name in ITEMS])
        self.stack, self.wire = stack, wire
        self.store = Store(stack.redis, stack.settings, stack.run)
        self.numbers = numbers_of(self.store, ITEMS)

    def post(self, body: bytes, user: str, path: bytes = b"/beacon", extra: bytes = b"") -> Answer:
        """A beacon of a user, with more header lines."""
        head = (f"Authorization: Bearer {self.stack.token(user)}\r\n".encode() + b"Content-Length: %d\r\n" % len(body)
                + extra)  # fmt: skip
        return self.wire.send(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body)

    def seen(self, user: str) -> set[int]:
        """Item numbers the user has seen."""
        return users.seen(self.store, user)


@pytest.fixture
def site(stack: Stack) -> Iterator[Site]:
    """A site whose processes must outlive the test."""
    with Wire(stack.port) as wire, nothing_dies(stack):
        yield Site(stack, wire)


good = st.builds(lambda kind, item, ms: {"event": kind, "item": item, "ms": ms, "kind": "like"},
                 st.sampled_from(KINDS[:6]), st.sampled_from(ITEMS), st.integers(1, 86_400_000))  # fmt: skip
odd_fields = {
    "event": st.sampled_from([*KINDS, "Click", "", "view"]) | json_values,
    "item": st.sampled_from([*ITEMS, "none", "", "i0 ", "{c}", "i0\n"]) | json_values,
    "ts": st.sampled_from([*EDGES, -1, "now", 1e18, 0.5]) | json_values,
    "ms": st.sampled_from([*EDGES, -1, 0.1]) | json_values, "kind": st.sampled_from(["like", "A", ""]) | json_values,
    "position": st.sampled_from(EDGES) | json_values, "list": st.sampled_from(EDGES) | json_values,
    "query": words.map(lambda text: text * 20) | json_values, "user": st.just("victim"), "token": json_values,
}
odd = st.fixed_dictionaries({}, optional=odd_fields) | json_values


@examples(250, 2000)
@given(batch=st.lists(st.tuples(st.booleans(), good, odd), min_size=1, max_size=8))
def test_valid_events_are_stored_whatever_stands_beside_them(site: Site, batch: list[tuple[bool, Any, Any]]) -> None:
    """Each event is accepted or rejected once; exactly the accepted items are seen, by the one who sent them."""
    events = [{**valid, "ts": now_ms()} if is_good else bad for is_good, valid, bad in batch]
    user = next(_user)
    answer = site.post(json.dumps({"events": events}).encode(), user)
    check_answer(answer, events)
    accepted = check_sum(answer, events)
    assert accepted is not None or not any(is_good for is_good, _, _ in batch), (answer, events)
    rejected = set(range(len(events))) if accepted is None else set(range(len(events))) - accepted
    assert not {at for at, (is_good, _, _) in enumerate(batch) if is_good} & rejected, (answer, events)
    stored = {events[at]["item"] for at in (accepted or ()) if events[at]["event"] != "search"}
    assert site.seen(user) == {site.numbers[item] for item in stored if item in site.numbers}
    assert not site.seen("victim")


def check_sum(answer: Answer, events: list[Any]) -> set[int] | None:
    """Indexes of the accepted events; None when nothing was stored."""
    if answer.status == 204:
        return set(range(len(events)))
    if answer.status in (400, 413):
        return None
    assert answer.status in (200, 422), answer
    told = answer.json()
    rejected = [entry["index"] for entry in told["rejected"]]
    assert rejected == sorted(set(rejected))
    assert told["accepted"] + len(rejected) == len(events)
    assert all(entry["error"] for entry in told["rejected"])
    return set(range(len(events))) - set(rejected) if answer.status == 200 else None


def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with a few of them changed, left out, put in, doubled or moved."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        pieces = [b"", b'"', b"\\", b"{", b"}", b"[", b",", b"\0", b"\xff", b"\xed\xa0\x80", b"1e999", b"NaN",
                  data[at : at + length] * 2]  # fmt: skip
        piece = draw(st.sampled_from(pieces) | st.binary(max_size=4))
        data = data[:at] + piece + data[at + length :]
    return data


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """A valid beacon that was damaged."""
    events = [{**draw(good), "ts": now_ms(), "query": "x"} for _ in range(draw(st.integers(1, 3)))]
    return damaged(draw, json.dumps({"events": events}).encode())


METHODS = [b"POST", b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND", b"post", b"X-Y"]
LINES = [b"", b"Content-Type: text/plain\r\n", b"Content-Type: \xff\r\n", b"Content-Encoding: gzip\r\n",
         b"Range: bytes=0-\r\n", b"Expect: 100-contin\r\n", b"X-HTTP-Method-Override: GET\r\n", b"If-Match: *\r\n"]
PATHS = [b"/beacon", b"/beacon?x=%00", b"/beacon?a&a=1"]


@examples(350, 8000)
@given(body=damaged_bodies() | st.binary(max_size=200), path=st.sampled_from(PATHS), line=st.sampled_from(LINES))
def test_damaged_bodies_get_an_answer(site: Site, body: bytes, path: bytes, line: bytes) -> None:
    """Stored as a whole, in part or not at all, and the answer says which."""
    answer = site.post(body, "u1", path, line)
    check_answer(answer, body)
    if answer.status in (200, 204, 422):
        # The edge takes control characters inside strings, which Python's strict form does not.
        check_sum(answer, json.loads(body, strict=False)["events"])


names = ["event", "item", "ts", "position", "list", "ms", "kind", "query", "user", "x"]
arguments = st.sampled_from(names).map(str.encode)
texts = (st.sampled_from([*ITEMS, *KINDS, *map(str, EDGES), "-1", "1e3", "NaN", "", "%", "%zz", "%00", "a%20b", "+"])
         .map(str.encode) | st.binary(max_size=12).map(quote_from_bytes).map(str.encode))  # fmt: skip
pairs = st.lists(st.tuples(arguments, st.sampled_from([b"=", b"", b"=="]), texts).map(b"".join), max_size=30)


@examples(350, 8000)
@given(query=pairs.map(b"&".join), method=st.sampled_from(METHODS))
def test_any_query_of_a_picture_gets_an_answer(site: Site, query: bytes, method: bytes) -> None:
    """A picture when the event is stored, an error that says why when it is not."""
    answer = site.wire.get("/pixel.gif?" + query.decode("ascii"), method=method)
    check_answer(answer, query)
    if answer.status == 200 and method == b"GET":
        assert answer.body.startswith(b"GIF89a")
    if method not in (b"GET", b"HEAD"):
        assert answer.status in (400, 405)


def test_the_site_still_works_afterwards(site: Site) -> None:
    """A plain beacon and a plain page."""
    body = json.dumps({"events": [{"event": "impression", "item": "i0", "ts": int(time.time() * 1000)}]}).encode()
    assert site.post(body, "after").status == 204
    assert site.seen("after") == {site.numbers["i0"]}
