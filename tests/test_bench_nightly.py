"""make bench-nightly: its JSON has every figure, and it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import native, table
from scripts.bench.feed_latency import latency
from scripts.bench.idle_group import idle_group, inside
from tests.bench_scratch import processes_of, scratch
from tests.stack_fixture import ROOT, clean_environ

__all__ = ["scratch"]  # a fixture

SMALL = ["--users", "300", "--seen", "30", "--top", "60", "--length", "20", "--jobs", "1"]


def command(*more: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/bench/nightly.py"), *SMALL, *more]


def test_the_simple_python_loop_spaces() -> None:
    category = {1: 7, 2: 7, 3: 7, 4: 8, 5: 9}
    assert native.spaced([1, 2, 3, 4, 5], category, 1, 5) == [1, 4, 2, 5, 3]
    assert native.spaced([1, 2, 3], category, 1, 2) == [1, 2]


def test_latency_counts_from_when_a_request_was_due() -> None:
    rows = np.array([[0.0, 0.0, 9.0, 200], [1.0, 1.5, 2.0, 200], [1.5, 1.5, 1.6, 503], [3.0, 3.0, 9.0, 200]])
    found = latency(rows, (1.0, 1.2), (1.2, 3.0))
    assert (found["requests"], found["errors"], found["max_ms"]) == (2, 1, 1000.0)
    assert found["sent_late_p99_ms"] == pytest.approx(495.0)


def test_a_command_runs_in_the_idle_group_that_is_gone_afterwards() -> None:
    with idle_group() as group:
        done = subprocess.run(inside(group, ["cat", "/proc/self/cgroup"]), capture_output=True, text=True, check=True)
        assert group is None or f"/{group.name}\n" in done.stdout
    assert group is None or not group.exists()


def test_without_control_groups_a_command_runs_as_it_is(tmp_path: Path) -> None:
    with idle_group([tmp_path / "none", tmp_path]) as group:
        assert (group, inside(group, ["true"])) == (None, ["true"])
    assert list(tmp_path.iterdir()) == []


def test_the_last_line_has_every_figure(scratch: Path) -> None:
    environ = {**clean_environ(), "TMPDIR": str(scratch)}
    more = ["--growth", "--repeats", "1", "--feed", "--feed-seconds", "0.5", "--feed-rate", "200"]
    done = subprocess.run(command(*more), env=environ, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["compiled"]
    assert table.BY_NUMPY not in done.stdout + done.stderr
    assert result["ratio"] >= 0  # of so few users on a busy machine it may be 0.00
    for name in ("users_per_second", "native_users_per_second", "native_python_users_per_second"):
        assert result[name] > 0, name
    for run in result["runs"].values():
        assert run["report"]["lists"] == 300
        assert run["other_work_cores"] >= 0
        assert run["report"]["repeats"] == run["report"]["spacing_violations"] == 0
        assert all(spent > 0 for spent in run["stage_us_per_user"].values())
        assert all(row["peak_mb"] > 0 for row in run["memory"])
    assert [row["users"] for row in result["growth"]["by_users"]] == [3, 30, 300]
    assert [row["top"] for row in result["growth"]["by_top"]] == [30, 60, 300]
    assert result["redis_bytes_per_user"]["all"] > 0
    assert [row["users"] for row in result["extrapolation"]] == [10_000_000, 100_000_000]
    assert result["feed"]["idle"]["requests"] > 0
    assert result["feed"]["idle"]["errors"] == result["feed"]["during_run"]["errors"] == 0
    assert result["machine"]["cores"] > 0
    assert list(scratch.iterdir()) == []


def test_without_numba_it_says_that_a_run_could_be_faster(scratch: Path, tmp_path: Path) -> None:
    """As in an environment without the extra `fast`: before it measures, in the table and in the JSON."""
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["numba"] = None\n')
    environ = {**clean_environ(), "TMPDIR": str(scratch), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command("--repeats", "1"), env=environ, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert table.BY_NUMPY in done.stderr
    assert table.BY_NUMPY in done.stdout.splitlines()
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["compiled"]
    assert result["runs"]["again"]["report"]["lists"] == 300


@pytest.mark.parametrize("target", ["up", "bench-nightly"])
def test_what_sites_and_benchmarks_run_on_has_the_compiler(target: str) -> None:
    """`make demo` needs it not."""
    for name, wanted in ((target, True), ("demo", False)):
        words = ["make", "--no-print-directory", "-n", name]
        told = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout
        assert told.splitlines()[0] == f"scripts/install.sh run{' fast' if wanted else ''}"


@pytest.mark.parametrize(("number", "phase"), [(signal.SIGINT, b"catalogue"), (signal.SIGTERM, b"first run")])
def test_nothing_is_left_behind_when_it_is_interrupted(scratch: Path, number: signal.Signals, phase: bytes) -> None:
    environ = {**clean_environ(), "TMPDIR": str(scratch)}
    with subprocess.Popen(command(), env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT) as bench:
        assert bench.stderr is not None
        assert any(phase in line for line in bench.stderr)
        assert processes_of(scratch)
        bench.send_signal(number)
        bench.stderr.read()
    assert bench.returncode == 128 + number
    assert list(scratch.iterdir()) == []
    assert processes_of(scratch) == []


def test_options_that_make_no_sense_are_usage_errors() -> None:
    done = subprocess.run(command("--users", "0"), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "must be 1 or more" in done.stderr
