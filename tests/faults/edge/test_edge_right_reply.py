"""No reply to the wrong person: every feed is its user's own, while Redis stalls and its connections break.

Each user has a list that no other has, and has seen other items of it: a page tells whose list and whose seen set it
was made from. All of them share a few connections to the edge, and the edge's few to Redis.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.edge.load import Load
from tests.faults.edge.raw import Connection, request
from tests.faults.night import FULL
from tests.faults.runs import rng
from tests.feed_site import Site
from tests.stack_fixture import REDIS_AWAY, Stack

REQUESTS = 1_000_000 if FULL else 20_000
USERS = 60
ITEMS = 240
STEP = ITEMS // USERS
PAGE = 6
SEEN = (1, 4, 5)  # places in a user's list
READERS, BURST = 8, 8  # connections, and requests that are sent at once on one
BURSTS = 1000  # on one connection: nginx closes it after 10,000 requests (keepalive_requests)
TIMEOUT_MS = 100


class Reader:
    """One connection that asks for the feeds of users at random, in bursts, and checks each page."""

    def __init__(self, own: Own, seed: int) -> None:
        self.sources: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._own, self._random = own, random.Random(seed)

    def run(self, requests: int, enough: Callable[[], bool]) -> None:
        """So many requests, and more until there was trouble ``enough``: a fast machine is soon through."""
        for burst in itertools.count():
            if burst * BURST >= requests and enough():
                return
            if burst % BURSTS == 0:
                connection = Connection(self._own.port, 30)
            users = self._random.choices(range(USERS), k=BURST)
            connection.send(b"".join(self._own.requests[user] for user in users))
            for user in users:
                answer = connection.answer()
                if answer.status != 200 or not self._right(answer.json(), user):
                    self.wrong.append(f"user {user} got {answer.status} {answer.body!r}")

    def _right(self, page: dict[str, object], user: int) -> bool:
        self.sources[str(page["source"])] += 1
        items = page["items"]
        assert isinstance(items, list)
        ids = [item["id"] for item in items]
        return page["user"] == f"user-{user}" and ids == self._own.pages[str(page["source"])][user]


class Own:
    """What each user is to be served: from the own list, or from the default list while Redis is away."""

    def __init__(self, site: Site) -> None:
        stack = site.stack
        names = [f"i{n}" for n in range(ITEMS)]
        site.add(*names)
        site.publish(1, " ".join(names), default=" ".join(names))
        self.port = stack.port
        self.pages: dict[str, list[list[str]]] = {"list": [], "fallback": []}
        self.requests = []
        for user in range(USERS):
            mine = names[user * STEP:] + names[:user * STEP]
            seen = {mine[place] for place in SEEN}
            site.give(f"user-{user}", 1, " ".join(mine))
            site.see(f"user-{user}", " ".join(seen))
            self.pages["list"].append([name for name in mine if name not in seen][:PAGE])
            self.pages["fallback"].append([name for name in names if name not in seen][:PAGE])
            self.requests.append(request("GET", f"/feed?n={PAGE}", stack.bearer(f"user-{user}")))
        assert len({json.dumps(page) for page in self.pages["list"]}) == USERS


class Trouble:
    """Pauses of Redis, shorter and longer than the edge waits, and connections cut, from ``with`` on to its end."""

    def __init__(self, stack: Stack) -> None:
        self.done: Counter[str] = Counter()
        self._stack, self._random = stack, rng()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Trouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def enough(self) -> bool:
        """Whether Redis was silent, and connections cut, more than ten times."""
        return min(self.done["all"], self.done["kill"]) > 10

    def _run(self) -> None:
        while not self._ended.is_set():
            what = self._random.choice(["all", "writes", "kill"])
            self.done[what] += 1
            if what == "kill":
                self._stack.redis.execute_command("CLIENT", "KILL", "USER", "edge")
            else:
                self._stack.redis.client_pause(self._random.randint(2, 2 * TIMEOUT_MS), all=what == "all")
            time.sleep(self._random.uniform(0, 0.1))


@pytest.mark.timeout(7200 if FULL else 1800)
def test_every_page_is_its_users_own_whatever_happens_to_redis(fresh_stack: Callable[..., Stack]) -> None:
    """Between beacons of others on the same connections, none of which is lost or written to another."""
    stack = fresh_stack(redis_timeout_ms=TIMEOUT_MS)
    stack.expect_log(REDIS_AWAY)
    own = Own(Site(stack))
    readers = [Reader(own, seed) for seed in range(READERS)]
    with Load(stack, clients=2) as load, Trouble(stack) as trouble:
        threads = [threading.Thread(target=reader.run, args=(REQUESTS // READERS, trouble.enough))
                   for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sources = sum((reader.sources for reader in readers), Counter())
    print(dict(sources), dict(trouble.done), dict(load.answers))
    assert [wrong for reader in readers for wrong in reader.wrong[:2]] == []
    assert sum(sources.values()) >= REQUESTS
    assert min(sources["list"], sources["fallback"], trouble.done["all"], trouble.done["kill"]) > 10
    assert (load.lost(besides=USERS * len(SEEN)), load.repeats) == ({}, [])
