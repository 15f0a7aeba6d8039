"""Picks a few people of the sample whose rhythm shows what the feed does for them."""

from typing import Any

import numpy as np

from scripts.sample.clock import DAY, iso
from scripts.sample.journal import IMPRESSION, Table
from scripts.sample.people import RHYTHMS, Ints, People

# label, rhythm, last visit in days ago (from, to), visits at least
PARTS = (
    ("comes every day", "daily", (0.6, 1.6), 20),
    ("weekend reader", "weekend", (0.2, 8.0), 5),
    ("looks in once a week", "weekly", (1.0, 8.0), 4),
    ("came back after three weeks", "lapsed", (19.0, 23.5), 3),
    ("was last here fifty days ago", "lapsed", (46.0, 54.0), 2),
    ("found the site this week", "newcomer", (0.1, 5.0), 2),
)


def choose_cast(
    people: People, table: Table, days_seen: Ints, names: list[str], categories: list[str], now: int
) -> list[dict[str, Any]]:
    """The sample people, each with ``user``, ``label``, ``last_visit``, ``impressions`` and ``favourites``.

    For each part the one in the middle by impressions is taken; a part that nobody fits is left out.

    Args:
        people: U rows.
        table: the events; only impressions are read.
        days_seen: (U,) on how many days each person came.
        names: user id of each row of ``people``.
        categories: names of the columns of ``people.taste``.
        now: Unix seconds.
    """
    mine = table["kind"] == IMPRESSION
    counts = np.bincount(table["user"][mine], minlength=len(names))
    last = np.zeros(len(names), np.int64)
    np.maximum.at(last, table["user"][mine], table["ts"][mine])
    away = now / DAY - last / 1000 / DAY
    cast = []
    for label, rhythm, (newest, oldest), visits in PARTS:
        fits = (
            (people.rhythm == RHYTHMS.index(rhythm))
            & (away >= newest)
            & (away <= oldest)
            & (days_seen >= visits)
        )
        rows = np.flatnonzero(fits)
        if len(rows):
            row = int(rows[np.argsort(counts[rows], kind="stable")[len(rows) // 2]])
            liked = [categories[k] for k in np.argsort(-people.taste[row], kind="stable")[:2]]
            cast.append(
                {
                    "user": names[row],
                    "label": label,
                    "last_visit": iso(last[row] / 1000),
                    "impressions": int(counts[row]),
                    "favourites": liked,
                }
            )
    return cast
