"""Runs partitions until all are done: in this process, or in several; beside others that have joined the run."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.synchronize import Lock
from pathlib import Path

from worker.config import Settings
from worker.keyspace import PARTITIONS
from worker.nightly.background import leave_session, step_back
from worker.nightly.partition import Partitions, Task, since_ms
from worker.nightly.report import Tally, total
from worker.store import generations, seen
from worker.store.connect import Store, open_store

Progress = Callable[[Sequence[int], Tally], None]


class ProcessError(Exception):
    """A process of the run was ended from outside; the message says what to do."""


_partitions: Partitions | None = None  # of a pool process, set once when it starts
WORTH_A_PROCESS = 5_000  # users; below, starting a process takes longer than it saves, and nobody notices the work
WAIT_SECONDS = 0.5


def run_partitions(store: Store, task: Task, jobs: int, progress: Progress) -> Tally:
    """Run every partition that is not done, and wait for those that others have claimed; what was done here.

    ``progress`` is called with the partitions of each finished group and their tally. Raises ProcessError when one
    of the processes is killed, and what Partitions.run does.
    """
    counts = seen.count_users(store, since_ms(task.plan.moment, store.settings.window_days))
    mine: list[Tally] = []
    left = _left(store, task)
    while left:
        groups = grouped(left, counts, store.settings.chunk_users)
        some = False
        for done in _run_groups(store, task, groups, jobs, sum(counts)):
            some = True
            mine.append(total(done.values()))
            progress(list(done), mine[-1])
        if task.turn is None:
            break
        left = _left(store, task)
        if left and not some:
            time.sleep(WAIT_SECONDS)
    return total(mine)


def _left(store: Store, task: Task) -> list[int]:
    """Partitions that are not marked as done. Raises FencedError when a newer run has begun."""
    if task.turn is None:
        return list(range(PARTITIONS))
    generations.check_token(store, task.turn.token)
    done = generations.done_partitions(store, task.plan.generation)
    return [partition for partition in range(PARTITIONS) if partition not in done]


def _run_groups(store: Store, task: Task, groups: list[list[int]], jobs: int, users: int) -> Iterator[dict[int, Tally]]:
    """The groups' tallies as they are finished, without those that others had claimed; the first error ends all."""
    jobs = min(jobs, len(groups), users // WORTH_A_PROCESS)
    if not jobs:
        here = Partitions(store, task)
        yield from filter(None, map(here.run, groups))
        return
    # Forks have the modules and the machine code already, which take a fresh process more than a second. They use
    # nothing that was open before: each opens connections of its own, and the lease's thread stays with the parent.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, context, _open, (store.run, store.settings, task, context.Lock())) as executor:
        futures = [executor.submit(_run, group) for group in groups]
        try:
            yield from filter(None, (future.result() for future in as_completed(futures)))
        except BrokenProcessPool as error:
            raise ProcessError("one of the run's processes was killed (for memory?): run again, perhaps with fewer "
                               "--jobs; it goes on with the partitions that are left") from error
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def grouped(partitions: Sequence[int], counts: Sequence[int], size: int) -> list[list[int]]:
    """``partitions`` in order, in groups that have about ``size`` users where single ones have fewer."""
    groups: list[list[int]] = []
    users = 0
    for partition in partitions:
        if not groups or users + counts[partition] > size:
            groups.append([])
            users = 0
        groups[-1].append(partition)
        users += counts[partition]
    return groups


def _open(run: Path, settings: Settings, task: Task, lock: Lock) -> None:
    global _partitions
    leave_session()
    step_back()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _partitions = Partitions(open_store(run, settings), task, lock)


def _end_with_parent() -> None:
    """A process whose run was killed would wait for work for ever: its own ends of the queues keep them open."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run(group: list[int]) -> dict[int, Tally]:
    assert _partitions is not None
    return _partitions.run(group)
