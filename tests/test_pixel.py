"""GET /pixel.gif: one event of a page without scripts."""

from __future__ import annotations

import pytest

from tests.edge_state import counts, now_ms, users, written
from tests.stack_fixture import Stack
from worker.keyspace import visit_of


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the item a1."""
    stack.import_items([stack.item("a1")])
    return stack


def test_the_pixel_stores_an_impression_and_is_a_gif(items: Stack) -> None:
    """Never cached; without ts it happened now."""
    begun = now_ms()
    answer = items.http.get("/pixel.gif", params={"item": "a1"}, headers=items.bearer("u1"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.content.startswith(b"GIF89a\x01\x00\x01\x00")
    assert answer.headers["cache-control"] == "no-store"
    assert counts(items, "a1") == {"i": 1}
    assert visit_of(begun) <= users(items)["u1"] <= visit_of(now_ms())


def test_the_pixel_takes_the_fields_of_a_beacon(items: Stack) -> None:
    """The same event by both ways is one event."""
    times = {"ms": 1200, "ts": now_ms()}
    fields: dict[str, str | int] = {"item": "a1", "event": "dwell", "position": 4, "list": 17, **times}
    assert items.http.get("/pixel.gif", params=fields, headers=items.bearer("u1")).status_code == 200
    assert items.beacon("u1", [fields]).status_code == 204
    assert counts(items, "a1") == {"d": 1200}


BAD_PIXELS = [
    ("", 422, '"item" is missing'),
    ("item", 400, "item has no value"),
    ("item=", 400, "item has no value"),
    ("item=a1&item=a2", 400, "item stands twice"),
    ("item=a1&event=impression&event=click", 400, "event stands twice"),
    ("item=zz", 422, "unknown item: zz"),
    ("item=a%00b", 422, '"item" is "a?b"'),
    ("item=a1&event=look", 422, '"event" is "look"'),
    ("item=a1&ts=yesterday", 422, '"ts" is "yesterday"'),
    ("item=a1&ts=0x18", 422, '"ts" is "0x18"'),
    ("item=a1&ts=-5", 422, '"ts" is "-5"'),
    ("item=a1&ts=1e12", 422, '"ts" is "1e12"'),
    ("item=a1&ts=1763740000", 422, "looks like seconds"),
    ("item=a1&position=10001", 422, '"position" is 10001'),
    ("item=a1&list=99999999999", 422, '"list" is 99999999999'),
    ("item=a1&event=dwell", 422, '"ms" is missing'),
    ("&".join(f"x{i}=1" for i in range(30)) + "&item=a1", 400, "more than 20 arguments"),
]  # fmt: skip


def test_a_bad_pixel_says_what_is_wrong(items: Stack) -> None:
    """JSON with the reason, and nothing stored."""
    for query, status, says in BAD_PIXELS:
        answer = items.http.get(f"/pixel.gif?{query}")
        assert (answer.status_code, query) == (status, query), answer.text
        assert says in answer.json()["error"]
    assert written(items) == {}


def test_a_head_of_the_pixel_stores_nothing(items: Stack) -> None:
    """Whoever asks for headers only has shown nothing to anyone."""
    assert items.http.head("/pixel.gif?item=a1").status_code == 200
    assert written(items) == {}
