"""Whatever is sent to /beacon: an answer that says what is wrong, nothing stored, and never a 5xx."""

from __future__ import annotations

import json

import pytest

from tests.edge_state import now_ms, number, post, written
from tests.stack_fixture import Stack

GOOD = '{"event":"impression","item":"a1","ts":TS}'


@pytest.fixture
def items(stack: Stack) -> Stack:
    """A stack with the item a1, and one whose id has every character that ids may have."""
    stack.import_items([stack.item("a1"), stack.item("A.b_c~d:e-9")])
    return stack


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


WHOLE_BODIES: list[tuple[str | bytes, int, str]] = [
    ("", 400, "the body is empty"),
    (" ", 400, "not a JSON object"),
    ("events", 400, "not a JSON object"),
    ("{", 400, "not a JSON object"),
    ('{"events":[' + GOOD, 400, "not a JSON object"),
    ('{"events":[' + GOOD + ",]}", 400, "not a JSON object"),
    ('{"events":[' + GOOD + "]} x", 400, "not a JSON object"),
    ('{"events":[' + GOOD + "]}\0", 400, "it has a zero byte"),
    ('{"events":[' + GOOD + "]}\0, and more", 400, "it has a zero byte"),
    ('{"events":[{"event":"search","query":"x\0y"}]}', 400, "it has a zero byte"),
    ("{'events':[]}", 400, "not a JSON object"),
    ("null", 400, "not a JSON object: it is null"),
    ("17", 400, "not a JSON object: it is 17"),
    ('"events"', 400, 'not a JSON object: it is "events"'),
    ("[]", 400, 'must be {"events"'),
    ("[" + GOOD + "]", 400, 'must be {"events"'),
    ("{}", 400, 'must be {"events"'),
    (GOOD, 400, 'must be {"events"'),
    ('{"events":null}', 400, 'must be {"events"'),
    ('{"events":"x"}', 400, 'must be {"events"'),
    ('{"events":[]}', 400, "1 to 100 events"),
    ('{"events":{}}', 400, "1 to 100 events"),
    ('{"events":{"0":' + GOOD + "}}", 400, 'must be {"events"'),
    ('{"events":[' + GOOD + '],"events":[' + GOOD + "]}", 400, '"events" twice'),
    ('{"a":1,"\\u0061":2,"events":[' + GOOD + "]}", 400, '"a" twice'),
    ('{"x":[{"y":1,"y":2}],"events":[' + GOOD + "]}", 400, '"y" twice'),
    ('{"events":[' + ",".join([GOOD] * 101) + "]}", 413, "not 101"),
    ('{"events":[{"event":"impression","item":"a1","ts":NaN}]}', 400, "invalid"),
    ('{"events":[{"event":"impression","item":"a1","ts":Infinity}]}', 400, "invalid"),
    ('{"events":[{"event":"impression","item":"a1","ts":0x19A}]}', 400, "invalid number"),
    ('{"events":[{"event":"impression","item":"a1","ts":017}]}', 400, "invalid number"),
    ('{"events":[' + nested(20) + "]}", 400, "nested"),
    ('{"events":' + nested(30_000) + "}", 400, "nested"),
    ('{"a":' * 8000 + "1" + "}" * 8000, 400, "nested"),
    (b"\x00\x01\x02\xff\xfe", 400, "not UTF-8"),
    (bytes(range(256)) * 8, 400, "not UTF-8"),
    (b'{"events":[{"event":"search","query":"\xff","ts":TS}]}', 400, "not UTF-8"),
    (b'{"events":[{"event":"search","query":"\xed\xa0\x80","ts":TS}]}', 400, "not UTF-8"),
    (b'{"events":[{"event":"search","query":"\xc0\xaf","ts":TS}]}', 400, "not UTF-8"),
    (b"\x1f\x8b\x08\x00", 400, "not UTF-8"),
    ('{"events":[{"event":"search","query":"\\ud800","ts":TS}]}', 400, "invalid unicode escape"),
    ("\ufeff" + '{"events":[' + GOOD + "]}", 400, "not a JSON object"),
    ("event=impression&item=a1", 400, "not a JSON object"),
    (" " * 65537, 413, "65536 bytes"),
    ('{"events":[' + GOOD + "]" + " " * 70_000 + "}", 413, "65536 bytes"),
]  # fmt: skip


def test_a_body_that_is_no_beacon_is_refused_as_a_whole(items: Stack) -> None:
    """400 or 413 with the reason; nothing of it is stored, and nobody gets an identity for it."""
    items.expect_log("client intended to send too large body")
    for body, status, says in WHOLE_BODIES:
        answer = post(items, body)
        assert (answer.status_code, body) == (status, body), answer.text
        assert says in answer.json()["error"], body
        assert answer.headers["content-type"] == "application/json"
        assert "set-cookie" not in answer.headers
    assert written(items) == {}


EVENTS: list[tuple[str, str]] = [
    ("null", "the event is null: must be an object"),
    ("17", "the event is 17"),
    ('"impression"', 'the event is "impression"'),
    ("[]", '"event" is missing'),
    ("[1]", "the event is an array"),
    ("{}", '"event" is missing'),
    ('{"event":null,"item":"a1","ts":TS}', '"event" is null'),
    ('{"event":"look","item":"a1","ts":TS}', '"event" is "look": must be impression, click'),
    ('{"event":"Impression","item":"a1","ts":TS}', '"event" is "Impression"'),
    ('{"event":{"a":1},"item":"a1","ts":TS}', '"event" is an object'),
    ('{"event":true,"item":"a1","ts":TS}', '"event" is true'),
    ('{"event":"impression","ts":TS}', '"item" is missing'),
    ('{"event":"impression","item":"","ts":TS}', '"item" is ""'),
    ('{"event":"impression","item":17,"ts":TS}', '"item" is 17'),
    ('{"event":"impression","item":["a1"],"ts":TS}', '"item" is an object or array'),
    ('{"event":"impression","item":"a 1","ts":TS}', '"item" is "a 1": must be 1-128 characters of'),
    ('{"event":"impression","item":"a1\\n","ts":TS}', '"item" is "a1?"'),
    ('{"event":"impression","item":"a1\\u0000","ts":TS}', '"item" is "a1?"'),
    ('{"event":"impression","item":"é","ts":TS}', '"item" is "??"'),
    ('{"event":"impression","item":"<script>","ts":TS}', '"item" is'),
    ('{"event":"impression","item":"' + "x" * 129 + '","ts":TS}', '"item" is "xxxx'),
    ('{"event":"impression","item":"{c}","ts":TS}', '"item" is "{c}"'),
    ('{"event":"impression","item":"none","ts":TS}', "unknown item: none"),
    ('{"event":"impression","item":"A.b_c~d:e-8","ts":TS}', "unknown item: A.b_c~d:e-8"),
    ('{"event":"impression","item":"a1"}', '"ts" is missing'),
    ('{"event":"impression","item":"a1","ts":null}', '"ts" is null'),
    ('{"event":"impression","item":"a1","ts":"TS"}', '"ts" is "'),
    ('{"event":"impression","item":"a1","ts":TS.5}', '"ts" is'),
    ('{"event":"impression","item":"a1","ts":-1}', '"ts" is -1'),
    ('{"event":"impression","item":"a1","ts":0}', "looks like seconds"),
    ('{"event":"impression","item":"a1","ts":1763740000}', "looks like seconds"),
    ('{"event":"impression","item":"a1","ts":1e999}', '"ts" is inf'),
    ('{"event":"impression","item":"a1","ts":9007199254740993}', '"ts" is'),
    ('{"event":"impression","item":"a1","ts":TS000}', '"ts" is'),
    ('{"event":"impression","item":"a1","ts":TS,"position":-1}', '"position" is -1: must be a whole number from 0'),
    ('{"event":"impression","item":"a1","ts":TS,"position":10001}', '"position" is 10001'),
    ('{"event":"impression","item":"a1","ts":TS,"position":1.5}', '"position" is 1.5'),
    ('{"event":"impression","item":"a1","ts":TS,"position":"3"}', '"position" is "3"'),
    ('{"event":"impression","item":"a1","ts":TS,"position":null}', '"position" is null'),
    ('{"event":"impression","item":"a1","ts":TS,"list":4294967296}', '"list" is 4294967296'),
    ('{"event":"impression","item":"a1","ts":TS,"list":1e300}', '"list" is 1e+300'),
    ('{"event":"impression","item":"a1","ts":TS,"list":[]}', '"list" is an object or array'),
    ('{"event":"dwell","item":"a1","ts":TS}', '"ms" is missing'),
    ('{"event":"dwell","item":"a1","ts":TS,"ms":0}', '"ms" is 0: must be a whole number from 1 to 86400000'),
    ('{"event":"dwell","item":"a1","ts":TS,"ms":86400001}', '"ms" is 86400001'),
    ('{"event":"dwell","item":"a1","ts":TS,"ms":1e999}', '"ms" is inf'),
    ('{"event":"dwell","item":"a1","ts":TS,"ms":"5"}', '"ms" is "5"'),
    ('{"event":"reaction","item":"a1","ts":TS}', '"kind" is missing'),
    ('{"event":"reaction","item":"a1","ts":TS,"kind":"Like"}', '"kind" is "Like": must be 1-32 characters'),
    ('{"event":"reaction","item":"a1","ts":TS,"kind":""}', '"kind" is ""'),
    ('{"event":"conversion","item":"a1","ts":TS,"kind":"' + "k" * 33 + '"}', '"kind" is "kkk'),
    ('{"event":"conversion","item":"a1","ts":TS,"kind":7}', '"kind" is 7'),
    ('{"event":"conversion","item":"a1","ts":TS,"kind":null}', '"kind" is null'),
    ('{"event":"search","ts":TS}', '"query" is missing'),
    ('{"event":"search","query":"","ts":TS}', '"query" is ""'),
    ('{"event":"search","query":"' + "q" * 201 + '","ts":TS}', "must be 1-200 characters"),
    ('{"event":"search","query":"a\\u0000b","ts":TS}', "without control characters"),
    ('{"event":"search","query":"a\\u0085b","ts":TS}', "without control characters"),
    ('{"event":"search","query":"a\\u007fb","ts":TS}', "without control characters"),
    ('{"event":"search","query":12,"ts":TS}', '"query" is 12'),
    ('{"event":"impression","item":"a1","item":"a1","ts":TS}', 'the field "item" twice'),
    ('{"event":"impression","item":"zz","item":"a1","ts":TS}', 'the field "item" twice'),
    ('{"event":"impression","it\\u0065m":"a1","item":"a1","ts":TS}', 'the field "item" twice'),
    ('{"event":"impression","item":"a1","ts":1,"ts" \t:TS}', 'the field "ts" twice'),
    ('{"event":"impression","item":"a1","ts":TS,"x":{"y":[{"z":1,"z":1}]}}', 'the field "z" twice'),
]  # fmt: skip


def test_a_bad_event_alone_is_422_with_the_reason(items: Stack) -> None:
    """Nothing valid, nothing stored."""
    for event, says in EVENTS:
        answer = post(items, '{"events":[' + event + "]}")
        assert (answer.status_code, event) == (422, event), answer.text
        assert "nothing was stored" in answer.json()["error"]
        (rejected,) = answer.json()["rejected"]
        assert rejected["index"] == 0
        assert says in rejected["error"], event
    assert written(items) == {}


def test_all_bad_events_among_good_ones_are_named_by_index(items: Stack) -> None:
    """Good and bad in turns: the good ones are stored, each bad one has its own reason."""
    bad = EVENTS[:50]
    body = ",".join(f"{GOOD},{event}" for event, _ in bad)
    answer = post(items, f'{{"events":[{body}]}}')
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 50
    rejected = answer.json()["rejected"]
    assert [entry["index"] for entry in rejected] == list(range(1, 100, 2))
    assert all(says in entry["error"] for entry, (_, says) in zip(rejected, bad, strict=True))


def test_only_the_event_with_a_doubled_field_is_rejected(items: Stack) -> None:
    """Also behind elements that are no objects, and with text that looks like fields."""
    events = [
        "17", '"a,{\\"item\\":1"', '{"event":"search","query":":,{[\\"item\\":","ts":TS}', GOOD, "[[],{}]",
        '{"event":"click","item":"a1","item":"a1","ts":TS}', GOOD,
    ]
    answer = post(items, '{"x":[1,{"events":[{"a":1}]}],"events" : [' + " ,\n".join(events) + "]}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 3
    rejected = {entry["index"]: entry["error"] for entry in answer.json()["rejected"]}
    assert sorted(rejected) == [0, 1, 4, 5]
    assert 'the field "item" twice' in rejected[5]


JUST_VALID = [
    '{"event":"impression","item":"A.b_c~d:e-9","ts":TS}',
    '{"event":"impression","item":"a1","ts":TS.0,"position":0,"list":0}',
    '{"event":"impression","item":"a1","ts":TS,"position":10000,"list":4294967295}',
    '{"event":"dwell","item":"a1","ts":TS,"ms":1}',
    '{"event":"reaction","item":"a1","ts":TS,"kind":"' + "a_-9" * 8 + '"}',
    '{"event":"search","query":"' + "☕" * 200 + '","ts":TS}',
    '{"event":"search","query":"\\ud83c\\udf5e :\\":\\\\","ts":TS}',
    '{"\\u0065vent":"impression","item":"a1","ts":TS}',
]  # fmt: skip


def test_what_is_just_within_the_limits_is_taken(items: Stack) -> None:
    """The last value on the right side of each limit."""
    for event in JUST_VALID:
        answer = post(items, '{"events":[' + event + "]}")
        assert (answer.status_code, event) == (204, event), answer.text


def test_the_window_and_the_clock_bound_the_time(items: Stack) -> None:
    """5 minutes ahead and 60 days behind are allowed, a minute more is not."""
    minute, day = 60_000, 86_400_000
    times = [4 * minute, 6 * minute, -60 * day + minute, -60 * day - minute]
    events = [{"event": "impression", "item": "a1", "ts": now_ms() + shift} for shift in times]
    answer = items.http.post("/beacon", json={"events": events})
    rejected = {entry["index"]: entry["error"] for entry in answer.json()["rejected"]}
    assert sorted(rejected) == [1, 3]
    assert "more than 5 minutes ahead" in rejected[1]
    assert "more than 60 days ago" in rejected[3]


def test_nobody_can_name_a_key_or_a_command(items: Stack) -> None:
    """What looks like Redis's protocol in a query is a query."""
    query = "x *1 $8 FLUSHALL"
    body = json.dumps({"events": [{"event": "search", "query": query, "ts": now_ms()}]})
    assert post(items, body, headers=items.bearer("u1")).status_code == 204
    assert number(items, "a1") == 1
