"""Runs that were stopped and outrun by others write nothing; of two that begin at once, one publishes."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import struct
import subprocess

import pytest

from tests.faults.night import FULL, Night, night
from tests.faults.readers import Readers
from tests.faults.runs import SECONDS, refused, run_of, stopped
from tests.night_site import TODAY, everything
from worker import keyspace

__all__ = ["night"]  # a fixture

# Where a run stops for longer than its lease lasts.
PAUSES = ["nightfeed_take#1", "GETRANGE stats#2", "MULTI SET stats#2", "nightfeed_drop#2", "nightfeed_switch#1",
          "MULTI SET pool#1", "nightfeed_claim#1", "MULTI HSET list#1", "MULTI HSET list#70", "nightfeed_done#9",
          "nightfeed_switch.* moment#1"]  # fmt: skip
SHORT = ["nightfeed_drop#2", "MULTI HSET list#70", "nightfeed_switch.* moment#1"]
TWINS = 25 if FULL else 2


@pytest.mark.timeout(900)
def test_a_run_that_was_stopped_past_its_lease_and_outrun_writes_nothing(night: Night) -> None:
    """SIGSTOP before a write; the lease ends, another run finishes the night, the first goes on: exit 1, no change."""
    with Readers(night):
        for where in PAUSES if FULL else SHORT:
            night.again()
            old = paused(night, where)
            night.stack.redis.delete(keyspace.key("lease"))  # as after 30 seconds without a heartbeat
            # With a plan of its own where lists are written: the same plan would write the same lists.
            night.check_new(night.rerun(*(["--force"] if "list" in where else [])))
            before = everything(night.stack)
            old.send_signal(signal.SIGCONT)
            assert "a newer nightly run has begun" in refused(old), where
            assert changed(before, everything(night.stack)) == set(), where


def test_a_run_that_was_stopped_does_not_spoil_the_statistics_of_later_events(night: Night) -> None:
    """Between reading a day's statistics and writing them; meanwhile others roll up late events of that day."""
    old = paused(night, "MULTI SET stats#1")
    night.stack.redis.delete(keyspace.key("lease"))
    night.rerun()
    day = sorted(night.keys("stats:*"))[0].rsplit(":", 1)[1]
    count = keyspace.partition_key("count", 5, day)
    night.stack.redis.append(count, struct.pack("<4I", *[7 | 1 << 25] * 3, 7 | 2 << 25))
    night.rerun()
    assert not night.stack.redis.exists(count)
    before = everything(night.stack)
    old.send_signal(signal.SIGCONT)
    refused(old)
    assert changed(before, everything(night.stack)) == set()


def paused(night: Night, where: str) -> subprocess.Popen[str]:
    """A run that is stopped before a request."""
    process = night.start("stop", where)
    night.stack.until(lambda: stopped(process), SECONDS)
    assert process.poll() is None, f"no request was like {where}: {process.communicate()}"
    return process


def changed(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> set[bytes]:
    """Keys that differ."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.timeout(900)
def test_of_two_runs_of_a_date_at_once_one_publishes(night: Night) -> None:
    """Started together, with a dead run's lease in the way every other time; the other one says what is going on."""
    with Readers(night):
        for turn in range(TWINS):
            night.again()
            if turn % 2:
                night.start("kill", "nightfeed_done#20").communicate(timeout=SECONDS)
            # Both are held before they look for a lease, and go on at the same moment.
            twins = [paused(night, "WATCH lease#1") for _ in range(2)]
            for twin in twins:
                twin.send_signal(signal.SIGCONT)
            ends = {twin.returncode: output for twin in twins if (output := twin.communicate(timeout=SECONDS))}
            assert sorted(ends) == [0, 1], ends
            out, err = ends[0][0], ends[1][1]
            assert "another nightly run is at work" in err or "a newer nightly run has begun" in err
            assert "Traceback" not in err
            night.check_new(run_of(subprocess.CompletedProcess([], 0, out)))


def test_yesterdays_run_after_todays_is_refused_though_it_began_before(night: Night) -> None:
    """Whether it was killed and is started again, or was only stopped."""
    yesterday = (TODAY - dt.timedelta(1)).isoformat()
    night.stack.redis.hset(keyspace.key("generation"), "date", (TODAY - dt.timedelta(2)).isoformat())
    night.start("kill", "nightfeed_done#30", "--date", yesterday).communicate(timeout=SECONDS)
    assert night.state()["begun_date"] == yesterday
    stopped_one = night.start("stop", "nightfeed_done#10", "--date", yesterday)
    with contextlib.ExitStack() as end:
        end.callback(stopped_one.kill)
        night.stack.until(lambda: stopped(stopped_one), SECONDS)
        night.stack.redis.delete(keyspace.key("lease"))
        night.check_new(night.rerun())
        before = everything(night.stack)
        again = night.start("", "", "--date", yesterday)
        assert f"the lists of {TODAY} are published already and {yesterday} is older" in refused(again)
        stopped_one.send_signal(signal.SIGCONT)
        assert "a newer nightly run has begun" in refused(stopped_one)
    assert changed(before, everything(night.stack)) <= {keyspace.key("token").encode()}
