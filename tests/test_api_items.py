"""The API's catalogue: what goes in comes out, one item or many, and what is refused says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api_caller import RECORD, Caller, put
from tests.stack_fixture import Stack
from worker.store.connect import open_store


@pytest.fixture
def call(stack: Stack) -> Caller:
    """Calls an application on the stack's store, in this process."""
    return Caller(open_store(stack.run))


def test_an_item_put_is_got_listed_and_deleted(call: Caller) -> None:
    """201 when new, 200 in place, 204 gone, 404 after that; all fields come back."""
    assert call("GET", "/api/items/a1").status_code == 404
    first = put(call)
    assert (first.status_code, first.json) == (201, RECORD)
    assert put(call).status_code == 200
    assert call("GET", "/api/items/a1").json == RECORD
    assert call("GET", "/api/items").json == {"items": [RECORD], "cursor": None}
    gone = call("DELETE", "/api/items/a1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert call("GET", "/api/items/a1").status_code == call("DELETE", "/api/items/a1").status_code == 404
    assert call("GET", "/api/items").json == {"items": [], "cursor": None}
    assert put(call).status_code == 201


def test_the_address_gives_the_id(call: Caller) -> None:
    """A body without one is taken, a body with another one is not."""
    bare = {name: RECORD[name] for name in ("category", "kind", "posted_at")}
    assert call("PUT", "/api/items/b:2", body=json.dumps(bare)).json["id"] == "b:2"
    answer = call("PUT", "/api/items/b", body=json.dumps(RECORD))
    assert answer.status_code == 422
    assert answer.json["detail"] == "id: the address says 'b', the record 'a1'"
    assert call("GET", "/api/items/a1").status_code == 404


@pytest.mark.parametrize(("body", "status", "said"), [
    (b"", 400, "empty"), (b"{", 422, "not JSON"), (b"[]", 422, "a record is a JSON object"),
    (b"{}", 422, "category: missing; kind: missing; posted_at: missing"),
    (json.dumps({**RECORD, "kind": "x"}).encode(), 422, "kind: must be evergreen or timely"),
    (b" " * 65_537, 413, "65537 bytes; at most 65536"),
])
def test_a_bad_put_says_what_is_wrong_and_stores_nothing(call: Caller, body: bytes, status: int, said: str) -> None:
    """The same words as at the command line."""
    answer = call("PUT", "/api/items/a1", body=body)
    assert answer.status_code == status
    assert said in answer.json["detail"]
    assert call("GET", "/api/items").json["items"] == []


@pytest.mark.parametrize("address", ["/api/items/%20", "/api/items/a%0Ab", "/api/items/%C3%BC", "/api/items/%FF",
                                     "/api/items/" + "x" * 129, "/api/users/a%3Fb", "/api/users/a%40b"])
def test_an_address_that_names_no_id_is_422(call: Caller, address: str) -> None:
    """After decoding, and for every method."""
    for method in ("GET", "PUT", "DELETE"):
        answer = call(method, address, body=json.dumps(RECORD) if method == "PUT" else None)
        assert answer.status_code == (405 if method == "PUT" and "users" in address else 422)


def test_many_items_are_imported_line_by_line(call: Caller) -> None:
    """200 while any line is good, with the number of each bad line."""
    body = f"{json.dumps(RECORD)}\n\nnonsense\n{json.dumps({**RECORD, 'id': 'b'})}"
    answer = call("POST", "/api/items", body=body)
    assert answer.status_code == 200
    assert (answer.json["imported"], answer.json["refused"]) == (2, 1)
    assert answer.json["errors"][0]["line"] == 3
    assert [item["id"] for item in call("GET", "/api/items").json["items"]] == ["a1", "b"]


def test_an_import_of_only_bad_lines_is_422_with_each_of_them(call: Caller) -> None:
    """The first thousand are named, all are counted."""
    answer = call("POST", "/api/items", body="x\n" * 1500)
    assert answer.status_code == 422
    assert (answer.json["imported"], answer.json["refused"], len(answer.json["errors"])) == (0, 1500, 1000)


def test_an_import_of_nothing_is_400(call: Caller) -> None:
    """No body, or blank lines only."""
    assert call("POST", "/api/items").status_code == 400
    assert call("POST", "/api/items", body="\n \n").status_code == 400


def test_a_body_of_unknown_or_forbidden_length_is_not_read(call: Caller) -> None:
    """411 and 413, before anything is stored."""
    assert call("POST", "/api/items", headers={"Transfer-Encoding": "chunked"}).status_code == 411
    answer = call("POST", "/api/items", headers={"Content-Length": str(64 * 2**20 + 1)})
    assert answer.status_code == 413


def test_a_listing_is_paged_by_cursor(call: Caller) -> None:
    """Every item once; the last page has no cursor."""
    names = [f"i{n}" for n in range(7)]
    call("POST", "/api/items", body="\n".join(json.dumps({**RECORD, "id": name}) for name in names))
    found, cursor = [], "0"
    while cursor is not None:
        answer = call("GET", "/api/items", params={"limit": 3, "cursor": cursor}).json
        found.append([item["id"] for item in answer["items"]])
        cursor = answer["cursor"]
    assert found == [names[:3], names[3:6], names[6:]]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"cursor": -1}, {"cursor": "x"},
                                    {"cursor": 2**70}])
def test_parameters_out_of_bounds_are_400_and_named(call: Caller, params: dict[str, Any]) -> None:
    """Not silently another value."""
    answer = call("GET", "/api/items", params=params)
    assert answer.status_code == 400
    assert next(iter(params)) in answer.json["detail"]
