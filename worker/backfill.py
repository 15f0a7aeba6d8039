"""A log of events into the store, chunk by chunk: back-fill and replay. Bad lines are told, good ones stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from worker.catalogue import ItemError
from worker.catalogue.text import Lines
from worker.events import Event, EventError, check_time, read_event
from worker.store.connect import Store
from worker.store.errors import StoreError
from worker.store.events import Totals, record
from worker.store.items import numbers_of

CHUNK = 100_000  # lines read before they are written: the more, the more events of a user go into one call

# The line's number in the file, from 1, and its event, or what is wrong with it.
Line = tuple[int, Event | EventError]


@dataclass
class Backfill:
    """What became of a log: events stored, lines refused, what was counted, and how long it took."""

    stored: int = 0
    refused: int = 0
    totals: Totals = field(default_factory=Totals)
    seconds: float = 0.0


def latest(stream: BinaryIO) -> int | None:
    """The time (Unix ms) of the last event of a log, lines that are not events left out; None when there is none."""
    return max((line.ts for _, line in read_lines(stream) if isinstance(line, Event)), default=None)


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """Every line of a stream as an event, or as what is wrong with it; blank lines are none."""
    lines = Lines(stream)
    while True:
        try:
            text = next(lines)
            if text.strip():
                yield lines.number, read_event(text)
        except EventError as error:
            yield lines.number, error
        except ItemError as error:
            yield lines.number, EventError(f"the line is {error}")
        except StopIteration:
            return


def backfill(store: Store, stream: BinaryIO, now_ms: int, shift_ms: int, refuse: Callable[[int, str], None],
             progress: Callable[[Backfill], None]) -> Backfill:
    """Store the events of a log, each moved in time by ``shift_ms`` and checked as at ``now_ms``.

    ``refuse`` is told every bad line, in order; ``progress`` hears after each chunk. Storing a log again changes
    nothing, so that an import that broke off is simply run again. Raises StoreError, saying how far it came.
    """
    done, started, numbers = Backfill(), time.monotonic(), dict[str, int]()
    lines = read_lines(stream)
    while chunk := list(islice(lines, CHUNK)):
        moved = [(number, _moved(line, now_ms, shift_ms, store.settings.window_days)) for number, line in chunk]
        try:
            _learn(store, numbers, moved)
            checked = [(number, _known(line, numbers)) for number, line in moved]
            events = [line for _, line in checked if isinstance(line, Event)]
            totals = record(store, events, numbers, now_ms)
        except StoreError as error:
            raise StoreError(f"{error}. {done.stored} events of the lines before {chunk[0][0]} are stored; run the "
                             f"same import again, no event counts twice") from error
        for number, line in checked:
            if isinstance(line, EventError):
                refuse(number, str(line))
        done.totals += totals
        done.stored += len(events) - totals.erased
        done.refused += len(chunk) - len(events)
        done.seconds = time.monotonic() - started
        progress(done)
    return done


def _moved(line: Event | EventError, now_ms: int, shift_ms: int, window_days: int) -> Event | EventError:
    if isinstance(line, EventError):
        return line
    try:
        check_time(line.ts + shift_ms, now_ms, window_days)
    except EventError as error:
        return EventError(f"after the shift, {error}" if shift_ms else str(error))
    return line._replace(ts=line.ts + shift_ms) if shift_ms else line


def _learn(store: Store, numbers: dict[str, int], lines: list[Line]) -> None:
    """Look up the items that are not known yet, all at once. Unknown ones are looked for again in the next chunk."""
    named = {line.item for _, line in lines if isinstance(line, Event) and line.item}
    numbers.update(numbers_of(store, list(named - numbers.keys())))


def _known(line: Event | EventError, numbers: dict[str, int]) -> Event | EventError:
    if isinstance(line, Event) and line.item and line.item not in numbers:
        return EventError(f"there is no item {line.item}: import the catalogue first")
    return line
