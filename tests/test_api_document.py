"""The OpenAPI document has what the application has; the other tests compare every answer with it."""

from __future__ import annotations

import json
import re

import pytest
from falcon import inspect

from tests.api_caller import OPERATIONS, ROUTES, TOKENS, Caller
from tests.stack_fixture import Stack
from worker.api import create_app
from worker.api.documents import document
from worker.credentials import Credentials
from worker.store.connect import open_store
from worker.tokens import Keyring


@pytest.fixture
def call(stack: Stack) -> Caller:
    """Calls an application on the stack's store, in this process."""
    return Caller(open_store(stack.run))


def test_the_document_has_every_route_and_method_and_no_other(stack: Stack) -> None:
    """What falcon routes, except OPTIONS, which every address has."""
    app = create_app(open_store(stack.run), Credentials(Keyring("k1", {}), TOKENS, {}))
    routed = {(route.path, method.method.lower()) for route in inspect.inspect_routes(app)
              for method in route.methods if not method.internal}
    described = {(path, method) for path, operations in document()["paths"].items()
                 for method in operations if method != "parameters"}
    tested = {(path, method.lower()) for path, _, methods, _ in ROUTES for method in methods}
    assert routed == described == tested


def test_the_document_is_served_and_refers_only_to_what_it_has(call: Caller) -> None:
    """OpenAPI 3.1, unique operation ids, path parameters declared, references that lead somewhere."""
    served = call("GET", "/api/openapi.json", None).json
    assert served == document()
    assert served["openapi"].startswith("3.1")
    text = json.dumps(served)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in served["components"]["schemas"]
    names = re.findall(r'"operationId": "(\w+)"', text)
    assert len(names) == len(set(names)) == len(OPERATIONS)
    for path, operations in served["paths"].items():
        declared = [parameter["name"] for parameter in operations.get("parameters", [])]
        assert declared == re.findall(r"\{(\w+)\}", path)


def test_the_documented_role_of_each_operation_is_the_one_it_needs() -> None:
    """`security` names the schemes that are let through."""
    for path, _, methods, role in ROUTES:
        for method in methods:
            schemes = [next(iter(entry)) for entry in document()["paths"][path][method.lower()]["security"]]
            assert schemes == {None: [], "admin": ["admin"], "catalogue": ["catalogue", "admin"]}[role]
