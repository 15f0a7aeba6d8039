"""The API: who may do what, faults, people, runs and status, and how it answers behind the edge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api_caller import OPERATIONS, RECORD, TOKENS, Caller, check_problem, put
from tests.stack_fixture import REDIS_AWAY, Stack
from worker.store import users
from worker.store.connect import Store, open_store
from worker.store.errors import StoreError


@pytest.fixture
def call(stack: Stack) -> Caller:
    """Calls an application on the stack's store, in this process."""
    return Caller(open_store(stack.run))


@pytest.mark.parametrize(("method", "address", "role"), OPERATIONS)
def test_each_role_may_do_its_own_and_admin_everything(
    call: Caller, method: str, address: str, role: str | None
) -> None:
    """401 without a token, 403 for another role, and otherwise the request goes through."""
    for given in (None, "catalogue", "admin"):
        status = call(method, address, given).status_code
        if role is None or given in (role, "admin"):
            assert status not in (401, 403)
        else:
            assert status == (401 if given is None else 403)


@pytest.mark.parametrize("header", [
    "", "Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "token of the admin", "Bearer token of the admi",
    "Bearer token of the adminX", "Bearer token of the catalogue token of the admin", "Bearer \u00fc",
])
def test_what_is_no_token_is_401_with_a_challenge(call: Caller, header: str) -> None:
    """Missing, wrong, cut, longer, of another scheme, or not even ASCII."""
    answer = call("GET", "/api/status", None, headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="nightfeed"'
    assert "worker token --api" in answer.json["detail"]


def test_the_scheme_is_taken_in_any_case(call: Caller) -> None:
    """RFC 9110: scheme names have no case."""
    answer = call("GET", "/api/status", None, headers={"Authorization": f"bearer {TOKENS['admin']}"})
    assert answer.status_code == 200


def test_addresses_and_methods_that_are_not_there_are_problems(call: Caller) -> None:
    """404 with where to look, 405 with what is allowed."""
    for address in ("/", "/api", "/api/", "/api/nothing", "/api/items/a/b", "/api/users", "/api/users/"):
        assert call("GET", address).status_code in (404, 422), address
    answer = call("PATCH", "/api/items/a1")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "PUT", "DELETE"}


def test_a_person_is_exported_and_forgotten(stack: Stack, call: Caller) -> None:
    """What the edge recorded comes out, and after erasure nothing does."""
    stack.import_items([stack.item("a1")])
    assert stack.beacon("u1", [{"event": "impression", "item": "a1"}]).status_code == 204
    exported = call("GET", "/api/users/u1").json
    assert exported["user"] == "u1"
    assert [entry["item"] for entry in exported["seen"]] == ["a1"]
    assert call("DELETE", "/api/users/u1").json["seen"] == 1
    assert call("GET", "/api/users/u1").json == users.export(open_store(stack.run), "nobody") | {"user": "u1"}
    assert set(call("DELETE", "/api/users/u1").json.values()) == {0}


def test_runs_are_given_newest_first(stack: Stack, call: Caller) -> None:
    """As they were reported; none before the first."""
    assert call("GET", "/api/runs").json == {"runs": []}
    for date in ("2026-11-19", "2026-11-21", "2026-11-20"):
        stack.redis.hset("runs:{c}", date, json.dumps({"date": date, "generation": 1}))
    assert [run["date"] for run in call("GET", "/api/runs").json["runs"]] == ["2026-11-21", "2026-11-20", "2026-11-19"]


def test_the_status_counts_what_is_there(call: Caller) -> None:
    """The shape is checked against the document at every call."""
    put(call, hidden=False)
    put(call, id="a2")
    assert call("GET", "/api/status").json["items"] == {
        "live": 1, "hidden": 1, "expired": 0, "removed": 0, "evergreen": 1, "timely": 0}


class Broken:
    """A Redis that raises whatever is asked of it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.mark.parametrize(("error", "status"), [(StoreError("secret socket"), 503), (RuntimeError("secret value"), 500)])
def test_faults_are_problems_that_tell_no_secrets(
    stack: Stack, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    """The reason is in the log; 503 says when to come back."""
    call = Caller(Store(Broken(error), stack.settings, stack.run))  # type: ignore[arg-type]
    answer = call("GET", "/api/items/a1")
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "secret" in capsys.readouterr().err


def test_the_api_outlives_a_restart_of_redis(stack: Stack) -> None:
    """Behind the edge: 503 with Retry-After while it is away, and what was stored when it is back."""
    headers = {"Authorization": f"Bearer {stack.credentials.api['catalogue']}"}
    assert stack.http.put("/api/items/a1", json=RECORD, headers=headers).status_code == 201
    stack.expect_log(REDIS_AWAY)
    stack.part("redis").stop()
    answer = stack.http.get("/api/items/a1", headers=headers)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    check_problem(503, answer.headers["content-type"], answer.json())
    stack.script("up")
    assert stack.http.get("/api/items/a1", headers=headers).json() == RECORD


def test_the_api_answers_behind_the_edge(stack: Stack) -> None:
    """Round trip of an item, ids with every character, problems as they are, and what the edge then serves."""
    headers = {"Authorization": f"Bearer {stack.credentials.api['catalogue']}"}
    name = "A.z_0~x:y-z"
    record = {**RECORD, "id": name, "hidden": False}
    assert stack.http.put(f"/api/items/{name}", json=record, headers=headers).status_code == 201
    assert stack.http.get("/api/items/A.z_0%7Ex%3Ay-z", headers=headers).json()["id"] == name
    stack.sync()
    assert stack.beacon("u1", [{"event": "impression", "item": name}]).status_code == 204
    missing = stack.http.get("/api/items/nope", headers=headers)
    check_problem(404, missing.headers["content-type"], missing.json())
    refused = stack.http.get("/api/status", headers=headers)
    check_problem(403, refused.headers["content-type"], refused.json())
    assert stack.http.delete(f"/api/items/{name}", headers=headers).status_code == 204


def test_a_large_import_behind_the_edge_is_whole(stack: Stack) -> None:
    """Megabytes, read line by line: every line arrives, and a refused one of that size still gets its answer."""
    lines = [json.dumps({**RECORD, "id": f"i{n}", "data": {"text": "x" * 1000}}) for n in range(5000)]
    body = "\n".join([*lines, "nonsense"])
    # A body of this size waits in a file until all of it is there, so that a slow sender occupies no API worker.
    stack.expect_log("a client request body is buffered to a temporary file")
    headers = {"Authorization": f"Bearer {stack.credentials.api['catalogue']}"}
    answer = stack.http.post("/api/items", content=body, headers=headers)
    assert (answer.json()["imported"], answer.json()["refused"]) == (5000, 1)
    assert answer.json()["errors"][0]["line"] == 5001
    assert stack.redis.hlen("records:{c}") == 5000
    assert stack.http.post("/api/items", content=body).status_code == 401
