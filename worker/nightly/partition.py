"""Partitions of a run: read users and seen, compose lists, check, publish. The unit of work and of restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from worker.nightly import gates
from worker.nightly.compose import Complete, compose
from worker.nightly.plan import Plan
from worker.nightly.report import Tally, total
from worker.nightly.subtract import position_table, unseen
from worker.packing import POSITION_MASK, pack_list
from worker.store import generations, seen
from worker.store.connect import Store

DAY_MS = 86_400_000
LIST_SLACK_DAYS = 2


class GateError(Exception):
    """The run must not be published; the message holds the reasons."""


@dataclass(frozen=True)
class Batch:
    """Users whose lists are made at once: ids, last seen (users,) Unix ms, and which rows are of which partition."""

    users: list[str]
    last_seen_ms: NDArray[np.int64]
    rows: list[tuple[int, slice]]


class Partitions:
    """Makes the lists of partitions for one plan. ``token`` None means a dry run: nothing is written."""

    def __init__(self, store: Store, plan: Plan, token: int | None, buckets: list[int]) -> None:
        self._store, self._plan, self._token, self._buckets = store, plan, token, buckets
        self._table = position_table(plan.pool, plan.max_item)
        self._since_ms = since_ms(plan.moment, store.settings.window_days)

    def run(self, partitions: Sequence[int]) -> Tally:
        """Every active user of ``partitions``. Raises GateError for a repeat in a list, FencedError when outrun.

        A partition is marked as done, with its own counts, after its last list is written.
        """
        counts = {partition: Tally() for partition in partitions}
        work = Tally()
        for batch in self._batches(partitions):
            complete = self._complete(batch, work)
            for partition, rows in batch.rows:
                self._count(complete, rows, counts[partition])
                with work.timed("publish_s"):
                    self._publish(partition, batch, rows, complete)
        counts[partitions[0]].add(work)
        for partition, tally in counts.items():
            self._mark_done(partition, tally)
        return total(counts.values())

    def _batches(self, partitions: Sequence[int]) -> Iterator[Batch]:
        """Small partitions together, large ones in pieces: never many more users at once than ``chunk_users``."""
        size = self._store.settings.chunk_users
        users: list[str] = []
        times: list[NDArray[np.int64]] = []
        rows: list[tuple[int, slice]] = []
        for partition in partitions:
            for found, last_seen_ms in seen.scan_users(self._store, partition, self._since_ms, size):
                rows.append((partition, slice(len(users), len(users) + len(found))))
                users += found
                times.append(last_seen_ms)
                if len(users) >= size:
                    yield Batch(users, np.concatenate(times), rows)
                    users, times, rows = [], [], []
        if users:
            yield Batch(users, np.concatenate(times), rows)

    def _complete(self, batch: Batch, work: Tally) -> Complete:
        """Checked lists. Raises GateError when one holds a repeat: none of the batch is written then."""
        with work.timed("read_s"):
            members, rows = seen.read_seen(self._store, batch.users, self._buckets)
        with work.timed("compose_s"):
            left = unseen(members, rows, len(batch.users), self._table, len(self._plan.pool))
            complete = compose(batch.users, batch.last_seen_ms, left, self._plan, self._store.settings)
        with work.timed("check_s"):
            repeats = gates.count_repeats(complete, left)
            work.spacing_violations += gates.count_avoidable(complete, self._plan, self._store.settings.gap)
        if repeats:
            raise GateError(f"{repeats} entries of finished lists repeat what was seen or stand twice: the lists of "
                            "this part were not written; this is a defect of the program")
        return complete

    def _count(self, complete: Complete, rows: slice, tally: Tally) -> None:
        lengths = complete.lengths[rows]
        tally.users += len(lengths)
        tally.lists += len(lengths)
        tally.entries += int(lengths.sum())
        tally.new_entries += int(complete.new[rows].sum())
        tally.spacing_narrowed += int(complete.narrowed[rows].sum())
        tally.underfilled += int((lengths < self._store.settings.list_length).sum())
        tally.missed_evergreen += int(complete.missed[rows].sum())

    def _publish(self, partition: int, batch: Batch, rows: slice, complete: Complete) -> None:
        if self._token is None:
            return
        plan, days = self._plan, self._store.settings.window_days + LIST_SLACK_DAYS
        lists = [pack_list(plan.generation, plan.moment, entries[:length])
                 for entries, length in zip(complete.entries[rows], complete.lengths[rows], strict=True)]
        expiries = ((batch.last_seen_ms[rows] + days * DAY_MS) // 1000).tolist()
        generations.publish(self._store, partition, self._token, plan.generation, batch.users[rows], lists, expiries)

    def _mark_done(self, partition: int, tally: Tally) -> None:
        if self._token is not None:
            report = orjson.dumps(dataclasses.asdict(tally))
            generations.publish(self._store, partition, self._token, self._plan.generation, [], [], [], report)

    def sample(self, size: int, live: NDArray[np.bool_]) -> list[str]:
        """Faults in the lists of about ``size`` users, looked for by other code than that which made them."""
        parts = list(seen.sample_users(self._store, self._since_ms, size).values())
        if not parts:
            return []
        users = [user for names, _ in parts for user in names]
        members, rows = seen.read_seen(self._store, users, self._buckets)
        left = unseen(members, rows, len(users), self._table, len(self._plan.pool))
        times = np.concatenate([last_seen_ms for _, last_seen_ms in parts])
        complete = compose(users, times, left, self._plan, self._store.settings)
        return self._faults(users, members, rows, complete, live)

    def _faults(self, users: list[str], members: NDArray[np.int64], rows: NDArray[np.int64], complete: Complete,
                live: NDArray[np.bool_]) -> list[str]:
        ends = np.searchsorted(rows, np.arange(len(users) + 1))
        faults: list[str] = []
        for row, user in enumerate(users):
            entries = complete.entries[row, : complete.lengths[row]] & np.uint16(POSITION_MASK)
            found = set(members[ends[row] : ends[row + 1]].tolist())
            faults += gates.check_list(user, self._plan.pool[entries].tolist(), found, live)
        violations = gates.count_avoidable(complete, self._plan, self._store.settings.gap)
        return faults + ([f"{violations} spacing violations that an order would avoid"] if violations else [])


def since_ms(moment: int, window_days: int) -> int:
    """From when on a visit makes a user active for a run at ``moment`` (Unix s), in Unix ms."""
    return moment * 1000 - window_days * DAY_MS
