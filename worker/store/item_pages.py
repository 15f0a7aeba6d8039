"""The catalogue page by page, in the order in which items were first put, by what their rows say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.keyspace import key
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_NAMES, META
from worker.store.connect import Store, explained
from worker.store.items import full

CHUNK = 4096  # rows read at once while a page is looked for

Mask = Callable[[NDArray[Any]], NDArray[np.bool_]]


@explained("Redis")
def page(store: Store, after: int = 0, limit: int = 100, category: str | None = None, kind: str | None = None,
         hidden: bool | None = None) -> tuple[list[dict[str, Any]], int | None]:
    """Up to ``limit`` full records with numbers above ``after``, lowest first, and the next ``after`` or None."""
    wanted = _filter(store, category, kind, hidden)
    client: Any = store.redis
    found: list[tuple[int, Any]] = []
    start = after
    while len(found) <= limit:
        raw = client.getrange(key("meta"), start * META.itemsize, (start + CHUNK) * META.itemsize - 1)
        rows = np.frombuffer(raw, META)
        found += [(start + int(at) + 1, rows[at]) for at in np.flatnonzero(wanted(rows))[: limit + 1]]
        start += CHUNK
        if len(rows) < CHUNK:
            break
    more = found[limit - 1][0] if len(found) > limit else None
    return _records(store, found[:limit]), more


def _filter(store: Store, category: str | None, kind: str | None, hidden: bool | None) -> Mask:
    """A function from META rows to a mask of those wanted."""
    number = store.redis.hget(key("categories"), category) if category is not None else None

    def wanted(rows: NDArray[Any]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (rows["flags"] & FLAG_REMOVED) == 0
        if category is not None:
            mask &= rows["category"] == int(number or 0)
        if kind is not None:
            mask &= rows["kind"] == KIND_NAMES.index(kind)
        if hidden is not None:
            mask &= ((rows["flags"] & FLAG_HIDDEN) != 0) == hidden
        return mask

    return wanted


def _records(store: Store, found: Sequence[tuple[int, Any]]) -> list[dict[str, Any]]:
    if not found:
        return []
    client: Any = store.redis
    raw = client.hmget(key("records"), [str(number) for number, _ in found])
    return [full(record, row) for record, (_, row) in zip(raw, found, strict=True) if record is not None]
