"""A real log, day by day: import a day's events, run the night, look at every list."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.stack_fixture import ROOT
from worker import keyspace
from worker.nightly.subtract import position_table, unseen
from worker.packing import unpack_list, unpack_pool
from worker.seen_set import live_items, live_mask
from worker.store import generations, seen
from worker.store.connect import open_store
from worker.store.wire import Wire

LOG = Path(os.environ.get("NIGHTFEED_KUAIRAND") or "no-log")
WITHOUT_LOG = "the KuaiRand log is not here: set NIGHTFEED_KUAIRAND to the folder with its files"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The log as records: items.ndjson and one events file a day, ending yesterday."""
    folder = tmp_path_factory.mktemp("kuairand")
    command = [sys.executable, str(ROOT / "scripts/kuairand.py"), "--data", str(LOG), "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def repeats_in_lists(stack):
    """Entries of all published lists that their user has seen, and entries that stand twice."""
    store = open_store(stack.run)
    pool = unpack_pool(stack.redis.get(keyspace.key("pool", int(generations.state(store)["generation"]))))
    table = position_table(pool.items, pool.max_item)
    now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    live = live_mask(keyspace.live_buckets(now_ms, stack.settings.window_days))
    bad = 0
    wire = Wire(stack.run)
    for partition in range(keyspace.PARTITIONS):
        for users, _ in seen.scan_many(wire, partition, 0, 5000):
            found = [live_items(seen.read_seen(store, user.decode()), live).astype(np.int64) for user in users]
            rows = np.repeat(np.arange(len(users)), [len(items) for items in found])
            left = unseen(np.concatenate(found), rows, len(users), table, len(pool.items))
            raw = stack.redis.hmget(keyspace.partition_key("list", partition), users)
            for row, entry in enumerate(raw):
                positions = unpack_list(entry).positions
                bad += int((~left[row, positions]).sum()) + len(positions) - len(np.unique(positions))
    wire.close()
    return bad


@pytest.mark.skipif(not LOG.is_dir(), reason=WITHOUT_LOG)
def test_a_week_of_a_real_log_goes_through_night_after_night(fresh_stack, converted, record_property):
    """No repeat and no avoidable violation on any night; the figures are printed with ``-rP``."""
    stack = fresh_stack()
    stack.worker("items", "import", str(converted / "items.ndjson"))
    files = sorted(converted.glob("events-*.ndjson"))
    assert len(files) >= 5
    for file in files:
        imported = json.loads(stack.worker("events", "import", "--json", str(file)).stdout.splitlines()[-1])
        assert imported["refused"] == 0, imported["errors"][:3]
        night = dt.date.fromisoformat(file.stem.removeprefix("events-")) + dt.timedelta(days=1)
        done = stack.worker("nightly", "--date", night.isoformat(), "--json")
        report = json.loads(done.stdout.splitlines()[-1])
        figures = {name: report[name] for name in ("users", "lists", "top", "new_share", "underfilled", "repeats",
                                                   "spacing_violations", "spacing_narrowed", "missed_evergreen")}
        print(night, figures)
        record_property(str(night), figures)
        assert report["repeats"] == report["spacing_violations"] == report["missed_evergreen"] == 0
        assert report["lists"] == report["users"] > 0
        assert repeats_in_lists(stack) == 0
