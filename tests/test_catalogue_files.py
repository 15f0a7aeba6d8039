"""Files of items, NDJSON and CSV: good lines become items, bad ones are named by number, nothing is an exception."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.item_records import GOOD, POSTED, json_values, line, record
from worker.catalogue import FIELDS, MAX_RECORD, Item, detect, read


def results(text: bytes, form: str = "ndjson") -> list[tuple[int, Item | str]]:
    """All lines of a file; errors as their messages."""
    return [(number, item if isinstance(item, Item) else str(item)) for number, item in read(io.BytesIO(text), form)]


def test_bad_lines_are_named_by_their_physical_number_and_the_good_ones_kept() -> None:
    """Blank lines count, and are neither good nor bad; the last line needs no line end."""
    text = b"\xef\xbb\xbf" + line(id="a") + b"\r\n\n  \nnonsense\n" + line(id="b") + b"\n" + line(kind="x")
    found = results(text)
    assert [number for number, _ in found] == [1, 4, 5, 6]
    assert [item.id if isinstance(item, Item) else item.split(":")[0] for _, item in found] == [
        "a", "not JSON", "b", "kind"]


def test_a_line_without_end_is_passed_over_without_being_held() -> None:
    """The next line is read as ever; a line of exactly the limit is a line."""
    fits = line() + b" " * (MAX_RECORD - len(line()))
    text = b"x" * (5 * MAX_RECORD + 1) + b"\n" + fits + b"\n" + fits + b" \n" + fits
    found = results(text)
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert [isinstance(item, Item) for _, item in found] == [False, True, False, True]
    assert found[0][1] == f"longer than {MAX_RECORD} bytes"


@given(st.lists(st.binary(max_size=80) | st.sampled_from([line(), b"{}", b'"', b"id,category\n", b"a,b,\"c"])),
       st.sampled_from(["ndjson", "csv"]))
def test_arbitrary_bytes_are_records_or_errors_and_never_an_exception(chunks: list[bytes], form: str) -> None:
    """Whatever stands in a file, each line is an item or a message, in order."""
    found = results(b"\n".join(chunks), form)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(item, Item) or item for _, item in found)


@given(st.dictionaries(st.sampled_from([*FIELDS, "x"]), json_values | st.sampled_from(list(GOOD.values()))))
def test_arbitrary_json_records_are_items_or_errors(fields: dict[str, Any]) -> None:
    """Any value in any field."""
    (number, item), = results(orjson.dumps(fields))
    assert number == 1
    assert item


def as_csv(records: list[dict[str, Any]], columns: list[str]) -> bytes:
    """Records as CSV: data as JSON in one column."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for entry in records:
        cells = {name: "" if value is None else value for name, value in entry.items()}
        writer.writerow({**cells, "data": json.dumps(entry["data"]), "hidden": str(entry["hidden"]).lower()})
    return out.getvalue().encode()


def test_csv_and_ndjson_give_the_same_items() -> None:
    """In any order of columns, with quotes, commas and line breaks in the cells, and a byte order mark."""
    records = [
        record(id="a"), record(id="b", hidden=True, social=0, expires_at="2026-12-01T00:00:00+01:00"),
        record(id="c", category='say "x", then y', data={"text": "two\nlines", "n": [1, {"deep": None}]}),
        record(id="d", category="ünïcode ☃", data={}),
    ]
    ndjson = b"".join(json.dumps(entry).encode() + b"\n" for entry in records)
    table = b"\xef\xbb\xbf" + as_csv(records, [*reversed(FIELDS)])
    assert [item for _, item in results(table, "csv")] == [item for _, item in results(ndjson)]


def test_csv_errors_say_the_same_as_ndjson_errors() -> None:
    """One rule for both."""
    bad = record(id="b d", category="", kind="x", posted_at="y", data={})
    table = results(as_csv([{**bad, "category": "a\x01b"}], list(FIELDS)), "csv")
    assert table == [(2, results(json.dumps({**bad, "category": "a\x01b"}).encode())[0][1])]


def test_columns_of_data_are_an_object() -> None:
    """An empty cell is a field that is not there, and cells stay text."""
    text = b"id,category,kind,posted_at,data.title,data.n\na,c,timely,2026-11-20T08:00:00Z,Bread,7\n" \
           b"b,c,timely,2026-11-20T08:00:00Z,,\n"
    found = [item.data for _, item in results(text, "csv") if isinstance(item, Item)]
    assert found == [{"title": "Bread", "n": "7"}, {}]


HEADER = b"id,category,kind,posted_at,social,hidden,data\n"


@pytest.mark.parametrize(("row", "said"), [
    (b"a,c,timely,2026-11-20T08:00:00Z,many,,", "social: must be a whole number from 0 to 4294967295, not 'many'"),
    (b"a,c,timely,2026-11-20T08:00:00Z,-1,,", "social: must be a whole number from 0 to 4294967295, not -1"),
    (b"a,c,timely,2026-11-20T08:00:00Z,,perhaps,", "hidden: must be true or false, not 'perhaps'"),
    (b"a,,timely,2026-11-20T08:00:00Z,,,", "category: missing"),
    (b"a", "category: missing; kind: missing; posted_at: missing"),
    (b"a,c,timely,2026-11-20T08:00:00Z,,,{", "data: not JSON: "),
    (b"a,c,rotten,2026-11-20T08:00:00Z,,,{", "kind: must be evergreen or timely, not 'rotten'"),
    (b'a,c,timely,2026-11-20T08:00:00Z,,,"{""x"":1,""x"":2}"', "data: 'x': given twice"),
    (b"a,c,timely,2026-11-20T08:00:00Z,,,[]", "data: must be a JSON object, not a list"),
    (b"a,c,timely,2026-11-20T08:00:00Z,,,,more", "8 cells, but the header has 7 columns"),
    (b"a,c\xff,timely,2026-11-20T08:00:00Z,,,", "not valid UTF-8"),
    (b'a,"c"x,timely,2026-11-20T08:00:00Z,,,', "not CSV: "),
    (b"x" * (MAX_RECORD + 1), "longer than 65536 bytes"),
])
def test_each_bad_row_of_csv_is_named_and_the_next_one_read(row: bytes, said: str) -> None:
    """The reason, and no harm to the rows around."""
    good = b"b,c,timely,2026-11-20T08:00:00Z,3,yes,{}\n"
    found = results(HEADER + good + row + b"\n\n,,,,,,\n" + good, "csv")
    assert [number for number, _ in found] == [2, 3, 6]
    assert found[0][1] == found[2][1] == Item("b", "c", "timely", POSTED, 3, 0, True, {})
    assert isinstance(found[1][1], str)
    assert said in found[1][1]


def test_a_quote_that_is_never_closed_says_where_it_was_opened() -> None:
    """It takes what follows with it, and the message says so."""
    (number, message), = results(HEADER + b'a,"c,timely\nb,c\nd,e\n', "csv")
    assert number == 2
    assert "a quote opened here was still open on line 4" in str(message)


@pytest.mark.parametrize(("header", "said"), [
    (b"id,category,kind", "posted_at: missing"),
    (b"id;category;kind;posted_at", "'id;category;kind;posted_at': there is no such column"),
    (b"id,category,kind,posted_at,titel", "'titel': there is no such column"),
    (b"id,category,kind,posted_at,id", "'id': given twice"),
    (b"id,category,kind,posted_at,data,data.title", "data: either one column of JSON"),
    (b"id,category,kind,posted_at,data.", "'data.': there is no such column"),
])
def test_a_header_that_cannot_be_used_is_one_error(header: bytes, said: str) -> None:
    """Not one for each row."""
    (number, message), = results(header + b"\n" + b"a,b,c,d,e\n" * 5, "csv")
    assert number == 1
    assert said in str(message)


@pytest.mark.parametrize(("name", "start", "form"), [
    ("items.ndjson", b"id,", "ndjson"), ("items.JSONL", b"id,", "ndjson"), ("x.json", b"", "ndjson"),
    ("x.csv", b"{", "csv"), ("<stdin>", b"{", "ndjson"), ("-", b"\xef\xbb\xbf \n{", "ndjson"),
    ("-", b"[{", "ndjson"), ("-", b"id,category", "csv"), ("-", b'"id","category"', "csv"), ("-", b"", "ndjson"),
])
def test_the_format_is_known_by_name_or_first_character(name: str, start: bytes, form: str) -> None:
    """The name decides where it can."""
    assert detect(name, start) == form
