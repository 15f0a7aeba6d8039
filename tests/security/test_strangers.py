"""Never another's data: whose request it is, the token says and nothing else; API tokens open what their role may."""

from __future__ import annotations

import ast
import itertools
import json
import re

import pytest

from tests.api_caller import RECORD, ROUTES
from tests.edge_state import now_ms, users
from tests.stack_fixture import ROOT, Stack
from worker.store import users as people
from worker.store.connect import Store

NAMES = [f"i{n}" for n in range(40)]


@pytest.fixture
def site(stack: Stack) -> Stack:
    """Forty items; u1 and u2 have seen different ones and have lists of their own."""
    stack.import_items([stack.item(name, category=f"c{at % 5}") for at, name in enumerate(NAMES)])
    stack.beacon("u1", [{"event": "impression", "item": name} for name in NAMES[:10]])
    stack.beacon("u2", [{"event": "impression", "item": name} for name in NAMES[10:20]])
    stack.worker("nightly", "--force")
    stack.sync()
    return stack


def test_a_cursor_of_another_person_shows_only_ones_own(site: Stack) -> None:
    """Pages of u2 under cursors of u1, and so on: never what the one who asks has seen, and the answer names them."""
    site.until(lambda: site.feed("u1")["generation"] == 1)
    cursors = [site.feed(user, n)["cursor"] for user in ("u1", "u2", "stranger") for n in (3, 7, 15)]
    for user, seen in (("u1", set(NAMES[:10])), ("u2", set(NAMES[10:20])), ("new", set())):
        for cursor in cursors:
            page = site.feed(user, 30, cursor)
            assert page["user"] == user
            assert not {item["id"] for item in page["items"]} & seen
    assert {user for user in users(site) if user not in ("u1", "u2")} == set(), "reading records nobody"


@pytest.mark.parametrize("field", ["user", "User", "users", "token", "list", "position", "generation", "partition"])
def test_fields_that_name_another_are_ignored(site: Stack, field: str) -> None:
    """In an event, beside the events, in the query, in headers: what is stored is the sender's."""
    before = people.seen(Store(site.redis, site.settings, site.run), "u2")
    odd = 17 if field in ("list", "position") else "u2"
    event = {"event": "impression", "item": "i39", "ts": now_ms(), field: odd}
    headers = {**site.bearer("u1"), "X-User": "u2", "X-Forwarded-User": "u2", "Remote-User": "u2"}
    body = json.dumps({"events": [event], field: "u2"})
    answer = site.http.post(f"/beacon?{field}=u2", content=body, headers=headers)
    assert answer.status_code == 204, answer.text
    assert site.http.get("/pixel.gif", params={"item": "i38", field: odd}, headers=headers).status_code == 200
    store = Store(site.redis, site.settings, site.run)
    assert people.seen(store, "u2") == before
    assert len(people.seen(store, "u1")) == 12
    assert site.http.get("/feed", params={field: "u2"}, headers=headers).json()["user"] == "u1"


def test_a_forged_list_or_generation_gives_no_other_list(site: Stack) -> None:
    """The cursor's numbers are compared with what is published: others begin one's own list anew."""
    site.until(lambda: site.feed("u1")["generation"] == 1)
    cursor = site.feed("u1", 5)["cursor"]
    first = [item["id"] for item in site.feed("u1", 5)["items"]]
    _, rest = cursor.split(".")[0], cursor.split(".")[3:]
    for forged in itertools.product(("0", "1", "2", "999"), repeat=2):
        page = site.feed("u1", 5, ".".join(["1", *forged, *rest]))
        ids = [item["id"] for item in page["items"]]
        assert page["generation"] == 1
        assert not set(ids) & set(NAMES[:10])
        assert (ids == first) == (forged != ("1", "1"))


def test_each_api_token_opens_what_its_role_may_and_nothing_more(stack: Stack) -> None:
    """Every route and method behind the edge, with every token that could be tried."""
    api, visitor = stack.credentials.api, stack.token("u1")
    given = {"nothing": None, "catalogue": api["catalogue"], "admin": api["admin"], "a visitor's": visitor,
             "Redis's": stack.credentials.redis["worker"], "both": api["catalogue"] + " " + api["admin"],
             "cut": api["admin"][:-1], "longer": api["admin"] + "A", "other case": api["admin"].swapcase()}
    for (_, address, methods, role), (name, token) in itertools.product(ROUTES, given.items()):
        for method in methods:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            body = json.dumps(RECORD) if method in ("PUT", "POST") else None
            answer = stack.http.request(method, address, headers=headers, content=body)
            allowed = role is None or name in (role, "admin")
            refusal = 403 if name == "catalogue" else 401
            assert (answer.status_code == refusal) != allowed, (method, address, name, answer.text)
            assert answer.status_code < 500
    for address in ("/api/status", "/api/users/u1"):
        in_query = stack.http.get(address, params={"token": api["admin"], "access_token": api["admin"]})
        cookie = {"Cookie": f"Authorization=Bearer {api['admin']}; token={api['admin']}"}
        assert (in_query.status_code, stack.http.get(address, headers=cookie).status_code) == (401, 401)


def test_an_api_token_is_no_visitors_token(stack: Stack) -> None:
    """The edge takes it for none: a new visitor."""
    for token in stack.credentials.api.values():
        assert stack.http.get("/feed", headers={"Authorization": f"Bearer {token}"}).json()["user"].startswith("a-")


def test_secrets_are_compared_in_constant_time() -> None:
    """In the sources: signatures and tokens go through the functions made for it, never through == or a lookup."""
    for name, function in (("worker/api/auth.py", "_role"), ("worker/tokens.py", "verify")):
        [body] = [node for node in ast.walk(ast.parse((ROOT / name).read_text()))
                  if isinstance(node, ast.FunctionDef) and node.name == function]
        assert "hmac.compare_digest(" in ast.unparse(body)
        plain = [node for node in ast.walk(body) if isinstance(node, ast.Compare)
                 and re.search(r"expected|signed|given|known|token", ast.unparse(node))]
        assert [ast.unparse(node) for node in plain] == []
    lua = (ROOT / "lua/edge/identity.lua").read_text()
    assert "not signature.matches(secret, token, payload, token + payload + 1)" in lua
    compared = (ROOT / "lua/edge/signature.lua").read_text()
    assert "return crypto.CRYPTO_memcmp(text, signed, TEXT) == 0" in compared
    assert not re.search(r"[=~]= *signed|(?<!#)\bsigned *[=~]=", lua + compared)


def test_a_crowd_on_kept_connections_never_gets_anothers_page(site: Stack) -> None:
    """Many people in turns over one connection of the browser's kind, while Redis connections are shared."""
    with_tokens = {f"v{n}": site.bearer(f"v{n}") for n in range(40)}
    for round in range(3):
        for at, (user, headers) in enumerate(with_tokens.items()):
            item = NAMES[(at + round) % len(NAMES)]
            site.http.post("/beacon", headers=headers,
                           content=json.dumps({"events": [{"event": "impression", "item": item, "ts": now_ms()}]}))
            page = site.http.get("/feed?n=100", headers=headers).json()
            assert page["user"] == user
            seen = {NAMES[(at + done) % len(NAMES)] for done in range(round + 1)}
            assert {entry["id"] for entry in page["items"]} == set(NAMES) - seen


def test_nobody_is_someone_before_the_edge_knows_the_generation(site: Stack) -> None:
    """After a reload each worker begins with nothing: pages are still their own people's."""
    site.restart("nginx")
    for user in ("u1", "u2", "u1", "u2"):
        seen = set(NAMES[:10] if user == "u1" else NAMES[10:20])
        page = site.feed(user, 100)
        assert page["user"] == user
        assert not {item["id"] for item in page["items"]} & seen
