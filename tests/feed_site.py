"""A site with a hand-made catalogue and hand-made lists, published straight into a stack's Redis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tests.stack_fixture import Stack
from worker import keyspace, packing
from worker.packing import MISSED_EVERGREEN
from worker.store.lists import list_key

DAY = 86_400


def utc(seconds: float) -> str:
    """A Unix moment as records write it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Site:
    """Items by id on one stack. The run's moment is an hour ago; items are two days old unless they say otherwise."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.now = int(time.time())
        self.moment = self.now - 3600

    def add(self, *items: str, **changes: Any) -> None:
        """Items given as ``id:category``; ``posted`` is in Unix s, other ``changes`` go into each record."""
        if "posted" in changes:
            changes["posted_at"] = utc(changes.pop("posted"))
        records = []
        for item in items:
            name, _, category = item.partition(":")
            records.append(self.stack.item(name, category=category or f"only-{name}", **changes))
        self.stack.import_items(records)

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Item numbers, in the order of the ids."""
        return [int(number) for number in self.stack.redis.hmget(keyspace.key("ids"), list(ids))]

    def publish(self, generation: int, pool: str, *, top: int | None = None, new: int = 0, default: str = "",
                older: str = "", known: int | None = None) -> None:
        """A generation. ``pool``, ``default`` and ``older`` are ids with blanks between; the default's are in the pool.

        The first ``top`` of the pool are top content (all by default), the next ``new`` new, the rest evergreen items
        of past days. ``known``: the highest item number that the run knew (by default all there are now).
        """
        numbers = self.numbers(pool.split()) if pool else []
        highest = int(self.stack.redis.hlen(keyspace.key("ids"))) if known is None else known
        packed = packing.pack_pool(packing.Pool(
            generation, self.moment, highest, len(numbers) - new if top is None else top, new,
            np.array(numbers, np.uint32),
        ))
        self.pool = pool.split()
        older_numbers = np.array(self.numbers(older.split()) if older else [], "<u4")
        redis = self.stack.redis
        redis.set(keyspace.key("pool", generation), packed)
        redis.set(keyspace.key("default", generation), self.packed(generation, default.split()))
        redis.set(keyspace.key("older", generation), older_numbers.tobytes())
        redis.hset(keyspace.key("generation"), mapping={
            "generation": generation, "date": "2026-11-21", "moment": self.moment, "made_at": int(time.time()),
        })
        self.stack.sync()

    def packed(self, generation: int, ids: Sequence[str], missed: str = "") -> bytes:
        """A list as bytes; ``missed`` are those in it that are evergreen items the user missed."""
        entries = [self.pool.index(name) | (MISSED_EVERGREEN if name in missed.split() else 0) for name in ids]
        return packing.pack_list(generation, self.moment, np.array(entries, np.uint16))

    def give(self, user: str, generation: int, ids: str, missed: str = "") -> None:
        """Publish ``user``'s list, out of the pool that was published last."""
        self.stack.redis.hset(list_key(user), user, self.packed(generation, ids.split(), missed))

    def see(self, user: str, ids: str) -> None:
        """Send an impression of each item and have it acknowledged."""
        answer = self.stack.beacon(user, [{"event": "impression", "item": name} for name in ids.split()])
        assert answer.status_code == 204, answer.text

    def ids(self, user: str, n: int = 20) -> str:
        """The ids on the first page, with blanks between."""
        return shown(self.stack.feed(user, n))


def shown(page: dict[str, Any]) -> str:
    """The ids on a page, with blanks between."""
    return " ".join(item["id"] for item in page["items"])


def reasons(page: dict[str, Any]) -> str:
    """Why each item is there, with blanks between."""
    return " ".join(item["reason"] for item in page["items"])


def walk(stack: Stack, user: str, n: int) -> list[dict[str, Any]]:
    """All pages of a feed, from the first to the one without a cursor."""
    pages = [stack.feed(user, n)]
    while pages[-1]["cursor"] is not None:
        pages.append(stack.feed(user, n, pages[-1]["cursor"]))
        assert len(pages) < 1000, "a walk that does not end"
    return pages


@pytest.fixture
def site(stack: Stack) -> Site:
    """An empty site on the session's stack, whose edge has forgotten the last test's."""
    stack.sync()
    return Site(stack)
