"""Partitions of a run: claim, read users and seen, compose lists, check, publish. The unit of work and of restart."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Lock

import numpy as np
import orjson
from numpy.typing import NDArray

from worker.nightly import gates
from worker.nightly.composer import Made, Members, composer, decoder
from worker.nightly.courtesy import Courtesy, Glance, commandstats
from worker.nightly.plan import Plan
from worker.nightly.report import Tally
from worker.packing import POSITION_MASK
from worker.store import generations, seen
from worker.store.connect import Store
from worker.store.generations import Turn
from worker.store.lists import Lists, Part, publish_lists
from worker.store.wire import Wire, retrying

DAY_MS, DAY_SECONDS = 86_400_000, 86_400
LIST_SLACK_DAYS = 2
CLAIM_SECONDS = 30  # renewed with each batch; a process that died is waited for so long


class GateError(Exception):
    """The run must not be published; the message holds the reasons."""


@dataclass(frozen=True)
class Batch:
    """Users whose lists are made at once: ids, last seen (users,) Unix ms, and which rows are of which partition."""

    users: list[bytes]
    last_seen_ms: NDArray[np.int64]
    rows: list[Part]


@dataclass(frozen=True)
class Task:
    """What the processes of one run share. ``turn`` None: a dry run, nothing is written. ``live``: a live_mask.

    ``touched_ms``: whose last visit (Unix ms) is not earlier, their seen set may have grown since the last run.
    ``force``: repeats in lists are counted, and published all the same. ``pages``: as they were a moment before, see
    Courtesy.
    """

    plan: Plan
    turn: Turn | None
    live: int
    touched_ms: int
    force: bool = False
    pages: Glance | None = None


class Partitions:
    """Makes the lists of partitions, in one process."""

    def __init__(self, store: Store, task: Task, lock: Lock | None = None) -> None:
        """``lock``: of all processes of the run, see Courtesy."""
        self._store, self._task, self._plan, self._turn = store, task, task.plan, task.turn
        self._composer, self._decode = composer(task.plan, store.settings), decoder(store.settings)
        self._since_ms = since_ms(task.plan.moment, store.settings.window_days)
        self._courtesy = Courtesy(lock, task.pages)
        self._wire = Wire(store.run, around=self._courtesy)
        self._room: Made | None = None  # memory of the largest batch, written over by the next ones
        self._owner = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, partitions: Sequence[int]) -> dict[int, Tally]:
        """Every active user of those ``partitions`` that nobody else has claimed or finished: their tallies.

        A partition is marked as done, with its own counts, after its last list is written. Raises GateError for a
        repeat in a list, FencedError when outrun, RestartedError when Redis was restarted since the run began,
        StoreError when it is away for long or refuses to write.
        """
        counts = self._lists_of(partitions)
        for partition, tally in counts.items():
            self._mark_done(partition, tally)
        return counts

    def _lists_of(self, partitions: Sequence[int]) -> dict[int, Tally]:
        """Make and write the lists of what can be claimed of ``partitions``."""
        counts = {partition: Tally() for partition in self._claim(partitions)}
        work = Tally()
        for batch in self._batches(list(counts)):
            self._courtesy.look(partial(commandstats, self._wire))
            made = self._made(batch, work)
            with work.timed("publish_s"):
                # A process that was held up for longer than its claim has lost it: others do that partition.
                still = set(self._claim(list(counts)))
                counts = {partition: tally for partition, tally in counts.items() if partition in still}
                mine = [(partition, rows) for partition, rows in batch.rows if partition in still]
                self._publish(batch, mine, made)
            for partition, rows in mine:
                self._count(made, rows, counts[partition])
        for tally in list(counts.values())[:1]:
            tally.add(work)
        return counts

    def _claim(self, partitions: Sequence[int]) -> list[int]:
        """Claims, or renews, what can be had. Raises FencedError when a newer run has begun."""
        if self._turn is None:
            return list(partitions)
        return generations.claim(self._store, partitions, self._turn.token, self._plan.generation, self._owner,
                                 CLAIM_SECONDS)

    def _batches(self, partitions: Sequence[int]) -> Iterator[Batch]:
        """Small partitions together, large ones in pieces: never many more users at once than ``chunk_users``."""
        size = self._store.settings.chunk_users
        users: list[bytes] = []
        times: list[NDArray[np.int64]] = []
        rows: list[Part] = []
        for partition in partitions:
            for found, last_seen_ms in seen.scan_many(self._wire, partition, self._since_ms, size):
                rows.append((partition, slice(len(users), len(users) + len(found))))
                users += found
                times.append(last_seen_ms)
                if len(users) >= size:
                    yield Batch(users, np.concatenate(times), rows)
                    users, times, rows = [], [], []
        if users:
            yield Batch(users, np.concatenate(times), rows)

    def _read(self, batch: Batch) -> tuple[Members, NDArray[np.int64]]:
        words, offsets = retrying(lambda: seen.read_many(self._wire, batch.users, batch.rows), "reading seen sets")
        return self._decode(words, self._task.live), offsets

    def _made(self, batch: Batch, work: Tally) -> Made:
        """Checked lists. Raises GateError when one holds a repeat, unless forced: none of the batch is written then."""
        with work.timed("read_s"):
            members, offsets = self._read(batch)
        with work.timed("compose_s"):
            made: Made = self._composer(batch.users, batch.last_seen_ms, members, offsets, self._room)
            if self._room is None or len(made.lengths) > len(self._room.lengths):
                self._room = made
        with work.timed("check_s"):
            repeats = self._composer.count_repeats(made, members, offsets)
            work.spacing_violations += self._composer.count_avoidable(made)
        if repeats and not self._task.force:
            raise GateError(f"{repeats} entries of finished lists repeat what was seen or stand twice: a defect of the "
                            "program")
        work.repeats += repeats
        return made

    def _count(self, made: Made, rows: slice, tally: Tally) -> None:
        lengths = made.lengths[rows]
        tally.users += len(lengths)
        tally.lists += len(lengths)
        tally.entries += int(lengths.sum())
        tally.new_entries += int(made.new[rows].sum())
        tally.spacing_narrowed += int(made.narrowed[rows].sum())
        tally.underfilled += int((lengths < self._store.settings.list_length).sum())
        tally.missed_evergreen += int(made.missed[rows].sum())

    def _publish(self, batch: Batch, parts: Sequence[Part], made: Made) -> None:
        if self._turn is None:
            return
        turn, days = self._turn, self._store.settings.window_days + LIST_SLACK_DAYS
        lists = Lists(batch.users, made.entries, made.lengths.astype(np.int64),
                      self._plan.moment + days * DAY_SECONDS, self._plan.generation, self._plan.moment)
        retrying(lambda: publish_lists(self._wire, parts, turn, lists), "publishing lists")
        for partition, rows in parts:
            touched = np.flatnonzero(batch.last_seen_ms[rows] >= self._task.touched_ms) + rows.start
            users = [batch.users[row] for row in touched.tolist()]
            retrying(partial(seen.compact, self._wire, partition, users), "giving back memory")

    def _mark_done(self, partition: int, tally: Tally) -> None:
        if self._turn is not None:
            report = orjson.dumps(dataclasses.asdict(tally))
            generations.mark_done(self._store, partition, self._turn, self._plan.generation, report)

    def sample(self, size: int, live: NDArray[np.bool_]) -> list[str]:
        """Faults in the lists of about ``size`` users, looked for by other code than that which made them."""
        found = seen.sample_users(self._store, self._since_ms, size)
        if not found:
            return []
        batch = Batch([], np.concatenate([times for _, times in found.values()]), [])
        for partition, (users, _) in found.items():
            batch.rows.append((partition, slice(len(batch.users), len(batch.users) + len(users))))
            batch.users.extend(users)
        members, offsets = self._read(batch)
        made: Made = self._composer(batch.users, batch.last_seen_ms, members, offsets)
        faults: list[str] = []
        for row, user in enumerate(batch.users):
            items = self._plan.pool[made.entries[row, : made.lengths[row]] & np.uint16(POSITION_MASK)]
            known = set(members[offsets[row] : offsets[row + 1]].tolist())
            faults += gates.check_list(user.decode(), items.tolist(), known, live)
        # Partitions are checked by this; here it is checked, too, and loaded before processes are forked.
        if (repeats := self._composer.count_repeats(made, members, offsets)) and not faults:
            faults.append(f"{repeats} repeats are counted in lists that have none")
        violations = self._composer.count_avoidable(made)
        return faults + ([f"{violations} spacing violations that an order would avoid"] if violations else [])


def since_ms(moment: int, window_days: int) -> int:
    """From when on a visit makes a user active for a run at ``moment`` (Unix s), in Unix ms."""
    return moment * 1000 - window_days * DAY_MS
