"""A site with a catalogue and visits for tests of the nightly run, and what they look at afterwards."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest

from worker import keyspace
from worker.packing import unpack_list, unpack_pool
from worker.seen_set import parts_of, words_of
from worker.store.lists import list_key

TODAY = dt.datetime.now(dt.UTC).date()
DAY_MS = 86_400_000
MIDNIGHT_MS = int(dt.datetime.combine(TODAY, dt.time(), dt.UTC).timestamp() * 1000)


def stamp(ms):
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def catalogue(stack, scored=300, new=40):
    """``scored`` evergreen and timely items of the last 40 days and ``new`` ones of yesterday's last hours."""
    records = []
    for n in range(scored):
        kind = "evergreen" if n % 3 else "timely"
        posted = MIDNIGHT_MS - (2 + n % 38) * DAY_MS + n * 1000
        records.append(stack.item(f"old{n}", kind=kind, category=f"c{n % 11}", posted_at=stamp(posted)))
    for n in range(new):
        posted = MIDNIGHT_MS - 3_600_000 - n * 60_000
        records.append(stack.item(f"new{n}", kind="timely", category=f"c{n % 7}", posted_at=stamp(posted)))
    stack.import_items(records)


def visits(stack, users, seed=0, each=12, last_day=1):
    """``each`` impressions of ``users`` on random items, some clicked, ``last_day`` to ``last_day + 20`` days ago."""
    rng = np.random.default_rng(seed)
    lines = []
    for number, user in enumerate(users):
        day = MIDNIGHT_MS - (last_day + number % 20) * DAY_MS
        for place, n in enumerate(rng.choice(300, each, replace=False)):
            event = {"user": user, "item": f"old{n}", "ts": int(day + 40_000 + place * 1000)}
            lines.append({**event, "event": "impression", "position": place})
            if rng.random() < 0.2:
                lines.append({**event, "event": "click", "ts": event["ts"] + 500})
    # Items may be younger than the visit: the log does not have to be possible, only well-formed.
    done = stack.worker("events", "import", "-", input="".join(json.dumps(line) + "\n" for line in lines))
    assert "refused 0" in done.stdout + done.stderr


def run(stack, *args, check=True):
    """``worker nightly --json``: its report, or with ``check=False`` the finished process."""
    done = stack.worker("nightly", "--json", *args, check=check)
    return json.loads(done.stdout.splitlines()[-1]) if check else done


def lists(stack, users):
    """Published item numbers and the raw entries by user."""
    found = {}
    for user in users:
        raw = stack.redis.hget(list_key(user), user)
        if raw:
            published = unpack_list(raw)
            pool = unpack_pool(stack.redis.get(keyspace.key("pool", published.generation)))
            found[user] = pool.items[published.positions].tolist()
    return found


def seen(stack, user):
    """Item numbers in a user's seen set."""
    return {parts_of(word)[0] for word in words_of(stack.redis.get(keyspace.user_key("seen", user))).tolist()}


def everything(stack):
    """Every key and its dump."""
    return {key: stack.redis.dump(key) for key in stack.redis.scan_iter(count=1000)}


USERS = [f"reader-{n}" for n in range(160)]


@pytest.fixture
def filled(stack):
    """A stack with a catalogue and the visits of 160 people."""
    catalogue(stack)
    visits(stack, USERS)
    return stack
