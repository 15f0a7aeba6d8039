"""Item records: what is taken, what is refused, and what is said about it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.item_records import POSTED, json_values, line, texts
from worker.catalogue import FIELDS, Item, ItemError, check, full_record, parse


def refusal(text: bytes) -> str:
    """What is said about a line that is refused."""
    with pytest.raises(ItemError) as caught:
        parse(text)
    return str(caught.value)


def test_a_full_record_becomes_an_item() -> None:
    """Every field arrives; times are Unix seconds."""
    assert parse(line()) == Item("a1", "cooking", "evergreen", POSTED, 12, 0, False, {"title": "Bread", "url": "/a1"})


def test_only_four_fields_are_needed() -> None:
    """The others have defaults: nobody reacted, never expires, not hidden, no data."""
    short = parse(line(social=..., expires_at=..., hidden=..., data=...))
    assert short == Item("a1", "cooking", "evergreen", POSTED, 0, 0, False, {})


def test_the_served_json_is_exactly_what_the_page_gets() -> None:
    """Five fields, no space, the time in UTC."""
    assert parse(line(posted_at="2026-11-20T09:30:00+01:30")).served_json() == (
        b'{"id":"a1","category":"cooking","kind":"evergreen","posted_at":"2026-11-20T08:00:00Z",'
        b'"data":{"title":"Bread","url":"/a1"}}'
    )


@pytest.mark.parametrize(("text", "seconds"), [
    ("1970-01-01T00:00:00Z", 0),
    ("2106-02-07T06:28:15Z", 2**32 - 1),
    ("2026-11-20t08:00:00z", POSTED),
    ("2026-11-20 08:00:00Z", POSTED),
    ("2026-11-20T08:00:00.999999999Z", POSTED),
    ("2026-11-20T03:30:00-04:30", POSTED),
    ("2026-11-20T08:00:00-00:00", POSTED),
    ("2024-02-29T00:00:00Z", 19_782 * 86_400),
    ("1969-12-31T23:30:00-01:00", 1800),
])
def test_times_of_rfc_3339_are_read(text: str, seconds: int) -> None:
    """Any offset, either case, any fraction (which is dropped), within what 32 bits of seconds hold."""
    assert parse(line(posted_at=text)).posted == seconds


@pytest.mark.parametrize(("changes", "said"), [
    ({"id": ...}, "id: missing"),
    ({"id": ""}, "id: must be 1-128 characters"),
    ({"id": "a b"}, "not 'a b'"),
    ({"id": "x" * 129}, "id: must be 1-128"),
    ({"id": "é"}, "id: must be 1-128"),
    ({"id": "a\n"}, "id: must be 1-128"),
    ({"id": 7}, "id: must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -, not 7"),
    ({"category": ""}, "category: must be 1-64"),
    ({"category": "c" * 65}, "category: must be 1-64"),
    ({"category": "a\tb"}, "category: must be 1-64 characters without control"),
    ({"category": "a\u0085b"}, "category: must be"),
    ({"category": None}, "category: must be 1-64 characters without control characters, not null"),
    ({"category": ["x"]}, "not a list"),
    ({"kind": "Evergreen"}, "kind: must be evergreen or timely, not 'Evergreen'"),
    ({"kind": {}}, "kind: must be evergreen or timely, not an object"),
    ({"posted_at": ...}, "posted_at: missing"),
    ({"posted_at": "yesterday"}, "posted_at: must be an RFC 3339 time such as 2026-11-20T08:00:00Z, not 'yesterday'"),
    ({"posted_at": 1763740000}, "posted_at: must be an RFC 3339 time"),
    ({"posted_at": "2026-11-20"}, "posted_at: must be an RFC 3339 time"),
    ({"posted_at": "2026-11-20T08:00:00"}, "posted_at: must be an RFC 3339 time"),
    ({"posted_at": "2026-11-20T08:00Z"}, "posted_at: must be an RFC 3339 time"),
    ({"posted_at": "\uff12\uff10\uff12\uff16-11-20T08:00:00Z"}, "posted_at: must be an RFC 3339 time"),
    ({"posted_at": "2026-02-29T08:00:00Z"}, "posted_at: '2026-02-29T08:00:00Z' is no date and time"),
    ({"posted_at": "2026-11-20T24:00:00Z"}, "is no date and time of the calendar"),
    ({"posted_at": "2026-11-20T08:00:00+24:00"}, "is no date and time of the calendar"),
    ({"posted_at": "0000-01-01T00:00:00Z"}, "is no date and time of the calendar"),
    ({"posted_at": "0001-01-01T00:00:00+14:00"}, "posted_at: must be from 1970 to 2106"),
    ({"posted_at": "9999-12-31T23:59:59-14:00"}, "posted_at: must be from 1970 to 2106"),
    ({"posted_at": "1969-12-31T23:59:59Z"}, "posted_at: must be from 1970 to 2106"),
    ({"posted_at": "2106-02-07T06:28:16Z"}, "posted_at: must be from 1970 to 2106"),
    ({"social": -1}, "social: must be a whole number from 0 to 4294967295, not -1"),
    ({"social": 2**32}, "social: must be a whole number"),
    ({"social": 1.0}, "social: must be a whole number"),
    ({"social": True}, "social: must be a whole number from 0 to 4294967295, not true"),
    ({"social": "12"}, "social: must be a whole number from 0 to 4294967295, not '12'"),
    ({"social": None}, "social: must be a whole number from 0 to 4294967295, not null"),
    ({"expires_at": "1970-01-01T00:00:00Z"}, "expires_at: must be after 1970"),
    ({"expires_at": "soon"}, "expires_at: must be an RFC 3339 time"),
    ({"expires_at": 0}, "expires_at: must be an RFC 3339 time"),
    ({"hidden": 1}, "hidden: must be true or false, not 1"),
    ({"hidden": None}, "hidden: must be true or false, not null"),
    ({"data": []}, "data: must be a JSON object, not a list"),
    ({"data": "x"}, "data: must be a JSON object"),
    ({"data": {"text": "x" * 16_384}}, "data: is 16395 bytes of JSON; at most 16384"),
    ({"titel": 1}, "'titel': there is no such field (known: id, category, kind,"),
    ({"titel\x1b[2J": 1}, "'titel\\x1b[2J': there is no such field"),
])
def test_each_wrong_field_is_named_with_what_it_should_be(changes: dict[str, Any], said: str) -> None:
    """One sentence for one mistake, with the value that was found."""
    message = refusal(line(**changes))
    assert said in message
    assert ";" not in message or "bytes" in message
    assert message.isprintable()


def test_all_mistakes_of_a_record_are_said_at_once() -> None:
    """Nobody has to import five times to find five mistakes."""
    message = refusal(line(id=..., category="", kind="x", posted_at="y", social=-1, expires_at="z", data=3, extra=1))
    assert [part.split(":")[0] for part in message.split("; ")] == [
        "id", "category", "kind", "posted_at", "social", "expires_at", "data", "'extra'"]


def test_a_message_stays_short_whatever_came_in() -> None:
    """A thousand unknown fields and a huge value are not printed back."""
    message = refusal(line(id="x" * 60_000, **{f"field{n}": n for n in range(1000)}))
    assert message.endswith("; and 991 more")
    assert len(message) < 2000


items = st.builds(
    Item,
    id=st.from_regex(r"[A-Za-z0-9._~:-]{1,128}", fullmatch=True),
    category=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=64),
    kind=st.sampled_from(["evergreen", "timely"]),
    posted=st.integers(0, 2**32 - 1),
    social=st.integers(0, 2**32 - 1),
    expires=st.integers(0, 2**32 - 1),
    hidden=st.booleans(),
    data=st.dictionaries(texts, json_values, max_size=3),
)


@given(items)
def test_a_full_record_taken_back_is_the_same_item(item: Item) -> None:
    """What GET and `items list --json` give, import takes."""
    full = full_record(item.served_json(), item.social, item.expires, item.hidden)
    assert tuple(full) == FIELDS
    assert check(full) == item
    assert parse(orjson.dumps(full)) == item


def test_an_address_gives_the_id_and_wins() -> None:
    """A record for PUT may leave its id out; another id is an error that names both."""
    assert parse(line(id=...), "a1").id == "a1"
    assert parse(line(), "a1").id == "a1"
    for other in ("a2", 7, None):
        with pytest.raises(ItemError, match="id: the address says 'a1', the record "):
            parse(line(id=other), "a1")
