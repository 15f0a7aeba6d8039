"""A file's lines into the catalogue: the good ones in batches, the bad ones counted and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.catalogue import Item, Line
from worker.store.connect import Store
from worker.store.items import BATCH, put


@dataclass
class Imported:
    """What became of the lines of a file: counts, and the first errors as (line, message)."""

    imported: int = 0
    refused: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)


def put_lines(store: Store, lines: Iterable[Line], keep_errors: int | None = None) -> Imported:
    """Store the good ones of a file's lines, batch by batch; of the bad ones keep the first ``keep_errors``."""
    result, batch = Imported(), []
    for number, line in lines:
        if isinstance(line, Item):
            batch.append(line)
            if len(batch) == BATCH:
                result.imported += len(put(store, batch))
                batch = []
            continue
        result.refused += 1
        if keep_errors is None or len(result.errors) < keep_errors:
            result.errors.append((number, str(line)))
    result.imported += len(put(store, batch))
    return result
