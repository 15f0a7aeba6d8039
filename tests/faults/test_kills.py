"""``kill -9`` of a run, at every step and at random moments: readers have old or new lists, the rerun does the rest."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.night import FULL, Night, night
from tests.faults.readers import Readers
from tests.faults.runs import killed, rng

__all__ = ["night"]  # a fixture

# What the run is about to ask of Redis: the moment that it is killed at -> what Redis holds then.
STEPS = {
    "SET lease#1": "nothing",
    "INCRBY token#1": "lease",
    "nightfeed_take#1": "token",
    "MULTI SET stats#1": "taken",
    "nightfeed_drop#1": "taken",
    "MULTI SET stats#7": "taken",
    "GETRANGE meta#1": "rolled up",
    "nightfeed_switch#1": "rolled up",
    "MULTI SET pool#1": "rolled up",
    "nightfeed_switch#2": "planned",
    "nightfeed_claim#1": "begun",
    "MULTI HSET list#1": "begun",
    "nightfeed_done#1": "begun",
    "nightfeed_done#2": "some done",
    "MULTI HSET list#40": "some done",
    "nightfeed_switch.* moment#1": "all done",
    "HSET runs#1": "switched",
    "ZADD top#1": "reported",
    "ZREMRANGEBYSCORE users#1": "reported",
}
PUBLISHED = ("switched", "reported")
HALVES = ["nightfeed_take#1", "MULTI SET stats#1", "nightfeed_drop#1", "MULTI SET pool#1", "MULTI HSET list#40"]
LAST = ("nightfeed_switch.* moment#1", "HSET runs#1", "ZADD top#1")
RANDOM_RUNS = 100 if FULL else 3
REQUESTS = 150 if FULL else 2


def test_killed_again_and_again_at_each_step_a_night_is_finished_all_the_same(night: Night) -> None:
    """Each run goes on with what the last one left, and is killed a step later (two, when there is little time)."""
    first, step = (0, 1) if FULL else (rng().randrange(2), 2)
    with Readers(night):
        for where, moment in list(STEPS.items())[first::step]:
            for action in ["kill", "half"] if where in HALVES else ["kill"]:
                if moment not in PUBLISHED:
                    assert killed(night.start(action, where)), f"no request was like {where}"
                    night.check_readers()
        night.finish()


@pytest.mark.timeout(1800 if FULL else 900)
def test_killed_at_a_step_a_run_leaves_old_lists_or_new_ones_and_the_next_finishes(night: Night) -> None:
    """Each step by itself, named by the request that is never sent; the last ones only when there is little time."""
    with Readers(night):
        for where, moment in STEPS.items():
            if FULL or where in LAST:
                assert kill(night, "kill", where) == moment, where
        for where in HALVES if FULL else []:
            kill(night, "half", where)


@pytest.mark.timeout(3600 if FULL else 900)
def test_killed_at_any_request_the_same_holds(night: Night, tmp_path: Path) -> None:
    """Of the requests that a run sends to Redis, some at random; at full length, many, evenly over all of them."""
    trace = tmp_path / "trace"
    _, err = (process := night.start("trace", str(trace))).communicate(timeout=60)
    assert process.returncode == 0, err
    total, random = len(trace.read_text().splitlines()), rng()
    assert total > 500
    with Readers(night):
        for part in range(REQUESTS):
            number = int(total * (part + random.random()) / REQUESTS) + 1
            kill(night, random.choice(["kill", "half"]), f"#{min(number, total - 1)}")


def kill(night: Night, action: str, where: str) -> str:
    """Kill a run at a request, run again, check everything; what the killed run had come to."""
    night.again()
    assert killed(night.start(action, where)), f"no request was like {where}"
    moment = night.moment()
    night.check_readers()
    night.finish()
    return moment


@pytest.mark.timeout(3600 if FULL else 900)
def test_killed_at_random_moments_with_several_processes(night: Night) -> None:
    """From outside: the run itself, or one of its processes, which ends the run with a message; none is left behind."""
    random, moments = rng(), Counter[str]()
    span = duration(night)
    with Readers(night):
        for _ in range(RANDOM_RUNS):
            night.again()
            process = night.start("processes", "", "--jobs", "2")
            time.sleep(random.uniform(0.1, 1) * span)
            pool = children(process.pid)
            target = random.choice([process.pid, *pool])
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
            _, err = process.communicate(timeout=60)
            assert "Traceback" not in err, err
            if target != process.pid and process.returncode:
                assert process.returncode == 1
                assert "was killed" in err, err
            night.stack.until(lambda pool=pool: not any(map(lives, pool)))
            moments[night.moment()] += 1
            night.check_readers()
            night.finish()
    print(f"killed at {dict(moments)}")


def test_processes_of_a_killed_run_end_with_it(night: Night) -> None:
    """They would wait for work for ever, each with all its memory."""
    process = night.start("processes", "", "--jobs", "2")
    pool = night.stack.until(lambda: len(found := children(process.pid)) == 2 and found)
    night.stack.until(lambda: night.moment() == "some done")
    assert any(map(lives, pool))
    process.kill()
    process.communicate(timeout=60)
    night.stack.until(lambda: not any(map(lives, pool)))
    night.finish()


def duration(night: Night) -> float:
    """Seconds that a run with several processes takes here."""
    start = time.monotonic()
    _, err = (process := night.start("processes", "", "--jobs", "2")).communicate(timeout=60)
    assert process.returncode == 0, err
    return time.monotonic() - start


def children(pid: int) -> list[int]:
    """Living processes that a run has started to make lists."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
