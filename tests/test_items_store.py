"""The catalogue in Redis: dense numbers that never change, rows that say what records do, and pages of them."""

from __future__ import annotations

import threading

import orjson
import pytest

from tests.item_records import FULL
from tests.stack_fixture import Stack
from worker.catalogue import check
from worker.packing import FLAG_REMOVED, META
from worker.store import items
from worker.store.connect import Store, open_store
from worker.store.errors import StoreError
from worker.store.item_pages import CHUNK, page


@pytest.fixture
def store(stack: Stack) -> Store:
    """The worker's own connection to the stack."""
    return open_store(stack.run)


def test_pages_cross_chunks_and_skip_what_is_removed(stack: Stack, store: Store) -> None:
    """Each item once, whatever the page size; the last page says that it is the last."""
    count = 2 * CHUNK + 3
    records = (check(stack.item(f"i{n}", category="odd" if n % 2 else "even")) for n in range(count))
    items.put(store, list(records))
    gone = {f"i{n}" for n in range(CHUNK - 5, CHUNK + 5)}
    assert items.remove(store, sorted(gone)) == []
    for category, size in ((None, 1000), ("odd", CHUNK), ("even", 4001)):
        wanted = range(count) if category is None else range(1 if category == "odd" else 0, count, 2)
        expected = [f"i{n}" for n in wanted if f"i{n}" not in gone]
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            records_, after = page(store, after, size, category)
            assert records_
            found += [record["id"] for record in records_]
        assert found == expected


def test_a_removed_item_keeps_its_number_and_its_row(stack: Stack, store: Store) -> None:
    """It is found by number, so that those who saw it are still known to have; put again it has the same number."""
    items.put(store, [check(stack.item("a")), check(FULL), check(stack.item("c"))])
    before = items.read_meta(store)[1].copy()
    version = int(stack.redis.get("version:{c}") or 0)
    assert items.remove(store, ["a1"]) == []
    after = items.read_meta(store)[1]
    assert after["flags"] == FLAG_REMOVED
    assert [after[name] for name in META.names[:-1]] == [before[name] for name in META.names[:-1]]
    assert int(stack.redis.get("version:{c}") or 0) == version + 1
    assert items.get(store, "a1") is None
    assert items.numbers_of(store, ["a1", "a", "nope"]) == {"a": 1}
    assert items.numbers_of(store, ["a1", "a", "nope"], removed=True) == {"a1": 2, "a": 1}
    assert items.ids_of(store, [2, 3, 99]) == {2: "a1", 3: "c"}
    assert items.put(store, [check(FULL)]) == [2]
    assert items.numbers_of(store, ["a1"]) == {"a1": 2}
    assert items.get(store, "a1") == FULL


def test_hiding_loses_no_change_made_meanwhile(stack: Stack, store: Store) -> None:
    """Hide reads and writes: when an import comes between, it reads again."""
    items.put(store, [check(stack.item("a", social=0))])
    done = threading.Event()

    def hide_and_unhide() -> None:
        other = open_store(stack.run)
        while not done.is_set():
            items.set_hidden(other, ["a"], True)
            items.set_hidden(other, ["a"], False)

    hider = threading.Thread(target=hide_and_unhide)
    hider.start()
    try:
        for social in range(1, 200):
            items.put(store, [check(stack.item("a", social=social))])
            assert items.read_meta(store)[0]["social"] == social
    finally:
        done.set()
        hider.join()


def test_a_category_has_one_number_for_all_its_items(stack: Stack, store: Store) -> None:
    """Numbers from 1, in the order in which categories came."""
    items.put(store, [check(stack.item(name, category=category)) for name, category in ("ax", "bü", "cx")])
    assert items.read_categories(store) == {"x": 1, "ü": 2}
    assert items.read_meta(store)["category"].tolist() == [1, 2, 1]


def test_the_65536th_category_is_refused_with_the_reason(stack: Stack, store: Store) -> None:
    """The rows have room for 65535."""
    stack.redis.hset("categories:{c}", mapping={f"c{n}": n for n in range(1, 65_536)})
    with pytest.raises(StoreError, match="65535 categories already"):
        items.put(store, [check(stack.item("a", category="new"))])
    assert items.put(store, [check(stack.item("a", category="c65535"))]) == [1]
    assert items.read_meta(store)[0]["category"] == 65_535


def test_the_stored_record_is_what_a_page_gets(stack: Stack, store: Store) -> None:
    """Five fields in this order, and nothing of what is internal."""
    items.put(store, [check(FULL)])
    raw = stack.redis.hget("records:{c}", "1")
    assert list(orjson.loads(raw or b"")) == ["id", "category", "kind", "posted_at", "data"]


def test_more_items_than_a_batch_keep_their_order_and_numbers(stack: Stack, store: Store) -> None:
    """Numbers are dense, in the order of the file."""
    names = [f"i{n}" for n in range(2 * items.BATCH + 7)]
    items.put(store, [check(stack.item(name)) for name in names])
    assert items.numbers_of(store, names) == {name: number for number, name in enumerate(names, 1)}
    assert len(items.read_meta(store)) == len(names)
