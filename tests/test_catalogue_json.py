"""The JSON of a record: what is broken, ambiguous or cannot be kept is refused, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.item_records import json_values, line
from worker.catalogue import ItemError, parse
from worker.catalogue.parse import decode


def refusal(text: bytes) -> str:
    """What is said about a line that is refused."""
    with pytest.raises(ItemError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(("text", "said"), [
    (b"nonsense", "not JSON: "),
    (b"", "not JSON: "),
    (b"[1]", "a record is a JSON object, not a list"),
    (b'"a1"', "a record is a JSON object, not 'a1'"),
    (b"null", "a record is a JSON object, not null"),
    (line()[:-1], "not JSON: "),
    (line() + b" x", "not JSON: "),
    (line().replace(b"12", b"NaN"), "not JSON: "),
    (line().replace(b"12", b"Infinity"), "not JSON: "),
    (line().replace(b"12", b"1e999"), "not JSON: number is infinity"),
    (line().replace(b"12", b"0x10"), "not JSON: "),
    (line().replace(b"12", b"9" * 30), "the number '" + "9" * 30 + "' is beyond 64 bits"),
    (line().replace(b"12", b"9" * 6000), "not JSON: "),
    (line().replace(b"12", b"-9223372036854775809"), "is beyond 64 bits"),
    (line().replace(b'"Bread"', b'[1, {"n": 18446744073709551616}]'), "is beyond 64 bits: give it as text"),
    (line().replace(b"Bread", b"Br\xffead"), "not valid UTF-8"),
    (line().replace(b"Bread", b"\\ud800"), "not valid UTF-8"),
    (line().replace(b'"Bread"', b"[" * 40 + b"]" * 40), "nested deeper than 32 levels"),
    (line().replace(b'"Bread"', b"[" * 900 + b"]" * 900), "nested deeper than 32 levels"),
    (line().replace(b'"Bread"', b"[" * 20_000 + b"]" * 20_000), "nested deeper than 32 levels"),
    (line().replace(b'"Bread"', b'{"a":' * 5000 + b"1" + b"}" * 5000), "nested deeper than 32 levels"),
])
def test_what_is_no_honest_json_is_refused_in_one_sentence(text: bytes, said: str) -> None:
    """Broken, ambiguous or unkeepable JSON, each with its reason."""
    assert said in refusal(text)


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "1e22", "1.5", "-0.0", "123e300"])
def test_numbers_that_can_be_kept_are(number: str) -> None:
    """Every integer of 64 bits and every float, also a float beyond 64 bits."""
    item = parse(line().replace(b'"Bread"', number.encode()))
    assert item.data["title"] == json.loads(number)


@pytest.mark.parametrize(("text", "name"), [
    (b'{"id":"a1","id":"a2","category":"c","kind":"timely","posted_at":"2026-11-20T08:00:00Z"}', "'id'"),
    (b'{"id":"a1","category":"c","kind":"timely","posted_at":"2026-11-20T08:00:00Z","\\u0069d":"a2"}', "'id'"),
    (b'{"id":"a1","category":"c","kind":"timely","posted_at":"2026-11-20T08:00:00Z","data":{"a":1,"b":2,"a" \t:1}}',
     "'a'"),
    (b'{"id":"a1","category":"c","kind":"timely","posted_at":"2026-11-20T08:00:00Z","data":{"l":[{"x":1,"x":1}]}}',
     "'x'"),
])
def test_a_field_given_twice_is_named(text: bytes, name: str) -> None:
    """Also behind an escape, nested, or with the same value: which one was meant cannot be known."""
    assert refusal(text) == f"{name}: given twice"


def test_text_that_looks_like_fields_is_only_text() -> None:
    """Quotes and colons inside strings are no second field."""
    tricky = {"title": 'say "id": "a2", "id":"a3"', ":": ":", "a": [":", '":'], '"': '":"'}
    assert parse(line(data=tricky)).data == tricky


@st.composite
def json_texts(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON objects whose fields may repeat, with space anywhere."""
    space = st.sampled_from(["", " ", "\t"])
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        name = json.dumps(draw(st.sampled_from(["a", "b", 'a"', ":", "a\\", '":'])))
        value = draw(json_texts(depth - 1)) if depth and draw(st.booleans()) else json.dumps(draw(json_values))
        parts.append(f"{draw(space)}{name}{draw(space)}:{draw(space)}{value}{draw(space)}")
    return "{" + ",".join(parts) + "}"


def repeats(text: str) -> bool:
    """Whether any object of a JSON text has two fields of one name: by the pairs of every object."""
    found: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    return any(found)


@given(json_texts())
def test_repeated_fields_are_found_exactly_where_there_are_any(text: str) -> None:
    """The quick look never misses one and never sees one that is not there."""
    if repeats(text):
        with pytest.raises(ItemError, match="given twice"):
            decode(text.encode())
    else:
        assert decode(text.encode()) == orjson.loads(text)
