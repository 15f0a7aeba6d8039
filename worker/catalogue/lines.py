"""Files of records, line by line: NDJSON here, CSV in ``table``. A bad line is a result, not an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from worker.catalogue.item import Item, ItemError
from worker.catalogue.parse import parse
from worker.catalogue.table import read_csv
from worker.catalogue.text import MAX_RECORD, Lines

__all__ = ["FORMATS", "MAX_RECORD", "Line", "detect", "read", "read_csv", "read_ndjson"]

# The physical line a record begins on (from 1), and the item, or what is wrong with it.
Line = tuple[int, Item | ItemError]

FORMATS = ("ndjson", "csv")
_ENDINGS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv"}


def detect(name: str, start: bytes) -> str:
    """The format of a file called ``name`` that begins with ``start``: by its ending, else by its first character."""
    for ending, form in _ENDINGS.items():
        if name.lower().endswith(ending):
            return form
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "csv" if first not in (b"{", b"[", b"") else "ndjson"


def read(stream: BinaryIO, form: str) -> Iterator[Line]:
    """Every record of a stream in the format ``form`` (one of FORMATS), good or bad, in order; blank lines are none."""
    return read_csv(stream) if form == "csv" else read_ndjson(stream)


def read_ndjson(stream: BinaryIO) -> Iterator[Line]:
    """One JSON record a line."""
    lines = Lines(stream)
    while True:
        try:
            line = next(lines)
            if line.strip():
                yield lines.number, parse(line)
        except ItemError as error:
            yield lines.number, error
        except StopIteration:
            return
