"""The catalogue in Redis: one atomic call a batch of items, and reading by id and by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from redis.client import Pipeline
from redis.exceptions import ResponseError

from worker.catalogue import Item, full_record
from worker.keyspace import key
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_NAMES, META
from worker.store.connect import Store, explained
from worker.store.errors import StoreError
from worker.store.strings import read_string

BATCH = 500  # items a call: a few milliseconds in which Redis answers nobody else

# What nightfeed_put takes for one item: id, category, record, posted, expires, social, kind, flags.
Row = tuple[str | bytes, str | bytes, bytes, int, int, int, int, int]


class CategoriesFullError(StoreError):
    """Every category number is in use: the items need categories that are there already."""


def put(store: Store, items: Sequence[Item]) -> list[int]:
    """Store items, new or again, and return their numbers. Raises StoreError; batches before the failing one stay."""
    numbers: list[int] = []
    for start in range(0, len(items), BATCH):
        numbers += _put(store.redis, [_row(item) for item in items[start : start + BATCH]])
    return numbers


def get(store: Store, item_id: str) -> dict[str, Any] | None:
    """The full record of an item, or None when it was never there or is removed."""
    return get_many(store, [item_id]).get(item_id)


@explained("Redis")
def get_many(store: Store, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Full records by id, of those ids that are in the catalogue."""
    found = _stored(store.redis, ids)
    return {item_id: full(record, row) for item_id, (record, row) in found.items()}


def set_hidden(store: Store, ids: Sequence[str], hidden: bool) -> list[str]:
    """Hide items, or show them again; returns the ids that are not in the catalogue."""
    flags = FLAG_HIDDEN if hidden else 0
    return _rewrite(store, ids, flags, removed=False)


def remove(store: Store, ids: Sequence[str]) -> list[str]:
    """Take items out of the catalogue; their numbers stay. Returns the ids that were not in it."""
    return _rewrite(store, ids, FLAG_REMOVED, removed=True)


@explained("Redis")
def numbers_of(store: Store, ids: Sequence[str], removed: bool = False) -> dict[str, int]:
    """Item numbers by id, of those in the catalogue; with ``removed`` also of those that once were."""
    numbers = _numbers(store.redis, ids)
    if removed or not numbers:
        return numbers
    pipe = store.redis.pipeline(transaction=False)
    for number in numbers.values():
        pipe.hexists(key("records"), str(number))
    return {item_id: numbers[item_id] for item_id, there in zip(list(numbers), pipe.execute(), strict=True) if there}


@explained("Redis")
def ids_of(store: Store, numbers: Sequence[int]) -> dict[int, str]:
    """Item ids by number, also of removed items: those are looked for in the whole hash of ids, which takes longer."""
    raw = store.redis.hmget(key("records"), [str(n) for n in numbers]) if numbers else []
    names = {n: str(orjson.loads(record)["id"]) for n, record in zip(numbers, raw, strict=True) if record is not None}
    missing = {str(n).encode() for n in numbers if n not in names}
    if missing:
        for item_id, number in store.redis.hscan_iter(key("ids"), count=10_000):
            if number in missing:
                names[int(number)] = item_id.decode()
    return names


@explained("Redis")
def read_meta(store: Store) -> NDArray[Any]:
    """One row an item, shape (items,), dtype META; row ``number - 1``, removed ones included."""
    return np.frombuffer(read_string(store.redis, key("meta")), META)


@explained("Redis")
def read_categories(store: Store) -> dict[str, int]:
    """Category numbers by name."""
    client: Any = store.redis
    return {name.decode(): int(number) for name, number in client.hgetall(key("categories")).items()}


def _row(item: Item) -> Row:
    flags = FLAG_HIDDEN if item.hidden else 0
    return (item.id, item.category, item.served_json(), item.posted, item.expires, item.social,
            KIND_NAMES.index(item.kind), flags)


@explained("Redis")
def _put(client: Any, rows: Sequence[Row]) -> list[int]:
    keys = [key(name) for name in ("ids", "categories", "records", "meta", "version", "changes")]
    try:
        numbers: list[int] = client.fcall("nightfeed_put", len(keys), *keys, *(cell for row in rows for cell in row))
    except ResponseError as error:
        if "65535 categories" in str(error):
            raise CategoriesFullError("there are 65535 categories already: use some of them again") from error
        raise
    return numbers


def _stored(client: Any, ids: Sequence[str]) -> dict[str, tuple[bytes, Any]]:
    """(served JSON, META row) of each id that is in the catalogue. ``client`` executes at once."""
    known = _numbers(client, ids)
    if not known:
        return {}
    records = client.hmget(key("records"), [str(number) for number in known.values()])
    return {
        item_id: (record, _meta_row(client, number))
        for (item_id, number), record in zip(known.items(), records, strict=True) if record is not None
    }


def _numbers(client: Any, ids: Sequence[str]) -> dict[str, int]:
    found = client.hmget(key("ids"), list(ids)) if ids else []
    return {item_id: int(number) for item_id, number in zip(ids, found, strict=True) if number is not None}


def _meta_row(client: Any, number: int) -> Any:
    end = number * META.itemsize
    return np.frombuffer(client.getrange(key("meta"), end - META.itemsize, end - 1), META)[0]


def full(record: bytes, row: Any) -> dict[str, Any]:
    """The full record of an item from its served JSON and its META row."""
    return full_record(record, int(row["social"]), int(row["expires"]), bool(row["flags"] & FLAG_HIDDEN))


@explained("Redis")
def _rewrite(store: Store, ids: Sequence[str], flags: int, removed: bool) -> list[str]:
    """Put items again with other flags, unless the catalogue changes meanwhile: then all over again."""
    unknown: list[str] = []

    def attempt(pipe: Pipeline) -> None:
        found = _stored(pipe, ids)
        unknown[:] = [item_id for item_id in ids if item_id not in found]
        pipe.multi()
        if found:
            _put(pipe, [_changed(record, row, flags, removed) for record, row in found.values()])

    store.redis.transaction(attempt, key("version"))
    return unknown


def _changed(record: bytes, row: Any, flags: int, removed: bool) -> Row:
    fields = orjson.loads(record)
    return (fields["id"], fields["category"], b"" if removed else record, int(row["posted"]), int(row["expires"]),
            int(row["social"]), int(row["kind"]), flags)
