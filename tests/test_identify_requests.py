"""POST /identify: whose tokens it takes, from where, and what it refuses."""

from __future__ import annotations

from typing import Any

from tests.edge_state import users, written
from tests.identify_site import ANN, act, ask, cookie, items
from tests.stack_fixture import REDIS_AWAY, SHORT_MS, Stack

__all__ = ["items"]  # a fixture


def test_tokens_may_come_in_the_body_and_in_any_place(items: Stack) -> None:
    """A site's back end has both; what the body names comes first."""
    act(items, ANN, ("impression", "i1"))
    named = {"anonymous": items.token(ANN), "user": items.token("u1")}
    other = cookie(items, "a-fedcba9876543210")
    for kw in (
        {"json": named},
        {"json": named, "headers": {**items.bearer("u2"), **other}},
        {"json": {"anonymous": named["anonymous"]}, "headers": {**items.bearer("u1"), **other}},
        {"headers": {**items.bearer(ANN), **cookie(items, "u1")}},
    ):
        answer = items.http.post("/identify", **kw)
        assert (answer.status_code, answer.json()["user"], answer.json()["anonymous"]) == (200, "u1", ANN), kw
    assert set(users(items)) == {ANN, "u1"}


def test_without_both_tokens_nothing_happens(items: Stack) -> None:
    """None, one, two of a kind, a forged one: 401 in words, no cookie, nothing written."""
    act(items, ANN, ("impression", "i1"))
    before = written(items)
    forged = items.token("u1")[:-3] + "AAA"
    for headers in ({}, items.bearer("u1"), cookie(items, ANN), {**items.bearer("u1"), **cookie(items, "u2")},
                    {**items.bearer(ANN), **cookie(items, "a-fedcba9876543210")},
                    {"Authorization": f"Bearer {forged}", **cookie(items, ANN)}):
        answer = items.http.post("/identify", headers=headers)
        assert answer.status_code == 401, headers
        assert "valid tokens of an anonymous visitor" in answer.json()["error"]
        assert not {"set-cookie", "nightfeed-token"} & set(answer.headers)
    for body, word in (("[", "not a JSON object"), ("7", "not a JSON"), ("{}\0", "not a JSON"),
                       ('{"user": 7}', '"user" is not a string')):
        answer = ask(items, content=body)
        assert (answer.status_code, word in answer.json()["error"]) == (400, True)
    items.expect_log("client intended to send too large body")
    assert ask(items, content=b"x" * 5000).status_code == 413
    got = items.http.get("/identify")
    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert written(items) == before


def test_who_said_no_and_other_sites_pages_merge_nothing(items: Stack) -> None:
    """Opted out: 204, as a beacon; another site's page: 403."""
    act(items, ANN, ("impression", "i1"))
    headers, before = {**items.bearer("u1"), **cookie(items, ANN)}, written(items)
    assert items.http.post("/identify", headers={**headers, "Sec-GPC": "1"}).status_code == 204
    assert items.http.post("/identify", headers={**headers, "Origin": "https://evil.example"}).status_code == 403
    assert items.http.post("/identify", headers={**headers, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert written(items) == before


def test_who_was_erased_gets_back_only_what_began_later(items: Stack) -> None:
    """The erased person's name is on no key after a merge with an older history; erasing the other one leaves none."""
    act(items, ANN, ("impression", "i1"), ("dwell", "i1", {"ms": 10}))
    items.beacon(ANN, [{"event": "search", "query": "rye"}])
    ask(items)
    items.worker("user", "forget", "u1", "--yes")
    assert ask(items).status_code == 200
    assert items.redis.keys("*:u1") == []
    assert "u1" not in users(items)
    items.worker("user", "forget", ANN, "--yes")
    assert items.redis.keys(f"*{ANN}*") == []


def test_one_person_may_ask_so_often(fresh_stack: Any) -> None:
    """60 times an hour; another person still may."""
    stack = fresh_stack(rate_limit="1000")
    answers = [ask(stack) for _ in range(61)]
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 3000
    assert ask(stack, user="u2").status_code == 200


def test_a_paused_redis_is_a_503_and_the_same_again_does_it(fresh_stack: Any) -> None:
    """Nothing is half done that a second try would not finish."""
    stack = fresh_stack(redis_timeout_ms=SHORT_MS)
    stack.expect_log(REDIS_AWAY)
    stack.import_items([stack.item("i1"), stack.item("i2")])
    for user in (ANN, "u1"):
        act(stack, user, ("impression", "i1"))
    stack.redis.client_pause(4000, all=True)
    answer = ask(stack)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    stack.until(lambda: ask(stack).status_code == 200)
    assert [item["id"] for item in stack.feed("u1", 5)["items"]] == ["i2"]
