"""The API against its own OpenAPI document, behind the edge: with what that allows, and with what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from tests.api_caller import ROUTES
from tests.security.fuzzing import examples, nothing_dies
from tests.stack_fixture import Stack

# The full form takes minutes a test.
pytestmark = pytest.mark.timeout(7200)
OPERATIONS = [(path, method, mode) for path, _, methods, _ in ROUTES for method in methods for mode in GenerationMode
              # Without parameters and body there is nothing that could be sent wrongly.
              if mode == GenerationMode.POSITIVE or path != "/api/openapi.json"]
ALL = [checks.not_a_server_error, openapi_checks.status_code_conformance, openapi_checks.content_type_conformance,
       openapi_checks.response_schema_conformance, openapi_checks.response_headers_conformance]  # fmt: skip


@schemathesis.serializer("application/x-ndjson")
def _lines(context: Any, value: Any) -> Any:
    """Lines are sent as they are; what is no text, as JSON."""
    return value if isinstance(value, str | bytes) else json.dumps(value)


class Site:
    """The document as it is served, and a session as an administrator."""

    def __init__(self, stack: Stack) -> None:
        stack.import_items([stack.item(f"i{n}") for n in range(3)])
        stack.beacon("u1", [{"event": "impression", "item": "i0"}])
        self.stack, self.session = stack, requests.Session()
        self.schema = schemathesis.openapi.from_dict(stack.http.get("/api/openapi.json").json())
        self.admin = {"Authorization": f"Bearer {stack.credentials.api['admin']}"}
        self.secrets = [str(stack.run), *stack.credentials.api.values(), *stack.credentials.redis.values(), "Traceback",
                        *(key.hex() for key in stack.credentials.keyring.keys.values()), ".py", "redis.sock"]

    def check(self, case: Any, headers: dict[str, str]) -> requests.Response:
        """Send a case, and compare the answer with the document."""
        answer = case.call(base_url=self.stack.url, session=self.session, headers=headers)
        case.validate_response(answer, checks=ALL)
        self.check_error(answer)
        return answer

    def check_error(self, answer: requests.Response) -> None:
        """A problem says what was wrong, twice its status, and nothing of what this host keeps to itself."""
        if answer.status_code < 400:
            return
        told = answer.json()
        media = answer.headers["content-type"]
        media = media if isinstance(media, str) else media[0]  # schemathesis has lists of them
        if media == "application/json":  # nginx refused it before the API saw it
            assert told["error"]
        else:
            assert media == "application/problem+json"
            assert told["status"] == answer.status_code
            assert told["detail"]
        assert not [secret for secret in self.secrets if secret in answer.text], answer.text


@pytest.fixture
def site(stack: Stack) -> Iterator[Site]:
    """A site whose processes must outlive the test."""
    # nginx says so when it keeps a body in a file until all of it is there.
    stack.expect_log(r"a client request body is buffered to a temporary file")
    with nothing_dies(stack):
        yield Site(stack)


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_every_operation_answers_as_its_document_says(site: Site, path: str, method: str, mode: GenerationMode) -> None:
    """Status, type, headers and schema of each answer; below 500, whatever was sent."""
    operation = site.schema[path][method.lower()]

    @examples(40, 400)
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        site.check(case, site.admin)

    run()


def test_lines_of_records_are_taken_or_refused_one_by_one(site: Site) -> None:
    """Records as the document describes them, records that are not, and lines that are no JSON, in one body."""
    put = site.schema["/api/items/{item_id}"]["put"]
    good, bad = (put.as_strategy(generation_mode=mode) for mode in GenerationMode)
    lines = st.tuples(st.sampled_from(["good", "bad", "junk"]), good, bad, st.text(max_size=20).map(json.dumps))

    @examples(25, 1000)
    @given(batch=st.lists(lines, min_size=1, max_size=5))
    def run(batch: list[tuple[str, Any, Any, str]]) -> None:
        texts = [_record(kind, one, other, junk) for kind, one, other, junk in batch]
        answer = site.session.post(f"{site.stack.url}/api/items", data="\n".join(texts).encode(), headers=site.admin)
        assert answer.status_code in (200, 422), answer.text
        told = answer.json()
        assert told["imported"] + told["refused"] == len(texts), (texts, told)
        assert told["refused"] == len({error["line"] for error in told["errors"]})
        site.check_error(answer)

    run()


def _record(kind: str, good: Any, bad: Any, junk: str) -> str:
    """One line of a body."""
    if kind == "junk":
        return junk
    case = good if kind == "good" else bad
    body = {"id": "x1", **case.body} if isinstance(case.body, dict) else str(case.body)
    return json.dumps(body)


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"]
PATHS = ["/api", "/api/", "/api/items", "/api/items/", "/api/items/%00", "/api/items/..", "/api/items/%2e%2e",
         "/api/runs", "/api/items/a%2Fb", "/api/users/", "/api/users/u1", "/api/status",
         "/api/openapi.json", "/api/items/\u00e9"]
TOKENS = ["", "Bearer", "Bearer x", "Basic YTpi", "<admin>", "<catalogue>", "bearer <admin>", "Bearer\t<admin>", "\x01"]


@examples(400, 6000)
@given(method=st.sampled_from(METHODS), path=st.sampled_from(PATHS), auth=st.sampled_from(TOKENS) | st.text(max_size=8),
       query=st.binary(max_size=12).map(quote_from_bytes), body=st.binary(max_size=40))  # fmt: skip
def test_anything_else_is_answered_too(site: Site, method: str, path: str, auth: str, query: str, body: bytes) -> None:
    """Other methods, addresses, tokens and bodies: below 500, and a problem that tells no secret."""
    for role, token in site.stack.credentials.api.items():
        auth = auth.replace(f"<{role}>", token)
    headers = {"Authorization": auth.strip().encode("utf-8")}
    try:
        answer = site.session.request(method, f"{site.stack.url}{path}?{query}", data=body, headers=headers)
    except requests.exceptions.InvalidHeader:
        return
    assert answer.status_code < 500, (answer.text, auth)
    if method != "HEAD":
        site.check_error(answer)
