"""The simulated visits as event records: one table sorted by time, then NDJSON."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scripts.sample.people import Ints
from scripts.sample.sessions import Shown

IMPRESSION, CLICK, DWELL, REACTION, CONVERSION, HIDE, SEARCH = range(7)
DWELL_SHARE = 0.94  # the rest closed the tab before anything could be sent
COLUMNS = ("kind", "user", "item", "ts", "value")

Table = dict[str, Ints]  # COLUMNS → (N,); value: position, ms or row of the query, by kind


def tabulate(shown: Shown, searches: tuple[Ints, Ints], rng: np.random.Generator) -> Table:
    """All events of ``shown``, and searches given as (user, ts), sorted by time."""
    clicks = shown.clicked > 0
    read = clicks & (rng.random(len(clicks)) < DWELL_SHARE)
    done = shown.clicked + shown.dwell
    hours = np.zeros(len(searches[0]), np.int64)
    blocks = [
        (IMPRESSION, shown.user, shown.item, shown.ts, shown.position),
        *(
            (kind, shown.user[on], shown.item[on], ts[on], value[on])
            for kind, on, ts, value in (
                (CLICK, clicks, shown.clicked, shown.dwell),
                (DWELL, read, done, shown.dwell),
                (REACTION, shown.liked, done + 400, shown.dwell),
                (CONVERSION, shown.converted, done + 900, shown.dwell),
                (HIDE, shown.hid, shown.ts + 350, shown.dwell),
            )
        ),
        (SEARCH, searches[0], hours, searches[1], np.arange(len(hours))),
    ]
    kinds = np.concatenate([np.full(len(block[1]), block[0]) for block in blocks])
    columns = [kinds, *(np.concatenate([block[k] for block in blocks]) for k in range(1, 5))]
    order = np.lexsort((kinds, columns[3]))
    return {name: column[order] for name, column in zip(COLUMNS, columns, strict=True)}


def within(table: Table, start: int, end: int, expires: Ints) -> Table:
    """The events after ``start``, before ``end`` (Unix ms) and before ``expires`` (I,) of their item."""
    live = (table["kind"] == SEARCH) | (table["ts"] < expires[table["item"]])
    keep = (table["ts"] > start) & (table["ts"] < end) & live
    return {name: column[keep] for name, column in table.items()}


def records(table: Table, names: list[str], ids: list[str], queries: list[str]) -> Iterator[dict[str, Any]]:
    """The events as the records of the contract, in the table's order."""
    for kind, user, item, ts, value in zip(*(table[name].tolist() for name in COLUMNS), strict=True):
        if kind == SEARCH:
            yield {"user": names[user], "event": "search", "query": queries[value], "ts": ts}
            continue
        record = {"user": names[user], "event": "impression", "item": ids[item], "ts": ts}
        if kind == IMPRESSION:
            record["position"] = value
        elif kind == CLICK:
            record["event"] = "click"
        elif kind == DWELL:
            record |= {"event": "dwell", "ms": value}
        elif kind == REACTION:
            record |= {"event": "reaction", "kind": "like"}
        else:
            record["event"] = "conversion" if kind == CONVERSION else "hide"
        yield record
