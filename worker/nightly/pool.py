"""Runs partitions in this process, or in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from worker.config import Settings
from worker.nightly.partition import Partition
from worker.nightly.plan import Plan
from worker.nightly.report import Tally
from worker.store.connect import Store, open_store

_partition: Partition | None = None  # of a pool process, set once when it starts


def run_partitions(store: Store, plan: Plan, token: int | None, buckets: list[int], partitions: Sequence[int],
                   jobs: int, progress: Callable[[int, int], None]) -> list[Tally]:
    """Tallies of ``partitions``, in the order they were finished; the first error ends the others."""
    if jobs <= 1 or len(partitions) <= 1:
        return _here(Partition(store, plan, token, buckets), partitions, progress)
    tallies: list[Tally] = []
    # Fresh processes rather than forks: a fork would share the Redis connection and the lease's thread.
    context = multiprocessing.get_context("spawn")
    start = (store.run, store.settings, plan, token, buckets)
    with ProcessPoolExecutor(jobs, context, _open, start) as executor:
        futures = [executor.submit(_one, partition) for partition in partitions]
        try:
            for future in as_completed(futures):
                tallies.append(future.result())
                progress(len(tallies), sum(tally.users for tally in tallies))
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return tallies


def _here(partition: Partition, partitions: Sequence[int], progress: Callable[[int, int], None]) -> list[Tally]:
    tallies = []
    for number in partitions:
        tallies.append(partition.run(number))
        progress(len(tallies), sum(tally.users for tally in tallies))
    return tallies


def _open(run: Path, settings: Settings, plan: Plan, token: int | None, buckets: list[int]) -> None:
    global _partition
    _partition = Partition(open_store(run, settings), plan, token, buckets)


def _one(number: int) -> Tally:
    assert _partition is not None
    return _partition.run(number)
