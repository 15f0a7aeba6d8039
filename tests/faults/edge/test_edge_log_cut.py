"""Redis's log cut anywhere in its last block, as by a power cut: Redis starts, and a beacon is there whole or not."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.edge_state import now_ms, written
from tests.faults.night import FULL
from tests.faults.redis_faults import kept, kill_redis, log_of
from tests.faults.runs import rng
from tests.stack_fixture import REDIS_AWAY, Stack

CUTS = 12  # at random, besides the first and the last bytes, when there is little time


def everything(ts: int) -> list[dict[str, Any]]:
    """Events that write to every kind of key."""
    kinds: list[dict[str, Any]] = [
        {"event": "impression"}, {"event": "click"}, {"event": "dwell", "ms": 1500}, {"event": "hide", "item": "a3"},
        {"event": "reaction", "kind": "like"}, {"event": "conversion", "item": "a4"},
        {"event": "impression", "item": "a3"}, {"event": "search", "query": "brød & smør"},
    ]
    return [{"item": "a2", "ts": ts, **kind} for kind in kinds]


class Killed:
    """What was in Redis and in its log before the last beacon, and after it; Redis is killed then."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.import_items(stack.item(f"a{n}") for n in range(1, 5))
        shorten_log(stack)
        assert stack.beacon("u1", [{"event": "impression", "item": "a1"}]).status_code == 204
        self.before, self.start = written(stack), kept(stack)
        self.last = everything(now_ms())
        assert stack.beacon("u1", self.last).status_code == 204
        self.after, self.end = written(stack), kept(stack)
        assert self.before != self.after
        kill_redis(stack)
        self.log = log_of(stack)
        self.block = self.log.read_bytes()[self.start:]
        assert self.block.startswith(b"*1\r\n$5\r\nMULTI\r\n")
        assert self.block.endswith(b"*1\r\n$4\r\nEXEC\r\n")
        assert self.block.count(b"MULTI") == 1

    def cuts(self) -> list[int]:
        """Sizes to which the log is cut: every one in the last block, or some."""
        if FULL:
            return list(range(self.start, self.end + 1))
        chosen = rng().sample(range(self.start + 2, self.end - 1), CUTS)
        return sorted([self.start, self.start + 1, *chosen, self.end - 1, self.end])


def shorten_log(stack: Stack) -> None:
    """Without what earlier tests wrote, which each start below would read again."""
    stack.redis.bgrewriteaof()
    stack.until(lambda: not any(stack.redis.info("persistence")[name]
                                for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled")))


@pytest.fixture
def killed(stack: Stack) -> Killed:
    """A stack whose Redis was killed after a beacon."""
    stack.expect_log(REDIS_AWAY)
    return Killed(stack)


class Copy:
    """The data of a Redis in a folder of its own, on which another one is started."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.run = folder  # nothing but Redis is there
        self.log = folder / "redis.log"
        shutil.copytree(stack.run / "redis/appendonlydir", folder / "appendonlydir")
        self._command = [*stack.part("redis").command, "--dir", str(folder), "--unixsocket", f"{folder}/sock",
                         "--logfile", str(self.log), "--pidfile", f"{folder}/pid"]
        self._password = stack.credentials.redis["worker"]

    @contextlib.contextmanager
    def started(self) -> Iterator[redis.Redis]:
        """A client of that Redis, which is killed at the end."""
        process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=f"{self.run}/sock", username="worker", password=self._password)
        try:
            Stack.until(lambda: process.poll() is not None or answers(client))
            assert process.poll() is None, self.log.read_text()
            yield client
        finally:
            client.close()
            process.kill()
            process.wait()


def answers(client: redis.Redis) -> bool:
    """Whether it does."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


class Holder:
    """What ``written`` looks at, for a Redis that is no stack's."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client


@pytest.mark.timeout(3600 if FULL else 900)
def test_a_log_cut_at_any_byte_of_its_last_block_has_the_beacon_whole_or_not_at_all(killed: Killed) -> None:
    """And Redis starts each time, by itself (aof-load-truncated)."""
    with tempfile.TemporaryDirectory(prefix="nf-") as folder:
        copy = Copy(killed.stack, Path(folder))
        log = copy.run / "appendonlydir" / killed.log.name
        for size in killed.cuts():
            log.write_bytes(killed.log.read_bytes()[:size])
            with copy.started() as client:
                found = written(Holder(client))  # type: ignore[arg-type]
            assert found == (killed.after if size == killed.end else killed.before), f"cut to {size}"
        assert "CRITICAL" not in copy.log.read_text()


def test_after_a_cut_the_edge_serves_and_takes_the_same_beacon_again(killed: Killed) -> None:
    """The stack starts as always; the beacon that was lost is sent again, and all is as if nothing had happened."""
    stack = killed.stack
    middle = killed.start + len(killed.block) // 2
    for size in range(killed.start + 1, killed.end, 50) if FULL else [middle]:
        stack.part("redis").stop()
        killed.log.write_bytes(killed.log.read_bytes()[:killed.start] + killed.block[:size - killed.start])
        stack.script("up")
        assert written(stack) == killed.before
        stack.until(lambda: stack.beacon("u1", killed.last).status_code == 204)
        assert written(stack) == killed.after
        stack.until(lambda: stack.feed("u1")["source"] != "fallback")
        assert not stack.feed("u1")["items"]
