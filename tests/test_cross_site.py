"""Requests that other sites' pages make a browser send: refused, unless their origin is in allowed_origins."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.edge_state import now_ms, users, written
from tests.feed_site import Site, shown
from tests.stack_fixture import Stack

LISTED, PORTED, APP = "https://www.example.org", "http://other.example:8443", "capacitor://localhost"
LONG = "https://" + ".".join(["a" * 60] * 4) + ".example:65535"
EVIL = "https://evil.example"
SEARCH, BAD = {"event": "search", "query": "bread"}, {"event": "look"}
PIXEL = "/pixel.gif?event=search&query=bread"
CORS = ("access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers")


@pytest.fixture(scope="module")
def _embedding() -> Iterator[Stack]:
    stack = Stack(allowed_origins=[LISTED, PORTED, APP, LONG], cookie_same_site="None", cookie_partitioned=True)
    try:
        yield stack.up()
    finally:
        stack.close()


@pytest.fixture
def embedding(_embedding: Stack) -> Iterator[Stack]:
    """A stack whose feed other sites embed; its error log must stay clean."""
    _embedding.empty()
    yield _embedding
    assert _embedding.unexpected_log() == []


def send(stack: Stack, headers: dict[str, str], *events: dict[str, str], text: str = "") -> httpx.Response:
    """A beacon with a search, which is valid without any item; or with other events, or another body."""
    body = {"events": [{"ts": now_ms(), **event} for event in events or (SEARCH,)]}
    return stack.http.post("/beacon", content=text or json.dumps(body), headers=headers)


def dropped(stack: Stack) -> int:
    """How many beacons were refused as another site's."""
    name = 'nightfeed_dropped_beacons_total{reason="cross_site"} '
    lines = stack.http.get("/metrics").text.splitlines()
    return sum(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def carried(stack: Stack, user: str) -> dict[str, str]:
    """The cookie as a browser would carry it."""
    return {"Cookie": f"{stack.settings.cookie_name}={stack.token(user)}"}


# Whose page asks, as Sec-Fetch-Site and Origin tell; OWN stands for this stack's own address. True: it may write.
BEACONS: list[tuple[str | None, str | None, bool]] = [
    ("same-origin", "OWN", True), ("same-origin", None, True), ("same-origin", EVIL, True),
    ("same-site", "https://blog.site.example", True), ("same-site", None, True),
    ("none", None, True),
    ("cross-site", None, False), ("cross-site", EVIL, False), ("cross-site", "null", False),
    ("cross-site", "OWN", False), ("cross-site", "", False),
    ("cross-site", LISTED, True), ("cross-site", PORTED, True), ("cross-site", APP, True), ("cross-site", LONG, True),
    ("", "OWN", False), ("CROSS-SITE", EVIL, False), ("same-origin, cross-site", EVIL, False), ("x", LISTED, True),
    (None, None, True), (None, "OWN", True), (None, "https:OWN", True),
    (None, EVIL, False), (None, "null", False), (None, "", False), (None, "OWN0", False), (None, "OWN/", False),
    (None, LISTED, True), (None, LISTED + ".evil.example", False), (None, LISTED + ":443", False),
    (None, "http://www.example.org", False), (None, LISTED.upper(), False), (None, LISTED + "/", False),
    (None, f"{LISTED}, {EVIL}", False), (None, "http://other.example", False), (None, "https://example.org", False),
]  # fmt: skip


def signs(stack: Stack, fetch_site: str | None, origin: str | None) -> dict[str, str]:
    """Both headers; None: not sent."""
    own = (origin or "").replace("https:OWN", stack.url.replace("http:", "https:")).replace("OWN", stack.url)
    headers = {"Sec-Fetch-Site": fetch_site, "Origin": None if origin is None else own}
    return {name: value for name, value in headers.items() if value is not None}


@pytest.mark.parametrize(("fetch_site", "origin", "allowed"), BEACONS)
def test_a_beacon_counts_only_from_own_and_listed_pages(
    embedding: Stack, fetch_site: str | None, origin: str | None, allowed: bool
) -> None:
    """Else 403 with what to do, nothing stored although the person's cookie came along, and the drop is counted."""
    before = dropped(embedding)
    answer = send(embedding, signs(embedding, fetch_site, origin) | carried(embedding, "ann"))
    assert answer.status_code == (204 if allowed else 403)
    assert list(users(embedding)) == (["ann"] if allowed else [])
    assert dropped(embedding) == before + (not allowed)
    if not allowed:
        assert "add its origin to allowed_origins" in answer.json()["error"]
        assert "set-cookie" not in answer.headers
        assert written(embedding) == {}


# What a picture tells: Sec-Fetch-Site, Origin, Referer.
PIXELS: list[tuple[str | None, str | None, str | None, bool]] = [
    ("same-origin", None, None, True), ("same-site", None, EVIL + "/", True), ("none", None, None, True),
    ("cross-site", None, None, False), ("cross-site", None, EVIL + "/page", False),
    ("cross-site", None, LISTED + "/", True), ("cross-site", None, LISTED + "/a/b?c=d#e", True),
    ("cross-site", None, LISTED, True), ("cross-site", None, LISTED + ".evil.example/", False),
    ("cross-site", None, f"{EVIL}/{LISTED}/", False), ("cross-site", None, "OWN/page", False),
    ("cross-site", None, "nonsense", False), ("cross-site", None, APP + "/", True),
    ("cross-site", LISTED, None, True), ("cross-site", EVIL, LISTED + "/", False),
    (None, None, None, True), (None, None, "OWN/page", True), (None, None, "https:OWN/page", True),
    (None, None, EVIL + "/", False), (None, None, LISTED + "/", True), (None, None, "nonsense", False),
    (None, LISTED, EVIL + "/", True), (None, EVIL, "OWN/", False),
]  # fmt: skip


@pytest.mark.parametrize(("fetch_site", "origin", "referer", "allowed"), PIXELS)
def test_a_pixel_counts_only_from_own_and_listed_pages(
    embedding: Stack, fetch_site: str | None, origin: str | None, referer: str | None, allowed: bool
) -> None:
    """Pictures have no Origin, so Referer tells whose page it is; without one, another site's picture is refused."""
    before = dropped(embedding)
    headers = signs(embedding, fetch_site, origin) | carried(embedding, "ann")
    if referer is not None:
        headers["Referer"] = signs(embedding, None, referer)["Origin"]
    answer = embedding.http.get(PIXEL, headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    assert list(users(embedding)) == (["ann"] if allowed else [])
    assert dropped(embedding) == before + (not allowed)


def test_a_head_of_the_pixel_has_no_effect_that_could_be_refused(embedding: Stack) -> None:
    """It is answered to anyone."""
    assert embedding.http.head(PIXEL, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_an_origin_without_any_host_to_compare_with_is_refused(embedding: Stack) -> None:
    """HTTP/1.0 may leave Host out: nothing equals nothing then."""
    for origin in ("null", "http://", "https://x"):
        answer = raw(embedding, f"POST /beacon HTTP/1.0\r\nOrigin: {origin}\r\nContent-Length: 2\r\n\r\n{{}}")
        assert answer.startswith(b"HTTP/1.1 403 "), answer
    assert raw(embedding, "POST /beacon HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}").startswith(b"HTTP/1.1 400 ")


def raw(stack: Stack, request: str) -> bytes:
    """The answer to a request as it stands."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_listed_pages_may_read_every_answer(embedding: Stack) -> None:
    """Their own origin by name, with credentials, and the headers that a page needs; also of nginx's own errors."""
    embedding.expect_log("client intended to send too large body")
    for origin in (LISTED, PORTED, APP, LONG):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        answers = {
            204: send(embedding, headers), 200: send(embedding, headers, SEARCH, BAD),
            400: send(embedding, headers, text="{"), 422: send(embedding, headers, BAD),
            413: send(embedding, headers, text="x" * 70_000),
        }  # fmt: skip
        for status, answer in answers.items():
            assert answer.status_code == status
            readable(answer, origin)
        for path, status in (("/feed", 200), ("/feed?n=0", 400), (PIXEL, 200)):
            answer = embedding.http.get(path, headers=headers)
            assert answer.status_code == status
            readable(answer, origin)
        readable(embedding.http.put("/feed", headers=headers), origin)


def readable(answer: httpx.Response, origin: str) -> None:
    """The page of this origin may read the answer, and no other's."""
    assert answer.headers.get_list("access-control-allow-origin") == [origin]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == "Nightfeed-Token, Retry-After"
    assert "Origin" in answer.headers.get_list("vary", split_commas=True)


def test_no_other_page_may_read_anything(embedding: Stack, stack: Stack) -> None:
    """No CORS header, whatever is asked; never an echo of any origin, and never *; without a list, to nobody."""
    origins = (EVIL, "null", "*", LISTED + "/", LISTED + ".evil.example", LISTED + ":443", "http://www.example.org", "")
    asks = [("POST", "/beacon"), ("GET", "/feed"), ("GET", PIXEL), ("PUT", "/feed"),
            ("OPTIONS", "/feed"), ("OPTIONS", "/beacon"), ("GET", "/nothing"), ("GET", "/healthz")]  # fmt: skip
    for origin, (method, path) in itertools.product(origins, asks):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = embedding.http.request(method, path, headers=asked)
        assert not set(CORS) & set(answer.headers), (origin, method, path)
    answer = stack.http.get("/feed", headers={"Origin": LISTED})
    assert not set(CORS) & set(answer.headers)


def test_a_preflight_of_a_listed_page_is_answered(embedding: Stack) -> None:
    """As a Bearer token and a JSON body need it; it stores nothing and is nobody's."""
    for path, methods in (("/beacon", "POST"), ("/feed", "GET, HEAD")):
        asked = {"Origin": LISTED, "Access-Control-Request-Method": methods.partition(",")[0],
                 "Access-Control-Request-Headers": "authorization,content-type", "Sec-Fetch-Site": "cross-site"}
        answer = embedding.http.options(path, headers=asked)
        assert (answer.status_code, answer.content) == (204, b"")
        readable(answer, LISTED)
        assert answer.headers["access-control-allow-methods"] == methods
        assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type"
        assert int(answer.headers["access-control-max-age"]) > 0
        assert "set-cookie" not in answer.headers
        assert embedding.http.options(path, headers={**asked, "Origin": EVIL}).status_code == 405
    assert embedding.http.options("/feed").headers["allow"] == "GET, HEAD"
    assert written(embedding) == {}


@pytest.fixture
def site(embedding: Stack) -> Site:
    """Three items, everyone's list, and ann's, from which she has seen b1."""
    embedding.sync()
    site = Site(embedding)
    site.add("a1", "b1", "c1")
    site.publish(3, "a1 b1 c1", default="a1 b1 c1")
    site.give("ann", 3, "c1 b1 a1")
    site.see("ann", "b1")
    return site


STRANGERS = [
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "cross-site", "Origin": EVIL}, {"Origin": EVIL},
    {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "cross-site", "Referer": LISTED + "/", "Sec-Fetch-Dest": "image"},
]  # fmt: skip
FRIENDS = [
    {"Sec-Fetch-Site": "same-origin"}, {}, {"Sec-Fetch-Site": "cross-site", "Origin": LISTED}, {"Origin": LISTED},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.site.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
]  # fmt: skip


def test_another_sites_page_makes_the_browser_fetch_nobodys_feed(site: Site) -> None:
    """The default list, neither cookie nor token looked at, none minted: nothing to time, count or overwrite."""
    for headers, asker in itertools.product(STRANGERS, ({}, carried(site.stack, "ann"), site.stack.bearer("ann"))):
        answer = site.stack.http.get("/feed", headers=headers | asker)
        page = answer.json()
        assert (shown(page), page["source"], page["user"]) == ("a1 b1 c1", "default", None)
        assert (page["personal"], page["why"]) == (False, "cross_site")
        assert not {"set-cookie", "nightfeed-token", *CORS} & set(answer.headers)


def test_own_and_listed_pages_and_links_get_the_persons_feed(site: Site) -> None:
    """A link on another site that is followed opens the person's own page, which only they see."""
    for headers, asker in itertools.product(FRIENDS, (carried(site.stack, "ann"), site.stack.bearer("ann"))):
        page = site.stack.http.get("/feed", headers=headers | asker).json()
        assert (shown(page), page["user"], "personal" in page) == ("c1 a1", "ann", False), headers


def test_an_embedded_visitor_gets_a_cookie_that_embeds_can_keep(embedding: Stack) -> None:
    """SameSite=None, Secure, Partitioned, and still __Host-: at / and of no domain. The token is there to read, too."""
    answer = embedding.http.get("/feed", headers={"Origin": LISTED, "Sec-Fetch-Site": "cross-site"})
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("__Host-nightfeed=v1.")
    assert attributes == ["Path=/", "Max-Age=31536000", "HttpOnly", "SameSite=None", "Secure", "Partitioned"]
    token = answer.headers["nightfeed-token"]
    assert name == f"__Host-nightfeed={token}"
    embedding.http.cookies.clear()
