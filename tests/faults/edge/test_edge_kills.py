"""``kill -9`` of any process under load: what was acknowledged is there, and what is left goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from tests.faults.edge.load import Load, catalogue
from tests.faults.edge.processes import alive, children, main_pid
from tests.faults.edge.raw import Connection, GoneError, request
from tests.faults.night import FULL
from tests.faults.redis_faults import kill_redis
from tests.faults.runs import rng
from tests.stack_fixture import REDIS_AWAY, Stack

KILLS = 25 if FULL else 4
LOST_S = 2.0  # of acknowledged events, at most, when Redis itself is killed
# One that held the lock of shared memory dies with it; the master takes it back, and says so.
KILLED = r"exited on signal 9|was locked by"
API_AWAY = r"api\.sock failed|upstream prematurely closed|recv\(\) failed|sendmsg\(\) failed|no live upstreams"


@pytest.fixture
def edge(stack: Stack) -> Stack:
    """A stack with a catalogue."""
    catalogue(stack)
    return stack


def moment(random: random.Random) -> None:
    """Some time of load."""
    time.sleep(random.uniform(0.05, 0.5))


def test_killed_nginx_workers_lose_nothing_that_was_acknowledged(edge: Stack) -> None:
    """The master starts new ones at once; connections of the killed one break, and clients send again."""
    edge.expect_log(KILLED)
    random, master = rng(), main_pid(edge, "nginx")
    with Load(edge) as load:
        for _ in range(KILLS):
            moment(random)
            workers = children(master)
            victims = workers if random.random() < 0.2 else [random.choice(workers)]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            edge.until(lambda gone=victims: not set(gone) & set(children(master)) and len(children(master)) == 2)
    assert load.unanswered() > 0, "a kill broke nothing: there was no load"
    assert load.answers.keys() == {204}
    assert (load.lost(), load.repeats) == ({}, [])


def test_a_killed_nginx_master_loses_nothing_and_the_next_start_takes_over(edge: Stack) -> None:
    """Its workers go on serving; starting the stack again sweeps them away and begins anew."""
    random = rng()
    with Load(edge) as load:
        for _ in range(KILLS // 4):
            moment(random)
            orphans = children(master := main_pid(edge, "nginx"))
            os.kill(master, signal.SIGKILL)
            edge.until(lambda: edge.part("nginx").pid() is None)
            assert edge.http.get("/healthz").status_code == 200
            edge.script("up")
            assert not any(alive(orphan) for orphan in orphans)
    assert load.answers.keys() == {204}
    assert (load.lost(), load.repeats) == ({}, [])


class Editor:
    """The site's own system, putting one item after another through the API from ``with`` on until its end."""

    def __init__(self, stack: Stack) -> None:
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()
        self._stack = stack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Editor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        token = self._stack.credentials.api["catalogue"]
        number = 0
        while not self._ended.is_set():
            number += 1
            body = b'{"category":"c","kind":"evergreen","posted_at":"2026-11-20T08:00:00Z"}'
            data = request("PUT", f"/api/items/e{number}", {"Authorization": f"Bearer {token}"}, body)
            try:
                answer = Connection(self._stack.port, 40).ask(data)
            except GoneError:
                continue
            self.statuses.add(answer.status)
            if answer.status in (200, 201):
                self.acknowledged.append(f"e{number}")

    def lost(self) -> list[str]:
        """Items that were acknowledged and are not there."""
        return [item for item in self.acknowledged if not self._stack.redis.hexists("ids:{c}", item)]


def test_killed_gunicorn_workers_and_masters_touch_no_beacon_and_lose_no_item(edge: Stack) -> None:
    """Its master starts new workers; a killed master is an operator's to start again. The edge does not need it."""
    edge.expect_log(API_AWAY)
    random = rng()
    with Load(edge, clients=3) as load, Editor(edge) as editor:
        for which in ["worker", "worker", "master"] * (4 if FULL else 1):
            count = len(editor.acknowledged)
            edge.until(lambda seen=count: len(editor.acknowledged) > seen)
            moment(random)
            master = main_pid(edge, "api")
            if which == "worker":
                edge.until(lambda pid=master: children(pid))
                os.kill(children(master)[0], signal.SIGKILL)
            else:
                os.kill(master, signal.SIGKILL)
                edge.until(lambda: edge.part("api").pid() is None)
                edge.script("up")
        count = len(editor.acknowledged)
        edge.until(lambda: len(editor.acknowledged) > count)
    assert editor.lost() == []
    assert editor.statuses <= {200, 201, 503}
    assert (load.answers.keys(), load.unanswered()) == ({204}, 0)
    assert (load.lost(), load.repeats) == ({}, [])
    load.check_counted()


def test_a_killed_redis_loses_at_most_the_last_two_seconds(edge: Stack) -> None:
    """Started again as by an operator: nothing that is older is missing or shown again, and nothing counts twice."""
    edge.expect_log(REDIS_AWAY)
    random, kills = rng(), []
    with Load(edge) as load:
        for _ in range(KILLS // 2):
            moment(random)
            kills.append(time.time())
            kill_redis(edge)
            moment(random)
            edge.script("up")
    assert load.answers.keys() == {204, 503}
    assert load.sources["fallback"]
    for pair, at in [*load.lost().items(), *load.repeats]:
        assert any(kill - LOST_S <= at <= kill + 1 for kill in kills), f"{pair} was acknowledged long before a kill"
    load.check_counted()
