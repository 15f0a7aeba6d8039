"""Redis at the end of its memory or of its disk, under load: beacons are told to wait, feeds go on, and it passes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.edge.client import BATCH
from tests.faults.edge.load import Load, catalogue
from tests.faults.redis_faults import full_disk, full_memory, kill_redis, restart_redis, stored
from tests.faults.runs import rng
from tests.stack_fixture import REDIS_AWAY, Stack

CLIENTS = 4
LOST_S = 2.0
SYS_ADMIN = 1 << 21  # the capability to mount


def test_at_maxmemory_beacons_are_503_whole_and_feeds_go_on(fresh_stack: Callable[..., Stack]) -> None:
    """Nothing is stored half, nothing is evicted; with room again all of it is taken."""
    stack = fresh_stack(redis_maxmemory="16mb")
    stack.expect_log("failed to ask Redis: .*OOM")
    catalogue(stack)
    with Load(stack, CLIENTS) as load:
        load.wait(204)
        with full_memory(stack):
            top_up(stack, lambda: load.answers[503] > 10 * CLIENTS)
        load.wait(204)
    assert set(load.sources) == {"default"}
    assert set(load.answers) == {204, 503}
    assert (load.lost(), load.repeats) == ({}, [])
    load.check_counted()


def top_up(stack: Stack, enough: Callable[[], bool]) -> None:
    """Take what is freed meanwhile, again and again, until that was enough."""
    deadline = time.monotonic() + 60
    while not enough():
        assert time.monotonic() < deadline, "Redis is full, and takes beacons all the same"
        while stored(stack, b"x" * 4096):
            pass
        stored(stack, b"x" * 64)


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    lines = Path("/proc/self/status").read_text().splitlines()
    capabilities = int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)
    return os.geteuid() == 0 and bool(capabilities & SYS_ADMIN)


class LimitedFiles:
    """A disk on which Redis's log may not grow, whatever else does; the last write that fails may go half-way."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack.up()
        self.process = restart_redis(stack)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """It is full."""
        with full_disk(self.stack, room=rng().randrange(3000)):
            yield

    def close(self) -> None:
        """Nothing is limited any more; the next Redis is no child of this process."""
        self.stack.part("redis").stop()
        self.process.wait(10)


class SmallDisk:
    """A file system of its own for Redis, in memory, with room for a few seconds of load."""

    def __init__(self, stack: Stack) -> None:
        self.folder = stack.run / "redis"
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0750", "none", str(self.folder)], check=True)
        self.stack = stack.up()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Another file takes all the room."""
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            for size in [1 << 20] * 64 + [4096] * 256 + [1] * 4096:
                file.write(b"x" * size)
        yield
        filler.unlink()

    def close(self) -> None:
        """Redis ends, and its disk is gone."""
        self.stack.part("redis").stop()
        subprocess.run(["umount", str(self.folder)], check=True)


Disk = LimitedFiles | SmallDisk


@pytest.fixture(params=[LimitedFiles, *([SmallDisk] if may_mount() else [])])
def disk(request: pytest.FixtureRequest, fresh_stack: Callable[..., Stack]) -> Iterator[Disk]:
    """A stack with a catalogue, on a disk that can be full."""
    made: Disk = request.param(fresh_stack(start=False))
    made.stack.expect_log(REDIS_AWAY)
    catalogue(made.stack)
    yield made
    made.close()


def test_with_a_full_disk_beacons_are_503_and_feeds_go_on(disk: Disk) -> None:
    """With room again all goes on, and Redis's log is whole: killed then, it has all that was acknowledged."""
    with Load(disk.stack, CLIENTS) as load:
        load.wait(204)
        with disk.full(), load.refused("default"):
            time.sleep(0.5)
        load.wait(204)
    assert (load.lost(), load.repeats) == ({}, [])
    load.check_counted()
    kill_redis(disk.stack)
    disk.stack.script("up")
    assert load.lost() == {}


def test_redis_killed_while_its_disk_is_full_loses_what_it_took_at_the_moment_it_filled_up(disk: Disk) -> None:
    """Redis answers what it took, and keeps it in memory until there is room: that of one moment, however long ago."""
    with Load(disk.stack, CLIENTS) as load:
        load.wait(204)
        with disk.full():
            load.wait(503)
            kill_redis(disk.stack)
        disk.stack.script("up")
        load.wait(204)
    lost = load.lost()
    assert not lost or max(lost.values()) - min(lost.values()) < LOST_S
    assert len(lost) <= CLIENTS * BATCH
    load.check_counted()
