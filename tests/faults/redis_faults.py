"""What happens to Redis: it is stopped, killed, paused, filled, and its disk is full; and how each of it ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.stack_fixture import Stack

JUNK = "junk:{c}"
STEP = 4096


def redis_pid(stack: Stack) -> int:
    """The process of the stack's Redis."""
    pid = stack.part("redis").pid()
    assert pid is not None
    return pid


def kill_redis(stack: Stack) -> None:
    """kill -9, and until it is gone."""
    stack.signal("redis", signal.SIGKILL)
    stack.until(lambda: stack.part("redis").pid() is None)


def lose(stack: Stack, size: int) -> None:
    """Cut the killed Redis's log to ``size`` bytes: what it acknowledged since is lost, as in its last two seconds."""
    os.truncate(log_of(stack), size)


def log_of(stack: Stack) -> Path:
    """The append-only file that grows."""
    return max((stack.run / "redis/appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))


def kept(stack: Stack) -> int:
    """Size of the log when all that was acknowledged is in it."""
    time.sleep(0.2)
    return log_of(stack).stat().st_size


@contextmanager
def full_memory(stack: Stack) -> Iterator[None]:
    """Redis holds as much as it may: every write that needs memory is refused."""
    for size in (1 << 20, STEP, 64):
        while stored(stack, b"x" * size):
            pass
    yield
    stack.redis.delete(JUNK)


def stored(stack: Stack, more: bytes) -> bool:
    """Whether there was room for it."""
    try:
        stack.redis.rpush(JUNK, more)
    except redis.OutOfMemoryError:
        return False
    return True


def restart_redis(stack: Stack, *options: str) -> subprocess.Popen[bytes]:
    """Redis with options, as a child of this process that a limit on the size of its files gives errors, no signal."""
    part = stack.part("redis")
    part.stop()
    # Python ignores SIGXFSZ, and so does a child that keeps its signals: then a write fails with EFBIG.
    process = subprocess.Popen([*part.command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True, restore_signals=False)
    part.pid_file.write_text(f"{process.pid}\n")
    stack.until(lambda: answers(stack))
    return process


def answers(stack: Stack) -> bool:
    """Whether Redis does."""
    try:
        return bool(stack.redis.ping())
    except redis.RedisError:
        return False


@contextmanager
def full_disk(stack: Stack, room: int = 0) -> Iterator[None]:
    """Only ``room`` bytes more fit into Redis's log, which for Redis is what a full disk is: its write fails."""
    pid = redis_pid(stack)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log_of(stack).stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
