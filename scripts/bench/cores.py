"""Who runs on which core while a load lasts: nginx's workers on one each, Redis and the load generator on the others.

The generator stands for machines elsewhere. On two cores the kernel leaves it on nginx's for milliseconds, where the
two interrupt each other at every answer while the other core is idle.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def apart(alone: Sequence[int], others: Sequence[int]) -> Iterator[dict[str, list[int]] | None]:
    """Each process of ``alone`` on a core of its own, ``others``, this one, and what it starts, on those that are left.

    Yields the cores of both; None when none would be left: then nobody is moved. All may run anywhere again afterwards
    that this process was allowed to; processes that have ended meanwhile are left out.
    """
    allowed = os.sched_getaffinity(0)
    shared = share_out(allowed, len(alone))
    if shared is None:
        yield None
        return
    own, rest = shared
    others = [*others, os.getpid()]
    try:
        for pid, core in zip(alone, own, strict=True):
            _move(pid, [core])
        for pid in others:
            _move(pid, rest)
        yield {"alone": own, "others": rest}
    finally:
        for pid in (*alone, *others):
            _move(pid, allowed)


def share_out(cores: Collection[int], alone: int) -> tuple[list[int], list[int]] | None:
    """The first ``alone`` of the cores and the others; None when that would leave no others."""
    ordered = sorted(cores)
    return (ordered[:alone], ordered[alone:]) if len(ordered) > alone else None


def _move(pid: int, cores: Collection[int]) -> None:
    """All threads of a process; those that they start stay with them."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
