"""Reads all that explains one person's feed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from worker.keyspace import key, live_buckets
from worker.packing import Pool, UserList, unpack_list, unpack_pool
from worker.person import Known
from worker.picture import Picture
from worker.store import generations, items, users
from worker.store.connect import Store, explained


@explained("Redis")
def load(store: Store, user: str, extra: Iterable[int] = ()) -> Picture:
    """The picture of a user, with the names of the list's items and of the item numbers ``extra``."""
    now = int(time.time())
    known = _within_window(store, users.load(store, user), now)
    current, default = _plan(store, int(generations.state(store).get("generation", 0)))
    published, pool = known.published, None
    if published is not None:
        pool, _ = (current, None) if _made(current, published) else _plan(store, published.generation)
    own = pool is not None
    if not own:
        published, pool = default, current
    default_items = _items(default, current)
    meta, categories = items.read_meta(store), items.read_categories(store)
    names = items.ids_of(store, sorted({*_items(published, pool), *extra}))
    return Picture(
        now, store.settings, known, own, published, pool, current, default_items, meta,
        {number: name for name, number in categories.items()}, _scores(store), names,
    )


def _within_window(store: Store, known: Known, now: int) -> Known:
    """Without the buckets that the feed no longer asks for, though they are still there."""
    live = set(live_buckets(now * 1000, store.settings.window_days))
    return replace(known, buckets=[bucket for bucket in known.buckets if bucket.number in live])


def _plan(store: Store, generation: int) -> tuple[Pool | None, UserList | None]:
    parts = generations.read_plan(store, generation) if generation else None
    return (None, None) if parts is None else (unpack_pool(parts["pool"]), unpack_list(parts["default"]))


def _made(pool: Pool | None, published: UserList) -> bool:
    return pool is not None and pool.generation == published.generation


def _items(published: UserList | None, pool: Pool | None) -> list[int]:
    if published is None or pool is None:
        return []
    numbers: list[int] = pool.items[published.positions].tolist()
    return numbers


def _scores(store: Store) -> dict[str, float]:
    pairs = cast(list[tuple[bytes, float]], store.redis.zrange(key("top"), 0, -1, withscores=True))
    return {item.decode(): score for item, score in pairs}
