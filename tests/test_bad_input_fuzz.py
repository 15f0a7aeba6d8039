"""Any JSON and any bytes to /beacon: an answer that adds up, and never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge_state import post
from tests.stack_fixture import Stack


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the item a1."""
    stack.import_items([stack.item("a1")])
    return stack


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(["event", "item", "ts", "ms", "kind", "query", "position", "list", "user"])
odd_events = st.dictionaries(field_names, json_values | st.sampled_from(["impression", "dwell", "search", "a1"]))
batches = st.fixed_dictionaries({"events": json_values | st.lists(odd_events | json_values, max_size=5)})
RELAXED = settings(max_examples=150)


@RELAXED
@given(body=batches | json_values)
def test_any_json_gets_an_answer_that_adds_up(items: Stack, body: Any) -> None:
    """Each event is accepted or rejected, once."""
    answer = post(items, json.dumps(body))
    assert answer.status_code in (200, 204, 400, 413, 422), answer.text
    if answer.status_code in (200, 422):
        accepted, rejected = answer.json()["accepted"], answer.json()["rejected"]
        assert accepted + len(rejected) == len(body["events"])


@RELAXED
@given(body=st.binary(max_size=300))
def test_any_bytes_get_an_answer(items: Stack, body: bytes) -> None:
    """Never a 5xx, and always a reason."""
    answer = post(items, body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def has_duplicates(text: str) -> bool:
    """The oracle: whether any object of a JSON text names a field twice."""
    found = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    return any(found)


names = st.sampled_from(["a", "b", '"', ":", "\\", "a:", "{", "\u00e9"])


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> str:
    """The text of an object in which names may come twice, with spaces and escapes wherever JSON allows them."""
    space = st.sampled_from(["", " ", "\n\t"])
    fields = []
    for name in draw(st.lists(names, max_size=3)):
        value = draw(objects(depth - 1)) if depth and draw(st.booleans()) else json.dumps(draw(names))
        wrapped = f"[{value},{value}]" if draw(st.booleans()) else value
        fields.append(f"{json.dumps(name)}{draw(space)}:{draw(space)}{wrapped}")
    return "{" + draw(space) + f"{draw(space)},".join(fields) + "}"


@RELAXED
@given(extra=st.lists(objects(), min_size=1, max_size=4))
def test_doubled_fields_are_found_wherever_they_are(items: Stack, extra: list[str]) -> None:
    """Against a decoder that keeps every pair: exactly the events with a doubled field are rejected for it."""
    events = [f'{{"event":"impression","item":"a1","ts":TS,"x":{text}}}' for text in extra]
    answer = post(items, f'{{"events":[{",".join(events)}]}}')
    rejected = [] if answer.status_code == 204 else answer.json()["rejected"]
    assert [entry["index"] for entry in rejected] == [i for i, text in enumerate(extra) if has_duplicates(text)]
    assert all("twice" in entry["error"] for entry in rejected)
