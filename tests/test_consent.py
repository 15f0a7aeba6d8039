"""Who has said no, by Sec-GPC or the opt-out cookie: nothing is recorded or read of them, and no cookie is set."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from tests import browser_helpers
from tests.edge_state import now_ms, written
from tests.feed_site import Site, shown, site
from tests.stack_fixture import REDIS_AWAY, Stack
from worker.store.lists import list_key

__all__ = ["site"]  # a fixture

NO = {
    "Sec-GPC": {"Sec-GPC": "1"},
    "cookie": {"Cookie": "nightfeed_optout=1"},
    "among others": {"Cookie": "a=b; nightfeed_optout=yes; c=d"},
    "last": {"Cookie": "theme=dark; nightfeed_optout=true"},
    "one of two": {"Cookie": "nightfeed_optout=0; nightfeed_optout=1"},
    "both": {"Sec-GPC": "1", "Cookie": "nightfeed_optout=1"},
}
NOT_NO = [
    {"Sec-GPC": "0"}, {"Sec-GPC": ""}, {"Sec-GPC": "true"}, {"Sec-GPC": "11"},
    {"Cookie": "nightfeed_optout=0"}, {"Cookie": "nightfeed_optout="}, {"Cookie": "nightfeed_optout"},
    {"Cookie": "a=nightfeed_optout"}, {"Cookie": "xnightfeed_optout=1"}, {"Cookie": "nightfeed_optout2=1"},
    {"Cookie": "nightfeed_optout=; a=1"}, {"Cookie": "a=1; nightfeed_optout=0"},
]  # fmt: skip
ASKS = [(no, by) for no in NO.values() for by in ("nobody", "cookie", "bearer")]


def search() -> bytes:
    """A beacon that is valid without any item."""
    return json.dumps({"events": [{"event": "search", "query": "sourdough", "ts": now_ms()}]}).encode()


def dropped(stack: Stack) -> int:
    """How many beacons were dropped because of an opt-out."""
    name = 'nightfeed_dropped_beacons_total{reason="opted_out"} '
    lines = stack.http.get("/metrics").text.splitlines()
    return sum(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def known(stack: Stack, no: dict[str, str], by: str) -> dict[str, str]:
    """Headers that say no and who asks: as "cookie", "bearer", or not at all."""
    if by == "bearer":
        return {**no, **stack.bearer("ann")}
    if by == "cookie":
        cookie = f"{stack.settings.cookie_name}={stack.token('ann')}"
        return {**no, "Cookie": "; ".join(filter(None, (cookie, no.get("Cookie"))))}
    return no


def tells_nothing(answer: httpx.Response) -> bool:
    """No identity goes to the browser."""
    return "set-cookie" not in answer.headers and "nightfeed-token" not in answer.headers


@pytest.mark.parametrize(("no", "by"), ASKS, ids=str)
def test_a_beacon_of_who_said_no_is_answered_and_dropped(stack: Stack, no: dict[str, str], by: str) -> None:
    """204 as ever, also with a token of a person; nothing is stored, and the drop is counted."""
    before = dropped(stack)
    answer = stack.http.post("/beacon", content=search(), headers=known(stack, no, by))
    assert (answer.status_code, answer.content) == (204, b"")
    assert tells_nothing(answer)
    assert written(stack) == {}
    assert dropped(stack) == before + 1


@pytest.mark.parametrize("headers", NOT_NO, ids=str)
def test_what_does_not_say_no_changes_nothing(stack: Stack, headers: dict[str, str]) -> None:
    """Another value of the header, an empty or 0 cookie, a cookie of a longer name: recorded like anyone."""
    before = dropped(stack)
    answer = stack.http.post("/beacon", content=search(), headers=headers)
    assert answer.status_code == 204
    assert "set-cookie" in answer.headers
    assert written(stack)
    assert dropped(stack) == before


def test_the_body_of_who_said_no_is_not_looked_at(stack: Stack) -> None:
    """204 whatever it is, but for one that nginx does not take from anyone."""
    stack.expect_log("client intended to send too large body")
    for body in (b"", b"{", b'{"events":[]}', b"\xff", b"x" * 65_536):
        assert stack.http.post("/beacon", content=body, headers={"Sec-GPC": "1"}).status_code == 204
    assert stack.http.post("/beacon", content=b"x" * 65_537, headers={"Sec-GPC": "1"}).status_code == 413
    assert written(stack) == {}


@pytest.mark.parametrize(("sign", "status"), [(b"Sec-GPC: 1", b" 204 "), (b"Sec-Fetch-Site: cross-site", b" 403 ")])
def test_a_body_that_nobody_reads_does_not_spoil_the_connection(stack: Stack, sign: bytes, status: bytes) -> None:
    """Two requests on one connection, the first one's body arriving late: each is answered as itself."""
    body = search()
    head = b"POST /beacon HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n" % (sign, len(body))
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as connection:
        connection.sendall(head + body[:10])
        assert status in connection.recv(4096)
        connection.sendall(body[10:] + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"status":"ok"}\n')


def test_a_pixel_of_who_said_no_is_a_gif_without_effect(stack: Stack) -> None:
    """So that no page shows a broken picture."""
    before = dropped(stack)
    for no, by in ASKS:
        answer = stack.http.get("/pixel.gif?event=search&query=bread", headers=known(stack, no, by))
        assert (answer.status_code, answer.content[:6]) == (200, b"GIF89a")
        assert answer.headers["cache-control"] == "no-store"
        assert tells_nothing(answer)
    assert written(stack) == {}
    assert dropped(stack) == before + len(ASKS)
    assert stack.http.get("/pixel.gif?event=search&query=bread").status_code == 200
    assert written(stack)


def impersonal(stack: Stack, headers: dict[str, str], **params: Any) -> dict[str, Any]:
    """A page of the feed that says it is nobody's."""
    answer = stack.http.get("/feed", params=params, headers=headers)
    assert answer.status_code == 200
    assert tells_nothing(answer)
    page: dict[str, Any] = answer.json()
    assert (page["user"], page["personal"], page["why"]) == (None, False, "opted_out")
    return page


def test_the_feed_of_who_said_no_is_the_default_list(site: Site) -> None:
    """Not the list of the person whose token comes along, not without what they saw; and the page says why."""
    site.add("a", "b", "c", "d")
    site.publish(7, "a b c d", default="b a c d")
    site.give("ann", 7, "d c b a")
    site.see("ann", "b")
    for no, by in ASKS:
        page = impersonal(site.stack, known(site.stack, no, by))
        assert (shown(page), page["source"], page["generation"]) == ("b a c d", "default", 7)
    mine = site.stack.feed("ann")
    assert (shown(mine), mine["user"], "personal" in mine) == ("d c a", "ann", False)


def test_nothing_of_the_person_is_read(site: Site) -> None:
    """Redis is not asked for a seen set, nobody is minted, and a list that could not be read disturbs nothing."""
    site.add("a", "b")
    site.publish(1, "a b", default="a b")
    redis = site.stack.redis
    redis.set(list_key("ann"), "no hash")
    minted = "nightfeed_identities_total 1"
    before = [line for line in site.stack.http.get("/metrics").text.splitlines() if line.startswith(minted[:-2])]
    redis.config_resetstat()
    for no in NO.values():
        assert shown(impersonal(site.stack, known(site.stack, no, "bearer"))) == "a b"
    assert "cmdstat_dump" not in redis.info("commandstats")
    after = [line for line in site.stack.http.get("/metrics").text.splitlines() if line.startswith(minted[:-2])]
    assert after == before
    assert written(site.stack) == {}


def test_a_walk_of_who_said_no_has_every_item_once(site: Site) -> None:
    """By the cursor alone, through default, older and fresh items, though nothing is remembered; then it ends."""
    names = [f"i{at}" for at in range(30)]
    site.add(*names)
    site.publish(2, " ".join(names[:20]), default=" ".join(names[:12]), older=" ".join(names[12:28]))
    site.add("f1", "f2", posted=site.now - 60)
    for n in (1, 4, 7):
        walked, cursor = [], None
        while True:
            page = impersonal(site.stack, NO["Sec-GPC"], n=n, **({"cursor": cursor} if cursor else {}))
            walked += [item["id"] for item in page["items"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert sorted(walked) == sorted([*names, "f1", "f2"])
    assert site.stack.http.get("/feed", headers=NO["Sec-GPC"], params={"n": 5}).json()["source"] == "default"


def test_who_says_no_within_a_walk_goes_on_with_the_default_list(site: Site) -> None:
    """The cursor of one's own list begins the list of everyone."""
    site.add("a", "b", "c", "d")
    site.publish(3, "a b c d", default="a b c d")
    site.give("ann", 3, "d c b a")
    cursor = site.stack.feed("ann", 2)["cursor"]
    assert shown(impersonal(site.stack, NO["Sec-GPC"] | site.stack.bearer("ann"), n=2, cursor=cursor)) == "a b"


def test_without_redis_who_said_no_gets_what_the_edge_knows(site: Site) -> None:
    """Workers that have read the lists need no Redis for it, new ones have the fallback; a beacon is 204 as ever."""
    site.stack.expect_log(REDIS_AWAY)
    site.add("a", "b", "c")
    site.publish(4, "a b c", default="c b a")
    site.see("ann", "c")
    headers = NO["Sec-GPC"] | site.stack.bearer("ann")
    site.stack.signal("redis", signal.SIGSTOP)
    try:
        assert shown(impersonal(site.stack, headers)) == "c b a"
        site.stack.reload()
        site.stack.until(lambda: impersonal(site.stack, headers, n=2)["source"] == "fallback")
        page = impersonal(site.stack, headers, n=2)
        assert (shown(page), page["generation"]) == ("c b", 4)
        page = impersonal(site.stack, headers, n=2, cursor=page["cursor"])
        assert (shown(page), page["cursor"]) == ("a", None)
        assert site.stack.http.post("/beacon", content=search(), headers=headers).status_code == 204
    finally:
        site.stack.signal("redis", signal.SIGCONT)


def test_with_nothing_to_show_it_says_so(stack: Stack) -> None:
    """An empty catalogue is exhausted for everyone."""
    stack.sync()
    page = impersonal(stack, NO["Sec-GPC"])
    assert (page["items"], page["cursor"], page["exhausted"], page["source"]) == ([], None, True, "default")


def test_the_site_names_the_cookie(fresh_stack: Callable[..., Stack]) -> None:
    """As its consent dialogue does; characters that mean something in a pattern mean themselves."""
    stack = fresh_stack(opt_out_cookie="no.thanks-1")
    for cookie, says_no in (("no.thanks-1=x", True), ("noXthanks-1=x", False), ("nightfeed_optout=1", False)):
        page = stack.http.get("/feed", headers={"Cookie": cookie}).json()
        assert (page["user"] is None) == says_no, cookie


NAMES = st.sampled_from(["nightfeed_optout", "Xnightfeed_optout", "nightfeed_optout_", "nightfeed_optout ", "a", ""])
VALUES = st.sampled_from(["", "0", "1", "00", "no", "nightfeed_optout=1", "x=nightfeed_optout", '"'])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["; ", ";"]))
@settings(max_examples=150)
def test_cookies_are_read_as_their_grammar_has_them(stack: Stack, pairs: list[tuple[str, str]], gap: str) -> None:
    """Compared with splitting at each semicolon and at the first equals sign."""
    header = gap.join(f"{name}={value}" for name, value in pairs)
    parts = [part.strip(" ").partition("=") for part in header.split(";")]
    says_no = any(name == "nightfeed_optout" and value not in ("", "0") for name, _, value in parts)
    page = stack.http.get("/feed?n=1", headers={"Cookie": header}).json()
    assert (page["user"] is None) == says_no, header


def test_a_browser_that_says_no_sees_the_feed_and_keeps_no_cookie(stack: Stack, browser: Browser) -> None:
    """The demo page with Global Privacy Control: cards come, what is looked at is sent in vain, and comes again."""
    browser_helpers.catalogue(stack, 12)
    browser_helpers.people(stack)
    with browser_helpers.visiting(stack, browser) as visit:
        visit.page.context.set_extra_http_headers({"Sec-GPC": "1"})
        first = visit.demo().cards()
        assert first
        assert visit.user == "nobody (not recorded)"
        visit.look()
        visit.send()
        visit.until("nightfeed.pending() === 0")
        visit.page.reload()
        assert visit.loaded().cards() == first
        assert visit.page.context.cookies() == []
        assert written(stack) == {}
