"""What one address and one person may do: how much is taken, what is said about the rest, and whom it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.crowd import TRUSTING, Growth, Visitor, fresh_address, impression, running
from tests.edge_state import seen_items, users, written
from tests.stack_fixture import Stack
from worker import tokens

SEARCH = {"event": "search", "query": "sourdough"}
Make = Callable[..., Stack]


@pytest.fixture(scope="module")
def limited() -> Iterator[Stack]:
    """A stack on which five newcomers an hour come from one address, and each may send 100 events.

    The tests share it: each has people and addresses of its own (``fresh_address``).
    """
    with running(new_users_per_hour=5, user_events_per_hour=100) as stack:
        stack.import_items([stack.item(f"a{at}") for at in range(1, 31)])
        yield stack


@pytest.fixture
def elsewhere() -> Iterator[Callable[[Stack, str], httpx.Client]]:
    """Clients whose connections come from another address of this host."""
    made: list[httpx.Client] = []

    def client(stack: Stack, address: str) -> httpx.Client:
        made.append(httpx.Client(base_url=stack.url, transport=httpx.HTTPTransport(local_address=address)))
        return made[-1]

    yield client
    for one in made:
        one.close()


def refused(answer: httpx.Response, says: str) -> None:
    """A 429 says so as JSON, and when to come again."""
    assert answer.status_code == 429, answer.text
    assert says in answer.json()["error"]
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert "set-cookie" not in answer.headers


def test_a_person_can_send_so_many_events_an_hour(limited: Stack) -> None:
    """All of a beacon or nothing; others go on; the answer says when the hour is over."""
    here = fresh_address()
    growth, reader = Growth(limited), Visitor(limited, here, limited.token("reader-1"))
    assert reader.beacon(*[SEARCH] * 60).status_code == 204
    before = written(limited)
    answer = reader.beacon(*[SEARCH] * 41)
    refused(answer, "more than 100 events from this person within an hour")
    assert int(answer.headers["retry-after"]) > 3590
    assert written(limited) == before
    assert growth("nightfeed_events_total", event="search", outcome="user_events") == 41
    assert growth.dropped() == {"user_events": 1}
    assert Visitor(limited, here, limited.token("other")).beacon(SEARCH).status_code == 204


def test_it_is_the_person_that_is_limited_wherever_they_are(limited: Stack) -> None:
    """Another address, and a pixel instead of a beacon, change nothing."""
    here = fresh_address()
    token = limited.token("reader-2")
    assert Visitor(limited, here, token).beacon(*[SEARCH] * 100).status_code == 204
    refused(Visitor(limited, fresh_address(), token).beacon(SEARCH), "events from this person")
    refused(Visitor(limited, here, token).pixel("a1"), "events from this person")


def test_an_address_has_so_many_newcomers_an_hour(limited: Stack) -> None:
    """Above it /feed answers with the default list, and knows nobody; what has no token is to come again later."""
    here = fresh_address()
    growth, before = Growth(limited), users(limited)
    minted = [Visitor(limited, here).arrive() for _ in range(5)]
    assert len({visitor.token for visitor in minted}) == 5
    late = Visitor(limited, here)
    page = late.feed()
    assert page.status_code == 200
    assert page.json()["user"] is None
    assert page.json()["source"] in ("default", "fallback")
    assert len(page.json()["items"]) == 20
    assert not {"set-cookie", "nightfeed-token"} & set(page.headers)
    refused(late.beacon(impression("a1")), "too many new visitors from this address")
    refused(late.pixel("a1"), "too many new visitors from this address")
    assert users(limited) == before
    assert growth("nightfeed_identities_total") == 5
    assert growth("nightfeed_identities_refused_total") == 3
    assert growth.dropped() == {"new_users": 2}


def test_who_has_a_token_is_no_newcomer(limited: Stack) -> None:
    """At an address that is full, whoever was there before is served as ever."""
    here = fresh_address()
    visitors = [Visitor(limited, here).arrive() for _ in range(6)]
    assert [visitor.token is None for visitor in visitors] == [False] * 5 + [True]
    assert visitors[0].beacon(impression("a1")).status_code == 204
    assert visitors[0].feed().json()["user"].startswith("a-")
    assert Visitor(limited, here, limited.token("member")).feed().json()["user"] == "member"


def test_pages_of_nobody_go_on_to_the_end(limited: Stack) -> None:
    """The cursor works without an identity: 30 items in three pages, none twice."""
    here = fresh_address()
    for _ in range(5):
        Visitor(limited, here).arrive()
    late, ids, cursor = Visitor(limited, here), [], ""
    while cursor is not None:
        page = late.feed(n=10, cursor=cursor).json()
        ids += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    assert sorted(ids) == sorted(f"a{at}" for at in range(1, 31))


SAME_ADDRESS = [
    ("192.0.2.1", "192.0.2.2", False),
    ("2001:db8:0:a::1", "2001:db8::a:ffff:0:a0a:1", True),
    ("2001:db8:1:a::1", "2001:db8:1:b::1", False),
    # Bytes that are a line's end, and zeros.
    ("2001:db8:a0a:a0a::1", "2001:db8:a0a:a0a:a0a:0:0:a", True),
    ("::1:0:0:0:1", "::1:0:0:0:2", True),
    ("192.0.2.3", "::ffff:192.0.2.3", True),
    ("::ffff:192.0.2.4", "::ffff:192.0.2.5", False),
]


def test_an_address_is_an_ipv4_address_or_an_ipv6_network_of_64_bits(limited: Stack) -> None:
    """Whoever has one address of such a network has 2^64 of them; IPv4 written as IPv6 is IPv4."""
    for first, second, together in SAME_ADDRESS:
        assert all(Visitor(limited, first).arrive().token for _ in range(5)), first
        assert (Visitor(limited, second).arrive().token is None) == together, second


def test_a_forged_header_changes_nothing_unless_its_sender_is_a_trusted_proxy(
        fresh_stack: Make, elsewhere: Callable[[Stack, str], httpx.Client]) -> None:
    """127.0.0.1 is trusted here and 127.0.0.2 is not: its newcomers are its own, whatever it claims."""
    stack = fresh_stack(new_users_per_hour=3, rate_limit="1000000", trusted_proxies="127.0.0.1, 192.0.2.0/24")
    stack.expect_log("if it is a proxy of yours, name it in trusted_proxies")
    forger = elsewhere(stack, "127.0.0.2")
    for at in range(3):
        claims = {"X-Forwarded-For": f"203.0.113.{at}", "X-Real-IP": f"203.0.113.{at}",
                  "Forwarded": f"for=203.0.113.{at}"}
        assert forger.get("/feed", headers=claims).headers["nightfeed-token"]
        forger.cookies.clear()
    assert "nightfeed-token" not in forger.get("/feed", headers={"X-Forwarded-For": "203.0.113.77"}).headers
    # Had the claims been believed, this one would be the second of its address.
    assert Visitor(stack, "203.0.113.1").arrive().token


def test_of_several_addresses_the_last_that_no_trusted_proxy_has_counts(limited: Stack) -> None:
    """What a visitor writes in front of what the proxies add is not believed."""
    here = fresh_address()
    for at in range(5):
        assert Visitor(limited, f"203.0.113.{at}, {here}, 127.0.0.9").arrive().token
    assert Visitor(limited, f"203.0.113.5, {here}").arrive().token is None
    assert Visitor(limited, "203.0.113.1").arrive().token


def test_a_header_that_names_no_address_is_that_of_the_proxy(limited: Stack) -> None:
    """Nonsense neither fails nor makes more addresses."""
    limited.expect_log("if it is a proxy of yours, name it in trusted_proxies")
    made = [Visitor(limited, text).arrive().token for text in ("x", "", "999.1.1.1", "::g", "a" * 3000, "-")]
    assert made[5] is None
    assert None not in made[:5]


def test_requests_a_second_are_limited_by_that_address(fresh_stack: Make) -> None:
    """The burst of 1,000 is one address's; /64s of IPv6 count as one, another address is free."""
    stack = fresh_stack(**{**TRUSTING, "rate_limit": "1"})
    growth = Growth(stack)
    statuses = [Visitor(stack, f"2001:db8::{at:x}").beacon().status_code for at in range(1010)]
    assert 0 < statuses.count(429) <= 9
    assert statuses.count(400) == len(statuses) - statuses.count(429)
    assert Visitor(stack, "2001:db8:0:1::1").beacon().status_code == 400
    stack.settles(growth.dropped, {"rate_limited": statuses.count(429), "malformed": statuses.count(400) + 1})


def test_off_lifts_all_of_them(fresh_stack: Make) -> None:
    """For a benchmark, whose load comes from one address and a few people."""
    stack = fresh_stack(rate_limit="off", new_users_per_hour=1, user_events_per_hour=100, counted_per_network=1)
    stack.import_items([stack.item("a1")])
    assert all(stack.beacon("u1", [SEARCH] * 50).status_code == 204 for _ in range(5))
    people = [stack.http.get("/feed").json()["user"] for _ in range(5)]
    assert len(set(people) - {None}) == 5
    for person in people:
        assert stack.beacon(person, [impression("a1")]).status_code == 204
    assert seen_items(stack, people[4]) == {1: 0}


def test_every_beacon_is_stored_or_dropped_with_a_reason(limited: Stack) -> None:
    """What was received is what was stored and what was dropped; what was stored is in Redis."""
    here, there = fresh_address(), fresh_address()
    limited.expect_log("client intended to send too large body")
    growth, before, stored, sent = Growth(limited), users(limited), 0, 0
    visitor = Visitor(limited, here)
    for path, method, kw in (
        ("/beacon", "GET", {}), ("/beacon", "PUT", {}), ("/beacon", "POST", {"content": b"x" * 70_000}),
        ("/beacon", "POST", {"content": b"{"}), ("/pixel.gif?item=zz", "GET", {}), ("/pixel.gif?item", "GET", {}),
        ("/pixel.gif?item=a1", "HEAD", {}), ("/pixel.gif?item=a1", "POST", {}),
    ):
        visitor._ask(method, path, **kw)
        sent += 1
    for at in range(12):
        answers = [Visitor(limited, here).beacon(impression(f"a{at + 1}")),
                   Visitor(limited, there, limited.token(f"u{at}")).beacon(*[SEARCH] * 70),
                   Visitor(limited, there, limited.token(f"u{at}")).beacon(*[SEARCH] * 70),
                   Visitor(limited, there, **{"User-Agent": "Googlebot/2.1"}).beacon(impression("a1")),
                   Visitor(limited, there, **{"Sec-Purpose": "prefetch"}).pixel("a1")]
        sent += len(answers)
        stored += sum(answer.status_code == 204 for answer in answers[:3])
    requests, dropped = "nightfeed_requests_total", {
        "refused": 3, "too_large": 1, "malformed": 2, "invalid": 1, "head": 1,
        "new_users": 7, "user_events": 12, "bot": 12, "prerender": 12,
    }
    limited.settles(lambda: growth(requests, route="beacon") + growth(requests, route="pixel"), sent)
    limited.settles(growth.dropped, dropped)
    assert sent == stored + sum(dropped.values())
    assert stored == len(users(limited)) - len(before) == 5 + 12


def test_a_minted_identity_tells_when_it_was_made(limited: Stack) -> None:
    """What the rules for counting go by."""
    here = fresh_address()
    token = Visitor(limited, here).arrive().token
    identity = tokens.verify(limited.credentials.keyring, str(token))
    assert identity
    assert abs(identity.issued - time.time()) < 10
