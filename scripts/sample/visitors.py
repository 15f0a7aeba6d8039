"""Simulates the visitors of a catalogue over the last weeks and writes what they did as NDJSON events.

python scripts/sample/visitors.py --catalogue items.ndjson --users 3000 --days 60 --seed 7 --out events.ndjson
"""

import argparse
import re
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import orjson

from scripts.sample import ndjson
from scripts.sample.cast import choose_cast
from scripts.sample.clock import DAY, parse_now
from scripts.sample.hidden import quality
from scripts.sample.journal import IMPRESSION, Table, records, tabulate, within
from scripts.sample.people import Ints, People, Visits, make_people, make_visits
from scripts.sample.sessions import Items, simulate

NEVER = 2**62
MARGIN = 7200  # seconds: the first event is so much younger than the window, for there is time until it is imported
SEARCH_RATE = 0.05  # searches a visit
_WORD = re.compile(r"[^\W\d_]{5,}")
_WEAK = frozenset(
    ("about", "after", "again", "against", "before", "every", "first", "their", "these", "until", "without")
)


@dataclass(frozen=True)
class Log:
    """One simulated log; ``names``, ``ids``, ``queries`` and ``categories`` give its numbers their text."""

    people: People
    table: Table
    names: list[str]
    ids: list[str]
    queries: list[str]
    categories: list[str]


def to_arrays(catalogue: list[dict[str, Any]], categories: list[str], seed: int) -> Items:
    """The records of a catalogue as arrays, with the hidden quality of each item."""
    rank = {name: number for number, name in enumerate(categories)}
    return Items(
        category=np.array([rank[item["category"]] for item in catalogue]),
        timely=np.array([item["kind"] == "timely" for item in catalogue]),
        posted=np.array([_ms(item["posted_at"]) for item in catalogue]),
        expires=np.array([_ms(item.get("expires_at")) for item in catalogue]),
        hidden=np.array([bool(item.get("hidden")) for item in catalogue]),
        quality=np.array([quality(seed, item["id"]) for item in catalogue]),
    )


def _ms(text: str | None) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000 if text else NEVER


def make_log(catalogue: list[dict[str, Any]], users: int, days: int, seed: int, now: int) -> Log:
    """The log of ``users`` people over the ``days`` before ``now`` (Unix seconds), fixed by ``seed``."""
    rng = np.random.default_rng([seed, users, days])
    categories = sorted({item["category"] for item in catalogue})
    items = to_arrays(catalogue, categories, seed)
    people = make_people(users, np.bincount(items.category) / len(catalogue), rng)
    first = (now // DAY - days) * DAY
    visits = make_visits(people, first + DAY * np.arange(days + 1), rng)
    shown = simulate(items, people, visits, rng)
    searches = _searches(visits, rng)
    queries = [_query(catalogue, items, people, int(user), rng) for user in searches[0]]
    table = tabulate(shown, searches, rng)
    table = within(table, (now - days * DAY + MARGIN) * 1000, (now - 60) * 1000, items.expires)
    names = [f"reader-{number:04d}" for number in range(1, users + 1)]
    return Log(people, table, names, [item["id"] for item in catalogue], queries, categories)


def _searches(visits: Visits, rng: np.random.Generator) -> tuple[Ints, Ints]:
    some = np.flatnonzero(rng.random(len(visits.user)) < SEARCH_RATE)
    return visits.user[some], visits.start[some] + rng.integers(500, 60_000, len(some))


def _query(
    catalogue: list[dict[str, Any]], items: Items, people: People, user: int, rng: np.random.Generator
) -> str:
    """One or two words from the title of an item of a category that the person likes."""
    favourite = int(np.argmax(people.taste[user] + rng.gumbel(size=people.taste.shape[1])))
    item = catalogue[int(rng.choice(np.flatnonzero(items.category == favourite)))]
    title = str(item.get("data", {}).get("title", "")).lower()
    words = [word for word in _WORD.findall(title) if word not in _WEAK] or [item["category"]]
    at = int(rng.integers(0, len(words)))
    return " ".join(words[at : at + int(rng.integers(1, 3))])


def days_seen(table: Table, users: int) -> Ints:
    """(U,) on how many UTC days each person had an impression."""
    mine = table["kind"] == IMPRESSION
    pairs = np.unique(np.stack([table["user"][mine], table["ts"][mine] // (DAY * 1000)]), axis=1)
    return np.bincount(pairs[0], minlength=users)


def _options(arguments: list[str] | None) -> tuple[argparse.Namespace, list[dict[str, Any]], int]:
    parser = argparse.ArgumentParser(description="Simulate the visitors of a sample catalogue.")
    parser.add_argument("--catalogue", type=Path, required=True, metavar="FILE", help="NDJSON items")
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument(
        "--seed", type=int, default=7, help="the catalogue's own seed, so that quality agrees"
    )
    parser.add_argument("--now", help="when the log ends, e.g. 2026-11-21T10:00:00Z (default: now)")
    parser.add_argument(
        "--out", default="-", metavar="FILE|-", help="the NDJSON events (default: standard output)"
    )
    parser.add_argument("--people", type=Path, metavar="FILE", help="also write a few sample people as JSON")
    options = parser.parse_args(arguments)
    if options.users < 1 or options.days < 1:
        parser.error("--users and --days: at least 1")
    try:
        return options, ndjson.read(options.catalogue), parse_now(options.now)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when done, 2 for wrong arguments."""
    options, catalogue, now = _options(arguments)
    log = make_log(catalogue, options.users, options.days, options.seed, now)
    events = records(log.table, log.names, log.ids, log.queries)
    if options.out == "-":
        ndjson.write(sys.stdout.buffer, events)
    else:
        ndjson.save(Path(options.out), events)
    if options.people:
        came = days_seen(log.table, options.users)
        cast = choose_cast(log.people, log.table, came, log.names, log.categories, now)
        options.people.write_bytes(orjson.dumps({"people": cast}, option=orjson.OPT_INDENT_2) + b"\n")
    print(orjson.dumps({"users": options.users, "events": len(log.table["ts"])}).decode(), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
