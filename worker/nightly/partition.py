"""One partition of a run: read users and seen, compose lists, check, publish. The unit of work and of restart."""

from __future__ import annotations

import dataclasses

import numpy as np
import orjson
from numpy.typing import NDArray

from worker.nightly import gates
from worker.nightly.compose import Complete, compose
from worker.nightly.plan import Plan
from worker.nightly.report import Tally
from worker.nightly.subtract import position_table, unseen
from worker.packing import pack_list
from worker.store import generations, seen
from worker.store.connect import Store
from worker.store.seen import Visitors

CHUNK = 1024
DAY_MS = 86_400_000
LIST_SLACK_DAYS = 2


class GateError(Exception):
    """The run must not be published; the message holds the reasons."""


class Partition:
    """Makes the lists of partitions for one plan. ``token`` None means a dry run: nothing is written."""

    def __init__(self, store: Store, plan: Plan, token: int | None, buckets: list[int]) -> None:
        self._store, self._plan, self._token, self._buckets = store, plan, token, buckets
        self._table = position_table(plan.pool, plan.max_item)
        self._since_ms = since_ms(plan.moment, store.settings.window_days)

    def run(self, partition: int) -> Tally:
        """Every active user of ``partition``. Raises GateError when a list holds a repeat, FencedError when outrun."""
        tally = Tally()
        for users, last_seen_ms in seen.scan_users(self._store, partition, self._since_ms, CHUNK):
            complete = self._chunk((users, last_seen_ms), tally)
            with tally.timed("publish_s"):
                self._publish(partition, users, last_seen_ms, complete)
        if self._token is not None:
            done = orjson.dumps(dataclasses.asdict(tally))
            generations.publish(self._store, partition, self._token, self._plan.generation, [], [], [], done)
        return tally

    def _chunk(self, visitors: Visitors, tally: Tally) -> Complete:
        users, last_seen_ms = visitors
        with tally.timed("read_s"):
            members, rows = seen.read_seen(self._store, users, self._buckets)
        with tally.timed("compose_s"):
            left = unseen(members, rows, len(users), self._table, len(self._plan.pool))
            complete = compose(users, last_seen_ms, left, self._plan, self._store.settings)
        with tally.timed("check_s"):
            self._check(complete, left, tally)
        tally.users += len(users)
        tally.lists += len(users)
        tally.entries += int(complete.lengths.sum())
        tally.new_entries += int(complete.new.sum())
        tally.spacing_narrowed += int(complete.narrowed.sum())
        tally.underfilled += int((complete.lengths < self._store.settings.list_length).sum())
        tally.missed_evergreen += int(complete.missed.sum())
        return complete

    def _check(self, complete: Complete, left: NDArray[np.bool_], tally: Tally) -> None:
        repeats = gates.count_repeats(complete, left)
        if repeats:
            raise GateError(f"{repeats} entries of finished lists repeat what was seen or stand twice: nothing of this "
                            "part was written; this is a defect of the program")
        tally.spacing_violations += gates.count_avoidable(complete, self._plan, self._store.settings.gap)

    def _publish(self, partition: int, users: list[str], last_seen_ms: NDArray[np.int64], complete: Complete) -> None:
        if self._token is None:
            return
        plan, days = self._plan, self._store.settings.window_days + LIST_SLACK_DAYS
        lists = [pack_list(plan.generation, plan.moment, complete.entries[row, :length])
                 for row, length in enumerate(complete.lengths)]
        expiries = ((last_seen_ms + days * DAY_MS) // 1000).tolist()
        generations.publish(self._store, partition, self._token, plan.generation, users, lists, expiries)

    def sample(self, size: int, live: NDArray[np.bool_]) -> list[str]:
        """Faults in the lists of about ``size`` users, looked for by other code than that which made them."""
        faults: list[str] = []
        for users, last_seen_ms in seen.sample_users(self._store, self._since_ms, size).values():
            members, rows = seen.read_seen(self._store, users, self._buckets)
            left = unseen(members, rows, len(users), self._table, len(self._plan.pool))
            complete = compose(users, last_seen_ms, left, self._plan, self._store.settings)
            for row, user in enumerate(users):
                entries = complete.entries[row, : complete.lengths[row]] & np.uint16(0x7FFF)
                items = self._plan.pool[entries].tolist()
                faults += gates.check_list(user, items, set(members[rows == row].tolist()), live)
            violations = gates.count_avoidable(complete, self._plan, self._store.settings.gap)
            faults += [f"{violations} spacing violations that an order would avoid"] if violations else []
        return faults


def since_ms(moment: int, window_days: int) -> int:
    """From when on a visit makes a user active for a run at ``moment`` (Unix s), in Unix ms."""
    return moment * 1000 - window_days * DAY_MS
