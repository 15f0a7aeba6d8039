"""One night on 160 people, put back as it was before each fault; what readers may see of it, and what must be left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.runs import Row, run_of
from tests.night_site import USERS, catalogue, everything, run, visits
from tests.stack_fixture import ROOT, WORKER, Stack, finished
from tests.test_rollup import totals, true_totals
from worker import keyspace
from worker.packing import unpack_list, unpack_pool
from worker.store import generations
from worker.store.connect import Store
from worker.store.lists import list_key

FULL = os.environ.get("NIGHTFEED_FAULTS") == "full"
CHUNK = {"NIGHTFEED_CHUNK_USERS": "1"}  # one partition after another
READERS = USERS[::7]
PAGE = 100
PLAN_KEYS = ("pool", "default", "older", "plan")


@dataclass
class Reference:
    """``before`` each fault: keys with dump and lifetime; lists and first pages of the old lists and of the new ones.

    New lists are without their generation, which differs from run to run.
    """

    before: dict[bytes, tuple[bytes, int]]
    old: dict[str, bytes]
    old_pages: dict[str, list[str]]
    new: dict[str, bytes]
    new_pool: bytes
    new_pages: dict[str, list[str]]
    statistics: dict[int, list[int]]
    seconds: float


class Night:
    """A stack whose old lists are published and whose next run is due."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.reading = threading.Lock()  # of who reads while the night is put back
        catalogue(stack)
        visits(stack, USERS)
        run(stack, "--seed", "5")
        visits(stack, USERS, seed=1, each=3)
        before, old, old_pages = self.saved(), self.lists(), self.pages()
        start = time.monotonic()
        generation = self.rerun()["generation"]
        seconds = time.monotonic() - start
        new = {user: anonymous(raw) for user, raw in self.lists().items()}
        pool = stack.redis.get(keyspace.key("pool", generation))
        self.reference = Reference(before, old, old_pages, new, without_generation(pool), self.pages(),
                                   true_totals(stack), seconds)
        assert totals(stack) == self.reference.statistics
        assert all(anonymous(old[user]) != new[user] for user in USERS), "a new list can be told from the old one"
        assert all(old_pages[user] != self.reference.new_pages[user] for user in READERS)

    def again(self) -> None:
        """As it was before the run; generations are never used twice, as the edge keeps their pools."""
        with self.reading:
            self._put_back()

    def _put_back(self) -> None:
        self.stack.empty()
        pipe = self.stack.redis.pipeline(transaction=False)
        for key, (dump, lifetime) in self.reference.before.items():
            pipe.restore(key, max(lifetime, 0), dump, replace=True)
        pipe.execute()
        self.stack.redis.set(keyspace.key("token"), int(time.time() * 10) % 2**31)
        self.stack.sync()
        self.stack.until(lambda: all(self.page(user) == self.reference.old_pages[user] for user in READERS[:4]))

    def saved(self) -> dict[bytes, tuple[bytes, int]]:
        """Every key with its dump and its lifetime in ms, at most 0 for ever."""
        return {key: (dump, self.stack.redis.pttl(key)) for key, dump in everything(self.stack).items()}

    # --- looking ------------------------------------------------------------------------------------------------

    def lists(self) -> dict[str, bytes]:
        """Raw lists of all."""
        return {user: self.stack.redis.hget(list_key(user), user) for user in USERS}

    def pages(self) -> dict[str, list[str]]:
        """First pages of some, once the edge serves what is published."""
        state = self.state()
        self.stack.until(lambda: self.stack.feed(USERS[0])["generation"] == int(state["generation"]))
        self.stack.sync()
        return {user: self.page(user) for user in READERS}

    def page(self, user: str) -> list[str]:
        """Ids of the first page."""
        return [item["id"] for item in self.stack.feed(user, PAGE)["items"]]

    def store(self) -> Store:
        """The store as the worker has it; it does not mind when Redis is out of order."""
        return Store(self.stack.redis, self.stack.settings, self.stack.run)

    def state(self) -> dict[str, str]:
        """The generation hash."""
        return generations.state(self.store())

    def done(self, generation: int) -> int:
        """How many partitions are done."""
        return len(generations.done_partitions(self.store(), generation))

    def keys(self, pattern: str) -> set[str]:
        """Keys that match."""
        return {key.decode() for key in self.stack.redis.scan_iter(match=pattern, count=1000)}

    def moment(self) -> str:
        """What the run that was ended had come to, as a name."""
        redis, state = self.stack.redis, self.state()
        old = int(self.old_generation())
        if int(state["generation"]) > old:
            named = redis.hget(keyspace.key("runs"), state["date"]) or b""
            return "reported" if b'"generation":%s,' % state["generation"].encode() in named else "switched"
        if int(state.get("begun", 0)) > old:
            done = self.done(int(state["begun"]))
            return {0: "begun", keyspace.PARTITIONS: "all done"}.get(done, "some done")
        token = int(redis.get(keyspace.key("token")) or 0)
        if self.keys("pool:*") - {keyspace.key("pool", old)}:
            return "planned"
        if self.keys("taken:*"):
            return "taken"
        if not self.keys("count:*"):
            return "rolled up"
        return "token" if token != self.first_token() else "lease" if redis.exists(keyspace.key("lease")) else "nothing"

    def old_generation(self) -> int:
        """The generation of the old lists."""
        return int(unpack_list(self.reference.old[USERS[0]]).generation)

    def first_token(self) -> int:
        """The newest token before the run."""
        return self._token

    def remember_token(self) -> None:
        """Take the newest token as the one before the run."""
        self._token = int(self.stack.redis.get(keyspace.key("token")) or 0)

    # --- running ------------------------------------------------------------------------------------------------

    def start(self, action: str = "", where: str = "", *args: str) -> subprocess.Popen[str]:
        """A run in the background, one that something happens to when ``action`` says so."""
        self.remember_token()
        command = [sys.executable, "-m", "tests.faults.at_request", action, where] if action else [str(WORKER)]
        return subprocess.Popen([*command, "nightly", "--json", *args], env={**self.stack.environ(), **CHUNK}, cwd=ROOT,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def rerun(self, *args: str) -> Row:
        """A run to its end, and its report."""
        return run_of(finished([str(WORKER), "nightly", "--json", *args], {**self.stack.environ(), **CHUNK}))

    # --- what must hold -----------------------------------------------------------------------------------------

    def check_readers(self) -> None:
        """Each list is the user's old or new one, and its pool is there."""
        for user, raw in self.lists().items():
            self.check_list(user, raw)

    def check_list(self, user: str, raw: bytes, client: Any = None) -> None:
        """One list is the old one, or the new one; ``client`` asks for its pool."""
        if raw != self.reference.old[user]:
            assert anonymous(raw) == self.reference.new[user], f"{user} has neither the old list nor the new one"
            pool = (client or self.stack.redis).get(keyspace.key("pool", unpack_list(raw).generation))
            assert pool is not None, f"the pool of the list of {user} is missing"
            assert without_generation(pool) == self.reference.new_pool

    def finish(self) -> Row:
        """Run again after a fault: only what is missing is done, and then all is as after an undisturbed run."""
        state = self.state()
        begun = int(state.get("begun", 0)) if int(state.get("begun", 0)) != int(state["generation"]) else 0
        done = self.done(begun) if begun else 0
        report = self.rerun()
        if begun:
            assert (report["generation"], report["resumed_partitions"]) == (begun, done)
        self.check_new(report)
        return report

    def check_new(self, report: Row) -> None:
        """Everything is as after an undisturbed run that gave ``report``."""
        assert (report["users"], report["lists"], report["repeats"]) == (160, 160, 0)
        raw = self.lists()
        assert {user: anonymous(each) for user, each in raw.items()} == self.reference.new
        assert {unpack_list(each).generation for each in raw.values()} == {report["generation"]}
        assert int(self.state()["generation"]) == report["generation"]
        assert totals(self.stack) == self.reference.statistics
        self.check_tidy()

    def check_tidy(self) -> None:
        """No counters half taken, no lease, no plan that the history does not name."""
        state = self.state()
        assert not self.keys("taken:*")
        assert not self.keys("lease:*")
        kept = {keyspace.key(name, number) for name in PLAN_KEYS for number in state["history"].split()}
        assert set().union(*(self.keys(f"{name}:*") for name in PLAN_KEYS)) <= kept
        assert len(state["history"].split()) <= generations.KEPT


def anonymous(raw: bytes) -> bytes:
    """A list without its generation; the header is <BBHII."""
    return raw[:4] + raw[8:]


def without_generation(pool: bytes) -> bytes:
    """A pool without its generation; the header is <IIIIIIII."""
    assert unpack_pool(pool).generation
    return pool[:4] + pool[8:]


_nights: dict[str, Night] = {}


@pytest.fixture
def night(stack: Stack) -> Night:
    """The night on the session's stack, before the run."""
    name = str(stack.run)
    if name not in _nights:
        _nights[name] = Night(stack)
    _nights[name].again()
    return _nights[name]
