"""Calls the API in this process, and checks that every error is a problem and every answer as documented."""

from __future__ import annotations

import json
import re
from typing import Any

import falcon
from falcon.testing import Result, TestClient

from worker.api import create_app
from worker.api.documents import document
from worker.credentials import Credentials
from worker.store.connect import Store
from worker.tokens import Keyring

TOKENS = {"catalogue": "token of the catalogue", "admin": "token of the admin"}
RECORD: dict[str, Any] = {
    "id": "a1", "category": "cooking", "kind": "evergreen", "posted_at": "2026-11-20T08:00:00Z", "social": 12,
    "expires_at": "2106-02-07T06:28:15Z", "hidden": True, "data": {"title": "Brød"},
}
# Each address with one that exists, its methods, and the role they need (None: open to all).
ROUTES = [
    ("/api/items/{item_id}", "/api/items/a1", ("GET", "PUT", "DELETE"), "catalogue"),
    ("/api/items", "/api/items", ("GET", "POST"), "catalogue"),
    ("/api/users/{user}", "/api/users/u1", ("GET", "DELETE"), "admin"),
    ("/api/runs", "/api/runs", ("GET",), "admin"),
    ("/api/status", "/api/status", ("GET",), "admin"),
    ("/api/openapi.json", "/api/openapi.json", ("GET",), None),
]
OPERATIONS = [(method, address, role) for _, address, methods, role in ROUTES for method in methods]


class Caller:
    """Calls the application as a role, and checks that every error is a problem and every answer as documented."""

    def __init__(self, store: Store) -> None:
        secrets = Credentials(Keyring("k1", {"k1": b"key"}), TOKENS, {})
        self._client = TestClient(create_app(store, secrets))

    def __call__(self, method: str, address: str, role: str | None = "admin", **rest: Any) -> Result:
        headers = {"Authorization": f"Bearer {TOKENS[role]}"} if role else {}
        answer = self._client.simulate_request(method, address, headers={**headers, **rest.pop("headers", {})}, **rest)
        if answer.status_code >= 400:
            check_problem(answer.status_code, answer.headers["content-type"], answer.json)
        check_documented(method, address, answer)
        return answer


def check_problem(status: int, media: str, problem: dict[str, Any]) -> None:
    """RFC 9457: four members, the status twice the same."""
    assert media == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"] == falcon.code_to_http_status(status).partition(" ")[2]
    assert problem["detail"]
    assert problem["detail"] != problem["title"]


def check_documented(method: str, address: str, answer: Result) -> None:
    """Where the document knows the operation, it knows the status, and its schema fits the body."""
    for path, operations in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), address) and method.lower() in operations:
            described = operations[method.lower()]["responses"].get(str(answer.status_code))
            assert described is not None or answer.status_code == 500, f"{method} {path}: {answer.status_code}"
            for content in (described or {}).get("content", {}).values():
                check_schema(answer.json, content["schema"])


def check_schema(value: Any, schema: dict[str, Any]) -> None:
    """The part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return check_schema(value, document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    types = {"object": {dict}, "array": {list}, "string": {str}, "boolean": {bool}, "integer": {int},
             "number": {int, float}, "null": {type(None)}}
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert type(value) in set().union(*(types[name] for name in allowed)), f"{value!r} is none of {allowed}"
    assert value in schema.get("enum", [value])
    if isinstance(value, str):
        assert re.fullmatch(schema.get("pattern", r"(?s).*").strip("^$"), value)
    if isinstance(value, int) and value is not True and value is not False:
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        for entry in value:
            check_schema(entry, schema["items"])
    if isinstance(value, dict):
        check_object(value, schema)
    return None


def check_object(value: dict[str, Any], schema: dict[str, Any]) -> None:
    """Required members are there; others are allowed only where the schema says so."""
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    assert set(schema.get("required", [])) <= set(value)
    for name, member in value.items():
        assert name in known or others is not False, f"{name} is not in the document"
        if name in known or isinstance(others, dict):
            check_schema(member, known.get(name, others))


def put(call: Caller, **changes: Any) -> Result:
    """PUT a record under its own id."""
    record = {**RECORD, **changes}
    return call("PUT", f"/api/items/{record['id']}", body=json.dumps(record))
