"""Runs partitions in this process, or in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from worker.config import Settings
from worker.nightly.partition import Partitions, since_ms
from worker.nightly.plan import Plan
from worker.nightly.report import Tally
from worker.store import seen
from worker.store.connect import Store, open_store

Progress = Callable[[int, int], None]

_partitions: Partitions | None = None  # of a pool process, set once when it starts
WORTH_A_PROCESS = 10_000  # users; below, starting a process takes longer than it saves


def run_partitions(store: Store, plan: Plan, token: int | None, buckets: list[int], partitions: Sequence[int],
                   jobs: int, progress: Progress) -> list[Tally]:
    """Tallies of groups of ``partitions``, as they are finished; the first error ends the others.

    ``progress`` is called after each group with its number of partitions and its users.
    """
    counts = seen.count_users(store, since_ms(plan.moment, store.settings.window_days))
    groups = grouped(partitions, counts, store.settings.chunk_users)
    jobs = min(jobs, len(groups), max(1, sum(counts) // WORTH_A_PROCESS))
    if jobs <= 1:
        return _here(Partitions(store, plan, token, buckets), groups, progress)
    tallies: list[Tally] = []
    # Fresh processes rather than forks: a fork would share the Redis connection and the lease's thread.
    context = multiprocessing.get_context("spawn")
    start = (store.run, store.settings, plan, token, buckets)
    with ProcessPoolExecutor(jobs, context, _open, start) as executor:
        futures = {executor.submit(_run, group): group for group in groups}
        try:
            for future in as_completed(futures):
                tallies.append(future.result())
                progress(len(futures[future]), tallies[-1].users)
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return tallies


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


def _here(work: Partitions, groups: list[list[int]], progress: Progress) -> list[Tally]:
    tallies = []
    for group in groups:
        tallies.append(work.run(group))
        progress(len(group), tallies[-1].users)
    return tallies


def _open(run: Path, settings: Settings, plan: Plan, token: int | None, buckets: list[int]) -> None:
    global _partitions
    _partitions = Partitions(open_store(run, settings), plan, token, buckets)


def _run(group: list[int]) -> Tally:
    assert _partitions is not None
    return _partitions.run(group)
