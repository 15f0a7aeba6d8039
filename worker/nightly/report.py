"""What a run tells about itself: partial reports of partitions, added up to one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Tally:
    """Counts over finished lists, of one partition or of all. Times are seconds of work in each stage."""

    users: int = 0
    lists: int = 0
    entries: int = 0
    new_entries: int = 0
    repeats: int = 0
    spacing_violations: int = 0
    spacing_narrowed: int = 0
    underfilled: int = 0
    missed_evergreen: int = 0
    read_s: float = 0.0
    compose_s: float = 0.0
    check_s: float = 0.0
    publish_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for entry in dataclasses.fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds that the block takes to the field ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    result = Tally()
    for tally in tallies:
        result.add(tally)
    return result


def report(date: dt.date, generation: int, counts: tuple[int, int], tally: Tally, seconds: float,
           **more: Any) -> dict[str, Any]:
    """A run's report as it is printed and recorded; ``counts`` are the sizes of top and new content."""
    stages = {name.removesuffix("_s"): round(value, 6) for name, value in dataclasses.asdict(tally).items()
              if name.endswith("_s")}
    return {
        "date": date.isoformat(),
        "generation": generation,
        "users": tally.users,
        "lists": tally.lists,
        "top": counts[0],
        "new": counts[1],
        "repeats": tally.repeats,
        "spacing_violations": tally.spacing_violations,
        "spacing_narrowed": tally.spacing_narrowed,
        "underfilled": tally.underfilled,
        "new_share": round(tally.new_entries / tally.entries, 4) if tally.entries else 0.0,
        "missed_evergreen": tally.missed_evergreen,
        "seconds": round(seconds, 3),
        "users_per_second": round(tally.users / seconds) if seconds > 0 else 0,
        "stages": stages,
        **more,
    }
