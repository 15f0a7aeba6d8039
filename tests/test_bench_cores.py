"""Where processes run while make bench-edge compares loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import cores
from scripts.bench.edge_options import arguments

THREADS = "import threading, time; [threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" \
          "for _ in range(2)]; print(flush=True); time.sleep(60)"


@pytest.fixture
def two() -> Iterator[list[int]]:
    """Processes of three threads each."""
    started = [subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) for _ in range(2)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    yield [process.pid for process in started]
    for process in started:
        process.kill()
        process.communicate()


def places(pid: int) -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


def of_a_child() -> set[int]:
    script = "import os; print(*os.sched_getaffinity(0))"
    return set(map(int, subprocess.check_output([sys.executable, "-c", script]).split()))


@pytest.mark.parametrize(("given", "alone", "shared"), [
    ({0, 1}, 1, ([0], [1])),
    ({7, 3, 5}, 1, ([3], [5, 7])),
    ({0, 1, 2, 3}, 2, ([0, 1], [2, 3])),
    ({0, 1}, 2, None),
    ({0}, 1, None),
])  # fmt: skip
def test_somebody_is_always_left_a_core(given: set[int], alone: int,
                                        shared: tuple[list[int], list[int]] | None) -> None:
    assert cores.share_out(given, alone) == shared


def test_all_threads_move_and_children_stay_with_us(two: list[int]) -> None:
    """On a machine with one core nobody moves, and nothing else is asked of it."""
    allowed, (alone, other) = os.sched_getaffinity(0), two
    own, rest = cores.share_out(allowed, 1) or (list(allowed), list(allowed))
    with cores.apart([alone], [other]) as found:
        assert found == (None if len(allowed) == 1 else {"alone": own, "others": rest})
        assert places(alone) == [set(own)] * 3
        assert places(other) == [set(rest)] * 3
        assert of_a_child() == set(rest)
    assert places(alone) == places(other) == [allowed] * 3
    assert of_a_child() == allowed


def test_all_may_run_anywhere_again_after_a_failure(two: list[int]) -> None:
    allowed = os.sched_getaffinity(0)
    with pytest.raises(RuntimeError, match="the load failed"), cores.apart(two[:1], two[1:]):
        raise RuntimeError("the load failed")
    assert places(two[0]) == places(two[1]) == [allowed] * 3
    assert os.sched_getaffinity(0) == allowed


def test_who_has_ended_is_left_out(two: list[int]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with cores.apart([two[0]], [gone.pid, two[1]]):
        pass
    assert places(two[1]) == [os.sched_getaffinity(0)] * 3


def test_more_workers_than_cores_move_nobody(two: list[int]) -> None:
    allowed = os.sched_getaffinity(0)
    with cores.apart([two[0]] * len(allowed), [two[1]]) as found:
        assert found is None
        assert places(two[1]) == [allowed] * 3
        assert of_a_child() == allowed


def test_the_command_line_says_where() -> None:
    assert arguments([]).cores == "apart"
    assert arguments(["--cores", "any"]).cores == "any"
