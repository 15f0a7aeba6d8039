"""Beacons in the plain form that is read in one pass are answered and stored as those that are read field by field."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge_state import counts, now_ms, seen, totals
from tests.stack_fixture import Stack

numbers = itertools.count(1)
ITEMS = 12
MOMENTS = [0, 1, 86_400_000, 12 * 86_400_000, 59 * 86_400_000]  # ms ago
ODD: list[Any] = [None, True, -1, 0, 1.5, 1e12, 10_001, 2**32, 10**16, "", "a b", "é", "x" * 129, [], {}]


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the items a0 to a11."""
    stack.import_items(stack.item(f"a{i}") for i in range(ITEMS))
    return stack


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """One event, its fields in any order; some are odd, of a removed kind, or of an item that nobody knows."""
    names = ["impression"] * 6 + ["click", "dwell", "reaction", "conversion", "hide", "search", "wave"]
    fields: dict[str, Any] = {"event": draw(st.sampled_from(names)), "item": f"a{draw(st.integers(0, ITEMS))}",
                              "ts": draw(st.sampled_from(MOMENTS))}
    for name, values in {"position": st.integers(0, 10_000), "list": st.integers(0, 2**32 - 1),
                         "ms": st.integers(1, 900_000), "kind": st.sampled_from(["like", "x-1"]),
                         "query": st.just("rye")}.items():
        if draw(st.integers(0, 2)) == 0:
            fields[name] = draw(values)
    if draw(st.integers(0, 9)) == 0:
        fields[draw(st.sampled_from([*fields, "other"]))] = draw(st.sampled_from(ODD))
    order = draw(st.permutations(list(fields)))
    return {name: fields[name] for name in order}


def timed(each: dict[str, Any], now: int) -> dict[str, Any]:
    """The event with a moment instead of how long ago that is."""
    ago = each.get("ts")
    return {**each, "ts": now - ago if ago in MOMENTS and ago is not True else ago}


def send(stack: Stack, user: str, text: str) -> tuple[int, Any]:
    """The status and what the answer says."""
    answer = stack.http.post("/beacon", content=text.encode(), headers=stack.bearer(user))
    return answer.status_code, answer.json() if answer.content else None


@settings(max_examples=60)
@given(batch=st.lists(events(), min_size=1, max_size=8), again=st.lists(events(), max_size=4))
def test_both_ways_answer_and_store_the_same(items: Stack, batch: list[dict[str, Any]],
                                             again: list[dict[str, Any]]) -> None:
    """The same beacons of two people, written with and without spaces; the second one meets what the first left."""
    number, now = next(numbers), now_ms() - 60_000
    plain, spaced = f"plain-{number}", f"spaced-{number}"
    for part in (batch, again):
        if not part:
            continue
        body = {"events": [timed(each, now) for each in part]}
        before = totals(items)
        one = send(items, plain, json.dumps(body, separators=(",", ":")))
        between = totals(items)
        assert send(items, spaced, json.dumps(body)) == one
        assert seen(items, spaced) == seen(items, plain)
        assert growth(between, totals(items)) == growth(before, between)


def growth(before: dict[int, dict[str, int]], after: dict[int, dict[str, int]]) -> dict[tuple[int, str], int]:
    """What was counted in between."""
    found = {(item, letter): by - before.get(item, {}).get(letter, 0)
             for item, letters in after.items() for letter, by in letters.items()}
    return {key: by for key, by in found.items() if by}


@pytest.mark.parametrize("name", ["impression", "click", "dwell", "reaction", "conversion", "hide"])
def test_each_odd_value_of_each_field_is_judged_alike(items: Stack, name: str) -> None:
    """Values at the limits and beyond them, and of other types; times at the window's ends, too."""
    now = now_ms()
    good = {"event": name, "item": "a1", "ts": now - 1000, "position": 1, "list": 1, "ms": 5, "kind": "like"}
    moments = [now + 200_000, now + 400_000, now - 59 * 86_400_000, now - 61 * 86_400_000, 99_999_999_999, 10**11]
    edges: dict[str, list[Any]] = {"ts": moments, "position": [10_000], "list": [2**32 - 1], "ms": [1, 86_400_000],
                                   "item": ["x" * 128, "a.b_c~d:e-f"], "kind": ["a" * 32, "a" * 33, "A"]}
    for field in good:
        for value in [*ODD, *edges.get(field, [])]:
            body = {"events": [{**good, field: value}]}
            plain = send(items, "u1", json.dumps(body, separators=(",", ":")))
            assert send(items, "u2", json.dumps(body)) == plain, (field, value)
    assert seen(items, "u1") == seen(items, "u2")


@pytest.mark.parametrize("text", [
    '{"events":[{"event":"impression","item":"a1","ts":TS,"ts":TS}]}',
    '{"events":[{"event":"impression","item":"a1","item":"a2","ts":TS}]}',
    '{"events":[{"event":"impression","item":"a1","ts":TS}],"events":[]}',
    '{"events":[{"event":"impression","item":"a1","ts":0TS}]}',
    '{"events":[{"event":"impression","item":"a1","ts":TS,}]}',
    '{"events":[{"event":"impression","item":"a1","ts":TS}]',
    '{"events":[{"event":"impression","item":"a1","ts":TS}]}}',
    '{"events":[{"event":"impression","item":"a1","ts":TS,"posi',
    '{"events":[{"event":"impression","item":"a1","ts":TS,"position"',
    '{"events":[{"event":"impression","item":"a1","ts":TS,"list":1',
    '{"events":[{"event":"impression","item":"a1","ts":TS}{}]}',
    '{"events":[]}', '{"events":[', '{"events":[{', '{"events":[{"', '{"events":[{}]}',
])
def test_what_is_nearly_plain_is_refused_and_stores_nothing(items: Stack, text: str) -> None:
    """Cut short, a field twice, a comma too many: for each the status that it has in any other form."""
    status, answer = send(items, "u1", text.replace("TS", str(now_ms())))
    assert status in (400, 422)
    assert answer["error"]
    assert (seen(items, "u1"), totals(items)) == (set(), {})


def test_a_hundred_events_are_plain_and_one_more_is_too_many(items: Stack) -> None:
    """Each of an item that nobody has seen, or of one that came before."""
    body = {"events": [{"event": "impression", "item": f"a{n % ITEMS}", "ts": now_ms()} for n in range(100)]}
    assert send(items, "u1", json.dumps(body, separators=(",", ":")))[0] == 204
    assert counts(items, "a3") == {"i": 1}
    body["events"] *= 2
    assert send(items, "u2", json.dumps(body, separators=(",", ":")))[0] == 413


@pytest.mark.parametrize("fields", ["", ',"position":0', ',"position":12,"list":9999', ',"position":10001,"list":12345',
                                    ',"position":01', ',"list":1,"position":2'])  # fmt: skip
def test_each_byte_of_what_the_client_writes_is_looked_at(items: Stack, fields: str) -> None:
    """Left out, doubled or another one: judged and stored as where a space behind it all makes it no plain beacon."""
    now = now_ms() - 60_000
    event = f'{{"ts":{now}{fields},"event":"impression","item":"a1"}}'
    text = f'{{"events":[{event},{{"ts":{now},"event":"impression","item":"a2"}}]}}'
    first = len('{"events":[')
    texts = {text}
    for at in range(first, first + len(event) + 1):
        texts |= {text[:at] + new + text[at + 1:] for new in ["", text[at] * 2, *'0"}x']}
    for each in sorted(texts):
        assert send(items, "plain", each) == send(items, "spaced", each + " "), each
    assert seen(items, "plain") == seen(items, "spaced") != set()
