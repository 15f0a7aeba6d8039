"""make bench-edge: its JSON has every figure and honest counts, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import nightly_options
from scripts.bench.edge import verdict
from scripts.bench.edge_options import PARTS, arguments
from tests.bench_scratch import processes_of, scratch
from tests.stack_fixture import ROOT, clean_environ

__all__ = ["scratch"]  # a fixture

CORES = sorted(os.sched_getaffinity(0))
FULL = os.environ.get("NIGHTFEED_FAULTS") == "full"
SHORT_PARTS = ("beacon20", "feed", "mixed", "open")
SMALL = ["--users", "3000", "--seen", "30", "--seconds", "0.5", "--repeats", "1", "--connections", "8",
         "--open-connections", "150"]  # fmt: skip


def command(*more: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/bench/edge.py"), *SMALL, *more]


def test_the_last_line_has_every_figure_and_counts_are_honest(scratch: Path) -> None:
    """Failed requests are possible on a machine that is busy with other tests: then they are counted, and exit is 1."""
    parts = tuple(PARTS) if FULL else SHORT_PARTS
    environ = {**clean_environ(), "TMPDIR": str(scratch)}
    done = subprocess.run(command("--only", ",".join(parts)), env=environ, capture_output=True, text=True, cwd=ROOT,
                          check=False)  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == verdict(result), done.stderr
    check_loads(result)
    check_mixed(result["mixed"])
    check_open(result["open"])
    assert set(parts) <= set(result)
    assert result["page"]["sources"] == {"list": 200}
    assert result["page"]["items"] == 20
    assert result["data"]["lists"] == 3000
    assert result["cores"] == ({"alone": CORES[:1], "others": CORES[1:]} if CORES[1:] else None)
    assert list(scratch.iterdir()) == []
    if FULL:
        check_the_rest(result)


def check_loads(result: dict[str, Any]) -> None:
    """Every event that was acknowledged is in Redis, and nothing that was not sent."""
    for name in ("ceiling", "beacon20", "file", "memory", "feed"):
        load = result[name]
        assert load["requests_per_second"] > 0
        assert load["errors"] == sum(load["faults"].values())
        assert load["cost_per_request"]["nginx"]["us"] >= 0
        assert len(load["other_work_cores"]) == 1
    beacon20 = result["beacon20"]
    assert beacon20["all_found"] is True
    assert 0 < beacon20["acknowledged"] <= beacon20["counted"] <= beacon20["sent"]
    assert beacon20["errors"] or beacon20["acknowledged"] == beacon20["counted"] == beacon20["sent"]
    feed = result["feed"]
    for name, of in (("share", "file"), ("share_of_memory", "memory"), ("share_of_ceiling", "ceiling")):
        whole = result[of]["requests_per_second"]
        assert feed[name] == pytest.approx(feed["requests_per_second"] / whole, rel=0.02, abs=0.001)  # one repeat
    assert feed["met"] == (feed["share"] >= 0.55)


def check_mixed(mixed: dict[str, Any]) -> None:
    assert [level["level"] for level in mixed["levels"]] == [0.5, 0.8]
    for level in mixed["levels"]:
        assert level["requests"] > 0
        assert 0 < level["p50_ms"] <= level["p99_ms"] <= level["p999_ms"] <= level["max_ms"]
        assert set(level["by_kind"]) == {"beacon", "feed"}


def check_open(found: dict[str, Any]) -> None:
    assert (found["asked"], found["open"], found["lost"]) == (150, 150, 0)
    assert found["answers"] == 300
    assert found["errors"] == sum(found["faults"].values())


def check_the_rest(result: dict[str, Any]) -> None:
    """Of the long form."""
    assert result["beacon1"]["share"] > 0
    assert result["falcon"]["ratio"] > 0
    assert [row["nginx_workers"] for row in result["workers"]["rows"]] == [1, 2]
    assert set(result["workers"]["ratio"]) == {"healthz", "beacon1", "feed"}
    assert set(result["profile"]["per_request"]) == {"ceiling", "beacon1", "beacon20", "file", "memory", "feed"}


PHASES = [(signal.SIGINT, b"catalogue"), *([(signal.SIGTERM, b"mixed at"), (signal.SIGHUP, b"are open")] * FULL)]


@pytest.mark.parametrize(("number", "phase"), PHASES)
def test_nothing_is_left_behind_when_it_is_interrupted(scratch: Path, number: signal.Signals, phase: bytes) -> None:
    environ = {**clean_environ(), "TMPDIR": str(scratch)}
    with subprocess.Popen(command("--only", "mixed,open"), env=environ, stderr=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, cwd=ROOT) as bench:  # fmt: skip
        assert bench.stderr is not None
        assert any(phase in line for line in bench.stderr)
        assert processes_of(scratch)
        bench.send_signal(number)
        bench.stderr.read()
    assert bench.returncode == 128 + number
    assert list(scratch.iterdir()) == []
    assert processes_of(scratch) == []


@pytest.mark.parametrize(("options", "message"), [
    (["--users", "0"], "users must be 1 or more"),
    (["--seconds", "0"], "seconds must be from 0.1"),
    (["--only", "beacon1,beacon2"], "there is no part beacon2"),
    (["--only", ","], "there is no part named"),
    (["--connections", "1", "--threads", "2"], "as many as threads"),
])  # fmt: skip
def test_options_that_make_no_sense_are_usage_errors(options: list[str], message: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_options_everything_is_measured() -> None:
    options = arguments([])
    assert (options.users, options.connections, options.seconds, options.repeats) == (100_000, 64, 5, 3)
    assert options.only == tuple(PARTS)


@pytest.mark.parametrize("of", [arguments, nightly_options.arguments])
def test_help_names_every_option(of: Callable[[list[str]], Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        of(["--help"])
    assert ended.value.code == 0
    assert "--users" in capsys.readouterr().out
