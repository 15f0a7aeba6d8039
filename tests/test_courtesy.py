"""A run makes room while pages are asked for: one request to Redis at a time, and a pause as long as it took."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock

import pytest

from tests.night_site import filled, run
from tests.stack_fixture import Stack
from worker.nightly import courtesy
from worker.nightly.courtesy import Courtesy, Glance, pages_served
from worker.store.wire import Wire, pack

__all__ = ["filled"]  # a fixture

FORK = multiprocessing.get_context("fork")


class Clock:
    """Stands for time.monotonic and time.sleep."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(courtesy, "time", clock)
    return clock


def stats(pages: int) -> bytes:
    """As Redis says it, with other commands around; none of GET before the first."""
    get = b"cmdstat_get:calls=%d,usec=9,usec_per_call=0.9\r\n" % pages if pages else b""
    return b"# Commandstats\r\ncmdstat_getrange:calls=77777,usec=1\r\n" + get + b"cmdstat_hget:calls=55555,usec=1\r\n"


def test_it_makes_room_until_it_knows_that_nobody_is_there(clock: Clock) -> None:
    polite = Courtesy()
    polite.look(lambda: stats(0))
    assert polite.making_room
    clock.now += 0.06
    polite.look(lambda: stats(5))  # 83 a second
    assert not polite.making_room


@pytest.mark.parametrize(("pages", "room"), [(1019, False), (1021, True)])
def test_who_looked_earlier_knows_at_once(clock: Clock, pages: int, room: bool) -> None:
    """Here 0.2 s before the process began."""
    polite = Courtesy(earlier=Glance(1000, clock.now - 0.2))
    polite.look(lambda: stats(pages))
    assert polite.making_room == room


def test_a_moment_is_not_enough_to_know(clock: Clock) -> None:
    """One page within 5 ms says nothing; a run that is resumed begins at once."""
    polite = Courtesy(earlier=Glance(1000, clock.now - 0.005))
    polite.look(lambda: stats(1000))
    assert polite.making_room
    clock.now += 0.05
    polite.look(lambda: stats(1000))
    assert not polite.making_room


@pytest.mark.parametrize(("pages", "seconds", "room"), [(25, 0.25, True), (24, 0.25, False), (99, 1.0, False),
                                                        (100, 1.0, True), (100, 2.0, False)])
def test_a_hundred_pages_a_second_are_visitors(clock: Clock, pages: int, seconds: float, room: bool) -> None:
    polite = Courtesy()
    for now, number in ((0.0, 500), (0.06, 500), (0.06 + seconds, 500 + pages)):
        clock.now = 1000 + now
        polite.look(lambda number=number: stats(number))  # type: ignore[misc]
    assert polite.making_room == room


def test_it_looks_four_times_a_second_at_most(clock: Clock) -> None:
    polite, looks = Courtesy(), list[float]()

    def look() -> bytes:
        looks.append(round(clock.now - 1000, 2))
        return stats(0)

    for _ in range(100):
        polite.look(look)
        clock.now += 0.01
    assert looks == [0.0, pytest.approx(0.05, abs=0.02), *(pytest.approx(0.31 + n / 4, abs=0.04) for n in range(3))]


def test_counters_that_were_set_to_0_are_nobody(clock: Clock) -> None:
    polite = Courtesy()
    for pages in (1000, 2000, 3):
        polite.look(lambda pages=pages: stats(pages))  # type: ignore[misc]
        clock.now += 0.3
    assert not polite.making_room


def test_it_pauses_for_as_long_as_the_request_took(clock: Clock) -> None:
    polite = Courtesy()
    with polite:
        clock.now += 0.002
    assert clock.slept == [pytest.approx(0.002)]
    polite.making_room = False
    with polite:
        clock.now += 0.002
    assert len(clock.slept) == 1


def test_it_does_not_wait_twice_for_a_redis_that_was_away(clock: Clock) -> None:
    polite = Courtesy()
    with polite:
        clock.now += 30
    assert clock.slept == [courtesy.LONGEST_S]


def ask(lock: Lock, end: Connection, times: int) -> None:
    """Requests that take a millisecond: when each began and ended."""
    polite = Courtesy(lock)
    for _ in range(times):
        with polite:
            began = time.monotonic()
            time.sleep(0.001)
            end.send((began, time.monotonic()))


def test_processes_take_turns() -> None:
    """None begins a request while another's goes on, or the pause behind it."""
    lock, (here, there) = FORK.Lock(), FORK.Pipe()
    processes = [FORK.Process(target=ask, args=(lock, there, 20)) for _ in range(3)]
    for process in processes:
        process.start()
    spans = sorted(here.recv() for _ in range(60))
    for process in processes:
        process.join()
    assert all(later >= ended + (ended - began) for (began, ended), (later, _) in itertools.pairwise(spans))


def hold(lock: Lock, end: Connection) -> None:
    """Be stopped while it is this process' turn."""
    with Courtesy(lock):
        end.send(None)
        os.kill(os.getpid(), signal.SIGSTOP)


def test_who_is_stopped_meanwhile_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courtesy, "PATIENCE_S", 0.05)
    lock, (here, there) = FORK.Lock(), FORK.Pipe()
    process = FORK.Process(target=hold, args=(lock, there))
    process.start()
    assert here.poll(60)
    here.recv()
    began = time.monotonic()
    with Courtesy(lock):
        assert time.monotonic() - began >= 0.05
    os.kill(process.pid or 0, signal.SIGCONT)
    process.join()
    assert process.exitcode == 0
    assert lock.acquire(timeout=1), "who was stopped gave it back"


def test_each_page_counts_and_a_run_does_not(filled: Stack) -> None:
    """On a real stack; planning has a few dozen, and the edge asks a few times when the lists are new."""
    def pages() -> int:
        with Wire(filled.run) as wire:
            return pages_served(wire.exchange(pack("INFO", "commandstats"), 1)[0])

    before = pages()
    run(filled)
    filled.sync()
    after = pages()
    assert after - before < 100
    for _ in range(40):
        filled.feed("reader-3")
    assert 40 <= pages() - after < 50
