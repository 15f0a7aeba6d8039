"""Which events of anonymous people count in the statistics, and that the others are stored all the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crowd import Growth, Visitor, click, fresh_address, impression, running
from tests.edge_state import counts, now_ms, number, seen_items
from tests.stack_fixture import Stack
from worker import tokens
from worker.seen_set import CLICKED, UNCOUNTED

HOUR_MS = 3_600_000
PLACES = 3


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    """A stack with 60 items, on which three anonymous people of a network count for an item."""
    with running(counted_per_network=PLACES) as stack:
        stack.import_items([stack.item(f"a{at}") for at in range(60)])
        yield stack


@pytest.fixture
def item(site: Stack) -> str:
    """An item that no other test uses."""
    return f"a{next(_unused)}"


_unused = itertools.count()


def user_of(site: Stack, visitor: Visitor) -> str:
    """The id in a visitor's token."""
    identity = tokens.verify(site.credentials.keyring, str(visitor.token))
    assert identity
    return identity.user


def newcomers(site: Stack, number: int, *addresses: str) -> list[Visitor]:
    """People with identities of their own, in turn at these addresses."""
    return [Visitor(site, addresses[at % len(addresses)]).arrive() for at in range(number)]


def whole(item: str) -> list[dict[str, Any]]:
    """Everything that a person can do with an item, as someone would who read it for a minute."""
    return [impression(item), click(item), {"event": "dwell", "item": item, "ms": 60_000},
            {"event": "reaction", "item": item, "kind": "like"}, {"event": "conversion", "item": item}]


def test_a_person_who_came_by_feed_counts(site: Stack, item: str) -> None:
    """The usual visit: a page, its identity, then the beacons."""
    (person,) = newcomers(site, 1, fresh_address())
    assert person.beacon(*whole(item)).status_code == 204
    assert counts(site, item) == {"i": 1, "c": 1, "d": 60_000, "r": 1, "v": 1}


def test_an_identity_of_this_very_request_has_seen_and_not_counted(site: Stack, item: str) -> None:
    """Who keeps no cookie is a new person with each beacon; the same beacon with the cookie counts."""
    growth, address = Growth(site), fresh_address()
    answer = Visitor(site, address).beacon(*whole(item))
    token = answer.headers["set-cookie"].split("=", 1)[1].split(";")[0]
    person = Visitor(site, address, token)
    assert counts(site, item) == {}
    assert seen_items(site, user_of(site, person)) == {number(site, item): UNCOUNTED}
    assert growth("nightfeed_uncounted_events_total", reason="minted") == 5
    assert growth("nightfeed_events_total", outcome="stored") == 5
    assert Visitor(site, address).pixel(item).status_code == 200
    assert counts(site, item) == {}
    person.beacon(impression(item), click(item))
    assert counts(site, item) == {"i": 1, "c": 1}
    assert seen_items(site, user_of(site, person)) == {number(site, item): CLICKED}


def test_what_is_older_than_the_identity_does_not_count(site: Stack, item: str) -> None:
    """By more than the five minutes that clocks may differ; the item is seen."""
    growth = Growth(site)
    (person,) = newcomers(site, 1, fresh_address())
    assert person.beacon(impression(item, ts=now_ms() - HOUR_MS), click(item, ts=now_ms() - HOUR_MS)).status_code == 204
    assert counts(site, item) == {}
    assert growth("nightfeed_uncounted_events_total", reason="old") == 2
    assert seen_items(site, user_of(site, person)) == {number(site, item): UNCOUNTED}
    person.beacon(impression(item, ts=now_ms() - 240_000))
    assert counts(site, item) == {"i": 1}


def test_an_old_identity_counts_for_what_it_did(site: Stack, item: str) -> None:
    """A phone that was offline for almost two days, and has been here before."""
    issued = now_ms() // 1000 - 7 * 86_400
    person = Visitor(site, fresh_address(), tokens.sign(site.credentials.keyring, "a-old-friend", issued))
    person.beacon(impression(item, ts=now_ms() - 47 * HOUR_MS))
    assert counts(site, item) == {"i": 1}


def test_what_is_two_days_old_does_not_count(site: Stack, item: str) -> None:
    """However old the identity: a few of them, kept for weeks, would count anew for each bucket of days."""
    identity = tokens.sign(site.credentials.keyring, "a-kept-for-weeks", now_ms() // 1000 - 40 * 86_400)
    person = Visitor(site, fresh_address(), identity)
    for days in (2, 12, 22, 32):
        # A second more: the edge may take it within the millisecond, and then it is not older than two days yet.
        person.beacon(*[{**event, "ts": now_ms() - days * 24 * HOUR_MS - 1000} for event in whole(item)])
    assert counts(site, item) == {}
    person.beacon(*whole(item))
    assert counts(site, item) == {"i": 1, "c": 1, "d": 60_000, "r": 1, "v": 1}


def test_so_many_people_of_a_network_count_for_an_item(site: Stack, item: str) -> None:
    """The first three; whoever comes later has seen it, and whatever they do counts for nothing."""
    growth, address = Growth(site), fresh_address()
    people = newcomers(site, PLACES + 3, address, address.rpartition(".")[0] + ".254")
    for person in people:
        assert person.beacon(*whole(item)).status_code == 204
    assert counts(site, item) == {"i": 3, "c": 3, "d": 180_000, "r": 3, "v": 3}
    assert growth("nightfeed_uncounted_events_total", reason="network") == 3 * 5
    flags = [seen_items(site, user_of(site, person))[number(site, item)] for person in people]
    assert flags == [CLICKED] * 3 + [UNCOUNTED] * 3
    assert all(item not in {one["id"] for one in person.feed(n=100).json()["items"]} for person in people)


def test_a_person_counts_whole_or_not_at_all(site: Stack, item: str) -> None:
    """In whatever order and in however many beacons: places are taken by the first thing that someone does."""
    people = newcomers(site, PLACES + 1, fresh_address())
    for order in itertools.permutations(whole(item)[:3]):
        for event in order:
            for person in people:
                assert person.beacon(event).status_code == 204
    assert counts(site, item)["i"] == counts(site, item)["c"] == 3
    # Each of the six dwells is another moment's; two minutes count.
    assert counts(site, item)["d"] == 3 * 120_000


def test_other_networks_and_items_have_places_of_their_own(site: Stack, item: str) -> None:
    """Per /24 of IPv4 and per /48 of IPv6."""
    other = f"a{next(_unused)}"
    for addresses in (["10.200.1.1", "10.200.2.1"], ["2001:db8:a:1::1", "2001:db8:b:1::1"]):
        for person in newcomers(site, 2 * (PLACES + 1), *addresses):
            person.beacon(impression(item), impression(other))
    assert counts(site, item) == counts(site, other) == {"i": 4 * PLACES}


def test_networks_of_one_site_share_their_places(site: Stack, item: str) -> None:
    """Many addresses of a /24 and many /64s of a /48 are one network."""
    for person in newcomers(site, PLACES + 5, *(f"10.201.1.{at}" for at in range(1, 9))):
        person.beacon(impression(item))
    for person in newcomers(site, PLACES + 5, *(f"2001:db8:c:{at:x}::1" for at in range(1, 9))):
        person.beacon(impression(item))
    assert counts(site, item) == {"i": 2 * PLACES}


def test_whoever_the_site_has_signed_in_counts(site: Stack, item: str) -> None:
    """A company behind one address, whose people have accounts; they also take no places."""
    address = fresh_address()
    for at in range(20):
        Visitor(site, address, site.token(f"{item}-member-{at}")).beacon(impression(item))
    for person in newcomers(site, PLACES + 1, address):
        person.beacon(impression(item))
    assert counts(site, item) == {"i": 20 + PLACES}


def test_hides_and_searches_are_everybodys(site: Stack, item: str) -> None:
    """They are in no score, and who hides something wants it gone."""
    people = newcomers(site, PLACES + 2, fresh_address())
    for person in people:
        assert person.beacon({"event": "hide", "item": item}, {"event": "search", "query": "bread"}).status_code == 204
    assert counts(site, item) == {"h": PLACES + 2}


def test_reading_time_is_capped_lower_for_someone_who_is_not_signed_in(site: Stack, item: str) -> None:
    """Two minutes, and ten for who is."""
    (person,) = newcomers(site, 1, fresh_address())
    for who, capped in ((person, 120_000), (Visitor(site, fresh_address(), site.token(f"{item}-m")), 720_000)):
        for _ in range(12):
            who.beacon({"event": "dwell", "item": item, "ms": 80_000})
        assert counts(site, item) == {"d": capped}


def test_a_replay_of_what_did_not_count_does_not_count(site: Stack, item: str) -> None:
    """Over and over, by beacon and by picture."""
    people = newcomers(site, PLACES + 1, fresh_address())
    for _ in range(5):
        for person in people:
            person.beacon(impression(item))
            person.pixel(item)
    assert counts(site, item) == {"i": PLACES}
