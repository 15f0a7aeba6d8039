"""Event records: what is accepted, and what is said about the rest; the edge judges alike."""

import json
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.events import LETTERS, Event, EventError, check, check_time, read_event
from worker.keyspace import DAY_MS

NOW = 1_763_740_000_000
BASE = {"user": "u7", "event": "impression", "item": "a1", "ts": NOW}


def line(**changes):
    """One line of a file: an impression with ``changes``; None takes a field away."""
    record = {name: value for name, value in {**BASE, **changes}.items() if value is not None}
    return json.dumps(record, ensure_ascii=False).encode()


GOOD = [
    ({}, Event("u7", "impression", "a1", NOW)),
    ({"position": 0, "list": 0}, Event("u7", "impression", "a1", NOW)),
    ({"position": 10_000, "list": 2**32 - 1}, Event("u7", "impression", "a1", NOW)),
    ({"event": "click", "item": "A-z_0.9~:"}, Event("u7", "click", "A-z_0.9~:", NOW)),
    ({"item": "x" * 128}, Event("u7", "impression", "x" * 128, NOW)),
    ({"ts": float(NOW)}, Event("u7", "impression", "a1", NOW)),
    ({"event": "dwell", "ms": 1}, Event("u7", "dwell", "a1", NOW, ms=1)),
    ({"event": "dwell", "ms": 86_400_000.0}, Event("u7", "dwell", "a1", NOW, ms=86_400_000)),
    ({"event": "reaction", "kind": "like"}, Event("u7", "reaction", "a1", NOW, kind="like")),
    ({"event": "reaction", "kind": "a-z_0" + "9" * 27}, Event("u7", "reaction", "a1", NOW, kind="a-z_0" + "9" * 27)),
    ({"event": "conversion"}, Event("u7", "conversion", "a1", NOW)),
    ({"event": "conversion", "kind": "order"}, Event("u7", "conversion", "a1", NOW, kind="order")),
    ({"event": "hide"}, Event("u7", "hide", "a1", NOW)),
    ({"event": "search", "item": None, "query": "brot"}, Event("u7", "search", "", NOW, query="brot")),
    ({"event": "search", "item": "no id!", "query": "é" * 200}, Event("u7", "search", "", NOW, query="é" * 200)),
    ({"event": "search", "query": "🍞"}, Event("u7", "search", "", NOW, query="🍞")),
    ({"colour": "red", "nested": {"a": [1, {"b": 2}]}}, Event("u7", "impression", "a1", NOW)),
]

BAD = [
    ({"event": None}, "event is missing: must be one of impression, click, dwell, reaction, conversion, hide, search"),
    ({"event": "view"}, 'event is "view": must be one of impression'),
    ({"event": ["click"]}, 'event is ["click"]: must be one of'),
    ({"item": None}, "item is missing: must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -"),
    ({"item": ""}, 'item is "": must be'),
    ({"item": "x" * 129}, "item is"),
    ({"item": "a b"}, 'item is "a b"'),
    ({"item": "a1\n"}, 'item is "a1\\n"'),
    ({"item": 17}, "item is 17"),
    ({"ts": None}, "ts is missing: must be Unix time in milliseconds"),
    ({"ts": True}, "ts is true"),
    ({"ts": NOW + 0.5}, "ts is"),
    ({"ts": "1763740000000"}, 'ts is "1763740000000"'),
    ({"ts": -1}, "ts is -1"),
    ({"ts": 1e30}, "ts is 1e+30"),
    ({"position": -1}, "position is -1: must be a whole number from 0 to 10000"),
    ({"position": 10_001}, "position is 10001"),
    ({"position": False}, "position is false"),
    ({"position": "3"}, 'position is "3"'),
    ({"list": 2**32}, "list is 4294967296: must be a whole number from 0 to 4294967295"),
    ({"list": 1.5}, "list is 1.5"),
    ({"event": "dwell"}, "ms is missing: must be a whole number from 1 to 86400000"),
    ({"event": "dwell", "ms": 0}, "ms is 0"),
    ({"event": "dwell", "ms": 86_400_001}, "ms is 86400001"),
    ({"event": "dwell", "ms": True}, "ms is true"),
    ({"event": "reaction"}, "kind is missing: must be 1-32 characters of a-z 0-9 _ -"),
    ({"event": "reaction", "kind": "Like"}, 'kind is "Like"'),
    ({"event": "reaction", "kind": ""}, 'kind is ""'),
    ({"event": "reaction", "kind": "x" * 33}, "kind is"),
    ({"event": "conversion", "kind": "a b"}, 'kind is "a b"'),
    ({"event": "conversion", "kind": 3}, "kind is 3"),
    ({"event": "search"}, "query is missing: must be 1-200 characters of text without control characters"),
    ({"event": "search", "query": ""}, 'query is ""'),
    ({"event": "search", "query": "é" * 201}, "query is"),
    ({"event": "search", "query": "a\tb"}, 'query is "a\\tb"'),
    ({"event": "search", "query": "a\x7fb"}, "query is"),
    ({"event": "search", "query": "a\x85b"}, "query is"),
]


@pytest.mark.parametrize(("changes", "event"), GOOD)
def test_a_good_record_is_read(changes, event):
    assert read_event(line(**changes)) == event


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_bad_record_is_refused_with_what_is_wrong_and_what_is_allowed(changes, message):
    with pytest.raises(EventError) as refused:
        read_event(line(**changes))
    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("user", [None, "", "a b", "é", "x" * 129, 7])
def test_a_file_says_whose_event_it_is(user):
    with pytest.raises(EventError, match=r"^user is .*: must be 1-128 characters"):
        read_event(line(user=user))


@pytest.mark.parametrize(("text", "message"), [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b'{"ts": NaN}', "not JSON"),
    (b'{"ts": 0x10}', "not JSON"),
    (b'{"query": "\xff"}', "not JSON"),
    (b'{"query": "\\ud800"}', "not JSON"),
    (b"[]", "must be a JSON object"),
    (b"17", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"user": "u", "user": "v"}', '"user" is given twice: give it once'),
    (b'{"user" :"u", "x": ":", "us\\u0065r" : "v"}', '"user" is given twice'),
    (b'{"user": "u", "extra": {"a": 1, "a": 1}}', '"a" is given twice'),
    (b'{"a":' * 1000 + b"1" + b"}" * 1000, "n"),
    (b'{"user": "' + b"x" * 70_000 + b'"}', "the line has 70012 bytes: a record has at most 65536"),
], ids=range(14))  # fmt: skip
def test_what_is_no_json_object_or_ambiguous_is_refused(text, message):
    with pytest.raises(EventError) as refused:
        read_event(text)
    assert str(refused.value).startswith(message)


def test_colons_inside_of_text_are_no_second_field():
    assert read_event(line(item="a:1:2", note=":::")).item == "a:1:2"


def test_null_in_an_optional_field_is_as_good_as_none():
    record = {**BASE, "event": "conversion", "position": None, "list": None, "kind": None}
    assert check(record) == Event("u7", "conversion", "a1", NOW)


@pytest.mark.parametrize(("offset", "message"), [
    (300_000, None),
    (300_001, "5.0 minutes ahead of the clock: must be at most 5 minutes ahead and 60 days behind"),
    (3 * DAY_MS, "3.0 days ahead of"),
    (-60 * DAY_MS, None),
    (-60 * DAY_MS - 1, "60.0 days behind the clock"),
    (-NOW + NOW // 1000, "looks like seconds"),
])
def test_the_time_is_at_most_minutes_ahead_and_a_window_behind(offset, message):
    if message is None:
        check_time(NOW + offset, NOW, 60)
        return
    with pytest.raises(EventError, match=message):
        check_time(NOW + offset, NOW, 60)


def test_the_hashes_are_those_of_the_documented_texts():
    assert Event("u", "dwell", "a", 5, ms=7).hash == zlib.crc32(b"d5:7")
    assert Event("u", "reaction", "a", 5, kind="like").hash == zlib.crc32(b"r")
    assert Event("u", "conversion", "a", 5).hash == zlib.crc32(b"v")
    assert Event("u", "conversion", "a", 5, kind="like").hash == zlib.crc32(b"vlike")
    assert Event("u", "hide", "a", 5).hash == zlib.crc32(b"h")


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.sampled_from(sorted(LETTERS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["user", "event", "item", "ts", "ms", "kind", "query", "position", "list"]), inner),
    max_leaves=12,
))
def test_any_value_is_an_event_or_refused_in_words(value):
    try:
        verdict = check(value).event
    except EventError as error:
        verdict = str(error)
    assert verdict in LETTERS or "must be" in verdict


def test_the_edge_judges_every_record_alike(stack):
    """The same records, one beacon: the edge refuses those that a file's rules refuse."""
    stack.import_items([stack.item(item) for item in ("a1", "A-z_0.9~:", "x" * 128)])
    shift = int(time.time() * 1000) - NOW
    times = [{"ts": NOW + offset} for offset in (240_000, 360_000, -59 * DAY_MS, -61 * DAY_MS, -NOW + NOW // 1000)]
    records = [json.loads(line(**changes)) for changes, _ in [*GOOD, *BAD, *((each, None) for each in times)]]
    for record in records:
        if type(record.get("ts")) in (int, float) and record["ts"] > NOW // 2 and record["ts"] != 1e30:
            record["ts"] += shift
    answer = stack.http.post("/beacon", headers=stack.bearer("u7"), content=json.dumps({"events": records})).json()
    refused = [index for index, record in enumerate(records) if not _fits(record, NOW + shift)]
    assert [each["index"] for each in answer["rejected"]] == refused
    assert answer["accepted"] == len(records) - len(refused)


def _fits(record, now_ms):
    try:
        check_time(check(record).ts, now_ms, 60)
    except EventError:
        return False
    return True
