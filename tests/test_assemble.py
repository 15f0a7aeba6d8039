"""How a feed is put together: any list, any seen set and any page sizes, against the plain rules of oracle_feed.py.

The catalogue is fixed and skewed, so that spacing is often impossible; lists and seen sets are drawn at random and put
straight into Redis, which needs no waiting.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feed_site import Site, utc
from tests.oracle_feed import feed_order
from tests.stack_fixture import Stack
from worker import keyspace, packing
from worker.seen_set import packed, word_of
from worker.store.lists import list_key

POOL, DEFAULT, OLDER, LOOSE, FRESH, GONE = 60, 25, 20, 8, 14, 6
CATEGORIES = "AAAAAAAAAABBBCCDEF"  # ten of eighteen are A: more than one in four, so that the gap must narrow
NOT_LIVE = [{"hidden": True}, {"expires_at": "2001-01-01T00:00:00Z"}, {"posted_at": "2099-01-01T00:00:00Z"}]
GENERATION = 3
users = itertools.count()


@dataclass(frozen=True)
class Catalogue:
    """Item numbers by where they stand; ``category`` by number; ``ids`` by number."""

    site: Site
    pool: list[int]
    default: list[int]
    older: list[int]
    loose: list[int]
    fresh: list[int]
    gone: list[int]
    category: dict[int, int]
    ids: dict[str, int]

    @property
    def live(self) -> set[int]:
        """All that a feed may show."""
        return {*self.pool, *self.older, *self.loose, *self.fresh}


@pytest.fixture
def catalogue(stack: Stack) -> Catalogue:
    """A published generation, fresh items that it does not know, and items that are hidden, expired or not yet out."""
    site, rng = Site(stack), np.random.default_rng(11)
    names = [f"k{i}" for i in range(POOL + OLDER + LOOSE + GONE)]
    names += [f"f{i}" for i in range(FRESH)]
    kinds = {name: CATEGORIES[rng.integers(len(CATEGORIES))] for name in names}
    known, late = names[:-FRESH], names[-FRESH:]
    records = [stack.item(name, category=kinds[name]) for name in known]
    for i, record in enumerate(records[-GONE:]):
        record |= NOT_LIVE[i % len(NOT_LIVE)]
    stack.import_items(records)
    order = [str(name) for name in rng.permutation(known[: POOL + OLDER])]
    pool, older, gone = order[:POOL], order[POOL:], known[-GONE:]
    loose = known[POOL + OLDER : -GONE]
    default = [str(name) for name in rng.permutation(pool)[:DEFAULT]]
    # The lists name what is gone, too, and the older items repeat the default list's.
    site.publish(GENERATION, " ".join(pool + gone[:3]), top=30, new=20, default=" ".join(default + gone[:3]),
                 older=" ".join(older + gone[3:] + default))
    stack.import_items(
        stack.item(name, category=kinds[name], posted_at=utc(site.now - 60 - i)) for i, name in enumerate(late)
    )
    numbers = dict(zip(names, site.numbers(names), strict=True))
    letters = sorted(set(CATEGORIES))
    return Catalogue(
        site, *([numbers[name] for name in part] for part in (pool, default, older, loose, late, gone)),
        {numbers[name]: letters.index(kinds[name]) for name in names}, numbers,
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A published list (pool positions) and what the user saw before."""

    entries: list[int]
    seen: list[int]
    sizes: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Lists of any length in any order, seen sets from none to nearly all, pages of any size."""
    entries = draw(st.permutations(range(POOL + 3)))[: draw(st.integers(0, POOL + 3))]
    highest = POOL + OLDER + LOOSE + GONE + FRESH
    few = st.sets(st.integers(1, highest), max_size=30)
    most = few.map(lambda kept: set(range(1, highest + 1)) - kept)
    return Case(entries, sorted(draw(st.one_of(few, most))), draw(st.lists(st.integers(1, 30), min_size=1, max_size=6)))


def settle(catalogue: Catalogue, case: Case) -> str:
    """A new user with this list and these seen items; returns the user."""
    user, redis = f"u{next(users)}", catalogue.site.stack.redis
    if case.entries:
        packed = packing.pack_list(GENERATION, 1, np.array(case.entries, np.uint16))
        redis.hset(list_key(user), user, packed)
    see(catalogue, user, case.seen)
    return user


def see(catalogue: Catalogue, user: str, numbers: Sequence[int]) -> None:
    """Put numbers into the user's seen set as a beacon does."""
    if numbers:
        bucket = keyspace.bucket_of(int(time.time() * 1000))
        words = packed(word_of(number, bucket) for number in numbers)
        catalogue.site.stack.redis.append(keyspace.user_key("seen", user), words)


def page_of(catalogue: Catalogue, user: str, n: int, cursor: str | None) -> tuple[list[int], dict[str, Any]]:
    """Item numbers on a page, and the page."""
    page = catalogue.site.stack.feed(user, n, cursor)
    return [catalogue.ids[item["id"]] for item in page["items"]], page


def expected(catalogue: Catalogue, case: Case) -> list[int]:
    """The whole feed by the rules."""
    listed = [(catalogue.pool + catalogue.gone)[entry] for entry in case.entries]
    listed += [n for n in catalogue.default if n not in listed]
    listed += [n for n in catalogue.older if n not in listed]
    listed += sorted((n for n in [*catalogue.pool, *catalogue.loose] if n not in listed), reverse=True)
    regular = [n for n in listed if n not in catalogue.gone and n not in case.seen]
    fresh = [n for n in catalogue.fresh if n not in case.seen]
    every, gap = catalogue.site.stack.settings.fresh_every, catalogue.site.stack.settings.gap
    return feed_order(regular, fresh, catalogue.category, gap, every)


relaxed = settings(max_examples=60)


@relaxed
@given(case=cases())
def test_pages_of_any_size_are_cuts_of_the_one_order_that_the_rules_give(catalogue: Catalogue, case: Case) -> None:
    """So nothing is lost or doubled, whatever the page sizes, and the last page says that it is the last."""
    user, served, cursor = settle(catalogue, case), list[int](), None
    for size in itertools.cycle(case.sizes):
        numbers, page = page_of(catalogue, user, size, cursor)
        served += numbers
        cursor = page["cursor"]
        if cursor is None:
            break
        assert len(numbers) == size
    assert served == expected(catalogue, case)
    assert page.get("exhausted", False) is (served == [])


@relaxed
@given(case=cases(), data=st.data())
def test_what_is_seen_between_pages_is_never_served_and_nothing_else_is_lost(
    catalogue: Catalogue, case: Case, data: st.DataObject
) -> None:
    """Seeing some of what was served and some of what was not, in the middle of a walk."""
    user, seen, served, cursor = settle(catalogue, case), set(case.seen), list[int](), None
    everything = sorted(catalogue.live)
    for size in itertools.cycle(case.sizes):
        numbers, page = page_of(catalogue, user, size, cursor)
        assert not seen & set(numbers)
        served += numbers
        cursor = page["cursor"]
        if cursor is None:
            break
        more = data.draw(st.lists(st.sampled_from(everything), max_size=12))
        see(catalogue, user, more)
        seen |= set(more)
    assert len(served) == len(set(served))
    assert catalogue.live - seen <= set(served) <= catalogue.live
    assert page_of(catalogue, user, 100, None)[0] == expected(catalogue, Case(case.entries, sorted(seen), []))[:100]


def without_start(page: dict[str, Any]) -> dict[str, Any]:
    """A page, less the second at which its walk began, which the first page's cursor carries in its fourth field."""
    fields = (page["cursor"] or "").split(".")
    return page | {"cursor": fields[:3] + fields[4:]}


@relaxed
@given(case=cases(), size=st.integers(1, 30))
def test_asking_again_changes_nothing(catalogue: Catalogue, case: Case, size: int) -> None:
    """Each page of a walk is the same whoever asks for it again, and however often, while nothing was seen."""
    user, cursor = settle(catalogue, case), None
    for _ in range(5):
        first, second = (page_of(catalogue, user, size, cursor)[1] for _ in range(2))
        assert without_start(second) == without_start(first)
        cursor = first["cursor"]
        if cursor is None:
            break
