"""Redis restarted, paused, full or with a full disk in mid-run: the run waits, or says why not; the next heals."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
import redis

from tests.faults.night import FULL, Night, night
from tests.faults.readers import Readers
from tests.faults.redis_faults import (
    full_disk,
    full_memory,
    kept,
    kill_redis,
    lose,
    restart_redis,
)
from tests.faults.runs import SECONDS, refused, run_of, stopped
from tests.stack_fixture import Stack

__all__ = ["night"]  # a fixture

LOG = "."
PLACES = ["nightfeed_take#1", "MULTI SET stats#3", "MULTI SET pool#1", "MULTI HSET list#60", "nightfeed_done#20",
          "nightfeed_switch.* moment#1", "HSET runs#1"]  # fmt: skip
SHORT = ["MULTI SET stats#3", "MULTI HSET list#60"]


@contextlib.contextmanager
def held(night: Night, where: str) -> Iterator[subprocess.Popen[str]]:
    """A run that waits before a request, and goes on at the end of the block."""
    process = night.start("stop", where)
    night.stack.until(lambda: stopped(process), SECONDS)
    assert process.poll() is None, process.communicate()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)


def ended(night: Night, process: subprocess.Popen[str]) -> None:
    """The run has finished the night, or said why not; then the next one does. Afterwards all is as it should be."""
    out, err = process.communicate(timeout=2 * SECONDS)
    assert "Traceback" not in err, err
    if process.returncode:
        assert process.returncode == 1
        assert "Redis" in err.splitlines()[-1], err
        night.check_readers()
        night.finish()
    else:
        night.check_new(run_of(subprocess.CompletedProcess([], 0, out)))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("how", "where"), [("in order", SHORT[0]), ("killed", SHORT[1])] if not FULL else [
    (how, where) for how in ("in order", "killed") for where in PLACES])
def test_redis_restarted_in_mid_run(night: Night, where: str, how: str) -> None:
    """Nothing that is published is lost, and the night is finished."""
    night.stack.expect_log(LOG)
    with Readers(night, away=True):
        with held(night, where) as process:
            if how == "killed":
                kill_redis(night.stack)
                night.stack.script("up")
            else:
                night.stack.restart("redis")
        ended(night, process)
    night.stack.until(lambda: served(night))


def served(night: Night) -> bool:
    """Whether the edge serves the new lists again."""
    return night.stack.feed("reader-0")["source"] == "list"


# The run is held at the first place, and again at the second; what Redis was told in between, it loses.
LOST = {
    "the token": ("INFO server#1", "nightfeed_take#1"),
    "what was taken": ("nightfeed_take#1", "MULTI SET stats#1"),
    "statistics": ("MULTI SET stats#1", "nightfeed_drop#1"),
    "the plan": ("MULTI SET pool#1", "nightfeed_claim#1"),
    "lists": ("MULTI HSET list#50", "nightfeed_done#22"),
    "done partitions": ("nightfeed_done#50", "nightfeed_switch.* moment#1"),
    "the switch": ("nightfeed_switch.* moment#1", "ZADD top#1"),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", LOST if FULL else ["statistics", "the plan", "done partitions"])
def test_redis_killed_and_what_it_had_acknowledged_last_lost(night: Night, what: str) -> None:
    """The run does not go on as if nothing had happened: no counter is added twice, no list is without its pool."""
    night.stack.expect_log(LOG)
    first, second = LOST[what]
    process = night.start("stop", f"{first} {second}")
    night.stack.until(lambda: stopped(process), SECONDS)
    size = kept(night.stack)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.05)
    night.stack.until(lambda: stopped(process), SECONDS)
    assert process.poll() is None, process.communicate()
    kept(night.stack)
    kill_redis(night.stack)
    lose(night.stack, size)
    night.stack.script("up")
    process.send_signal(signal.SIGCONT)
    ended(night, process)


def test_redis_paused_for_five_seconds_is_waited_for(night: Night) -> None:
    """Feeds go on from what the edge knows; the run then finishes as if nothing had been."""
    night.stack.expect_log(LOG)
    with Readers(night, away=True) as readers:
        with held(night, "MULTI HSET list#60") as process:
            night.stack.signal("redis", signal.SIGSTOP)
        time.sleep(5)
        night.stack.signal("redis", signal.SIGCONT)
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
    assert readers.fallbacks
    night.check_new(run_of(subprocess.CompletedProcess([], 0, out)))


@pytest.fixture
def small(night: Night) -> Iterator[Night]:
    """The night on a Redis that may hold little, and whose files can be limited."""
    night.stack.expect_log(LOG)
    process = restart_redis(night.stack, "--maxmemory", "24mb")
    night.stack.until(lambda: served(night))
    yield night
    night.stack.part("redis").stop()
    process.wait(10)
    night.stack.script("up")


@pytest.mark.timeout(900)
def test_a_full_redis_ends_the_run_with_the_reason_and_feeds_go_on(small: Night) -> None:
    """At the roll-up, and half-way through the lists; with room again the next run finishes."""
    for where in [*SHORT, "MULTI SET pool#1"] if FULL else SHORT[1:]:
        small.again()
        with Readers(small), contextlib.ExitStack() as full:
            with held(small, where) as process:
                full.enter_context(full_memory(small.stack))
            message = refused(process)
            assert "maxmemory" in message or "full" in message
            small.check_readers()
            assert int(small.state()["generation"]) == small.old_generation()
        small.finish()


@pytest.mark.timeout(900)
def test_a_full_disk_is_waited_for_or_ends_the_run_with_the_reason(small: Night) -> None:
    """Reads go on; once there is room, the run, or the next one, finishes the night."""
    for where in [*SHORT, "MULTI SET pool#1"] if FULL else SHORT[1:]:
        small.again()
        with Readers(small), contextlib.ExitStack() as full:
            with held(small, where) as process:
                full.enter_context(full_disk(small.stack))
                small.stack.until(lambda: refuses(small.stack))
            time.sleep(3)
            small.check_readers()
            assert int(small.state()["generation"]) == small.old_generation()
            if process.poll() is not None:
                assert "disk" in refused(process) or "MISCONF" in refused(process)
            full.close()
            small.stack.until(lambda: not refuses(small.stack))
            ended(small, process)


def refuses(stack: Stack) -> bool:
    """Whether Redis refuses writes."""
    try:
        stack.redis.set("probe:{c}", 1)
        stack.redis.delete("probe:{c}")
    except redis.ResponseError as error:
        return "MISCONF" in str(error)
    return False
