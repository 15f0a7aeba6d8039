"""GET /feed while Redis is away: the last default list, from memory."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.feed_site import Site, shown, utc
from tests.stack_fixture import PATIENCE_S, REDIS_AWAY, SHORT_MS, Stack


@pytest.fixture
def site(fresh_stack: Callable[..., Stack]) -> Site:
    """An empty site, whose edge says in its log that Redis is away."""
    stack = fresh_stack(redis_timeout_ms=SHORT_MS)
    stack.expect_log(REDIS_AWAY)
    return Site(stack)


def test_with_redis_stopped_the_last_default_list_is_served(site: Site) -> None:
    """Within about the timeout, page by page, without what expired or was just seen; and as before when it goes on."""
    site.add("a", "b", "c", "d")
    soon = int(time.time()) + 12
    site.add("leaving", expires_at=utc(soon))
    site.publish(6, "a b c leaving d", default="a b leaving c d")
    site.give("stopped", 6, "d c b a")
    site.see("stopped", "b")
    site.stack.signal("redis", signal.SIGSTOP)
    try:
        page = site.stack.feed("stopped", 3)
        assert (shown(page), page["source"], page["generation"]) == ("a leaving c", "fallback", 6)
        assert page["user"] == "stopped"
        following = site.stack.feed("stopped", 3, page["cursor"])
        assert (shown(following), following["source"], following["cursor"]) == ("d", "fallback", None)
        site.stack.until(lambda: site.ids("stopped") == "a c d")
    finally:
        site.stack.signal("redis", signal.SIGCONT)
    site.stack.until(lambda: site.stack.feed("stopped")["source"] == "list")
    assert shown(site.stack.feed("stopped", 2, page["cursor"])) == "d c", "a cursor of the fallback begins the list"


def test_new_nginx_workers_answer_without_redis(site: Site) -> None:
    """They know nothing yet; what the old ones rendered outlives them, and the clock still counts."""
    site.add("a", "b")
    site.add("leaving", expires_at=utc(time.time() + 10))
    site.publish(2, "a b leaving", default="b leaving a")
    site.stack.signal("redis", signal.SIGSTOP)
    try:
        old = set(workers(site.stack))
        site.stack.reload()
        site.stack.until(lambda: len(set(workers(site.stack)) - old) == 2)
        with httpx.Client(base_url=site.stack.url, timeout=PATIENCE_S) as client:
            bearer = site.stack.bearer("reloaded")
            pages = [client.get("/feed", headers=bearer).json() for _ in range(3)]
            assert {page["source"] for page in pages} == {"fallback"}
            site.stack.until(lambda: shown(client.get("/feed", headers=bearer).json()) == "b a")
    finally:
        site.stack.signal("redis", signal.SIGCONT)
    site.stack.until(lambda: site.stack.feed("reloaded")["source"] == "default")


def test_without_redis_and_without_any_list_a_feed_is_empty_and_says_so(fresh_stack: Callable[..., Stack]) -> None:
    """200, fallback, and not exhausted: there may well be more."""
    stack = fresh_stack(redis_timeout_ms=SHORT_MS)
    stack.expect_log(REDIS_AWAY)
    stack.sync()
    stack.signal("redis", signal.SIGSTOP)
    try:
        page: dict[str, Any] = stack.feed("u1")
        assert page == {"user": "u1", "generation": 0, "source": "fallback", "items": [], "cursor": None}
    finally:
        stack.signal("redis", signal.SIGCONT)


def workers(stack: Stack) -> list[int]:
    """Process ids of nginx's workers."""
    pid = stack.part("nginx").pid()
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]
