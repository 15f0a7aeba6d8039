"""The data of benchmarks: shaped as a site's would be, and in Redis just as production code would have written it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from scripts.bench import fill, item_year, visits
from scripts.bench.item_year import DAY, Year
from scripts.bench.pipe import Pipe, PipeError, packed
from tests.stack_fixture import Stack
from worker import keyspace
from worker.nightly import fresh
from worker.packing import unpack_stats
from worker.seen_set import CLICKED, live_items, live_mask, parts_of
from worker.store.connect import Store, open_store
from worker.store.items import read_meta
from worker.store.seen import read_seen

TODAY = int(time.time()) // DAY


@pytest.fixture(scope="module")
def year() -> Year:
    return item_year.make(TODAY, np.random.default_rng([1, 0]))


@pytest.fixture(scope="module")
def tables(year: Year) -> Any:
    return item_year.shown_tables(year, np.random.default_rng([1, 2]))


@pytest.fixture
def store(stack: Stack) -> Store:
    return open_store(stack.run, stack.settings)


def test_every_item_that_is_shown_was_posted_before_that_day(year: Year, tables: Any) -> None:
    for back in range(1, item_year.WINDOW + 1):
        posted = year.posted[tables[back - 1].astype(np.int64) - 1] // DAY
        assert posted.max() < TODAY - back
        assert posted.min() >= TODAY - back - item_year.EVERGREEN_DAYS


def test_what_was_posted_in_the_last_day_is_new_to_the_run(year: Year) -> None:
    impressions = np.zeros(item_year.ITEMS)
    for day in range(TODAY - 30, TODAY):
        rows = item_year.statistics(year, day, np.random.default_rng(day))
        impressions[rows["item"] - 1] += rows["impressions"]
    new = fresh.is_new(TODAY * DAY - year.posted, impressions, min_impressions=20)
    assert new.sum() == item_year.ITEMS_PER_DAY


def test_a_user_sees_an_item_once_and_within_the_visits(year: Year, tables: Any) -> None:
    rng = np.random.default_rng(3)
    users = visits.people(500, TODAY, 60.0, rng)
    seen = visits.seen(users, year, tables, rng)
    assert len(seen.bucket) == len(seen.start) - 1 == 500
    for row, newest in enumerate(seen.bucket.tolist()):
        words = seen.words[seen.start[row] : seen.start[row + 1]].tolist()
        items, codes, flags = zip(*map(parts_of, words), strict=True)
        assert list(items) == sorted(set(items))
        first, last = ((TODAY - users.first[row]) // 10, (TODAY - users.last[row]) // 10)
        assert set(codes) <= {bucket % 32 for bucket in range(first, newest + 1)}
        assert newest <= last
        assert newest % 32 in codes
        assert set(flags) <= {0, CLICKED}


def test_users_see_as_much_as_asked(year: Year, tables: Any) -> None:
    rng = np.random.default_rng(4)
    users = visits.people(5000, TODAY, visits.draws_for(50, year, tables, 1), rng)
    assert len(visits.seen(users, year, tables, rng).words) / 5000 == pytest.approx(50, rel=0.1)


def test_the_worker_reads_what_was_filled(store: Store, year: Year) -> None:
    """Keys, members, expiry, users and statistics are where production code looks for them."""
    filler = fill.Filler(store, year, 40, seed=5)
    assert list(filler.fill(200)) == [200]
    live = live_mask(keyspace.live_buckets(int(time.time() * 1000), store.settings.window_days))
    known = [read_seen(store, user) for user in filler.ids]
    assert sum(map(len, known)) == filler.words
    assert all(len(words) and live_items(words, live).all() for words in known)
    assert sum(store.redis.zcard(keyspace.partition_key("users", p)) for p in range(keyspace.PARTITIONS)) == 200
    user = filler.ids[0]
    assert store.redis.zscore(keyspace.partition_key("users", keyspace.partition_of(user)), user) is not None
    key, newest = keyspace.user_key("seen", user), keyspace.bucket_of(TODAY * keyspace.DAY_MS)
    expiries = [keyspace.bucket_expiry(newest - back, store.settings.window_days, user) for back in range(7)]
    assert store.redis.expiretime(key) in expiries


def test_the_same_seed_gives_the_same_users(store: Store, year: Year) -> None:
    made = []
    for _ in range(2):
        store.redis.flushall()
        filler = fill.Filler(store, year, 20, seed=6)
        list(filler.fill(50))
        made.append((filler.ids, store.redis.dbsize(), filler.words))
    assert made[0] == made[1]


def test_statistics_are_rows_that_the_run_adds_up(store: Store, year: Year) -> None:
    fill.statistics(store, year, np.random.default_rng(7))
    _, rows = unpack_stats(store.redis.get(keyspace.key("stats", TODAY - 1)))
    assert rows["impressions"].sum() == pytest.approx(item_year.IMPRESSIONS_PER_DAY, rel=0.01)
    assert np.all(np.diff(rows["item"].astype(np.int64)) > 0)
    assert np.all(rows["clicks"] <= rows["impressions"])


def test_the_catalogue_has_numbers_and_times_of_the_year(store: Store, year: Year,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "ITEMS", 700)
    fill.catalogue(store, year)
    meta = read_meta(store)
    assert meta["posted"].tolist() == year.posted[:700].tolist()
    assert ((meta["flags"] != 0) == year.removed[:700]).all()
    assert store.redis.hget(keyspace.key("ids"), "item-700") == b"700"


def test_a_command_that_redis_refuses_is_an_error(stack: Stack) -> None:
    stack.redis.set("text", "x")
    pipe = Pipe(stack.run)
    with pytest.raises(PipeError, match="WRONGTYPE"), pipe:
        pipe.send(packed(b"SADD", b"text", b"1"), 1)
