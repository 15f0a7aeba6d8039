"""``worker config``, its table, and what the edge gets of the settings."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

from tests.stack_fixture import WORKER, Stack, clean_environ
from worker.cli.config import table
from worker.config import Settings

FIELDS = dataclasses.fields(Settings)


def test_the_command_prints_every_setting_in_effect(tmp_path: Path) -> None:
    """As JSON and as text, which marks what was changed; no stack is needed."""
    environ = {**clean_environ(), "NIGHTFEED_RUN": str(tmp_path), "NIGHTFEED_GAP": "9"}
    done = subprocess.run([WORKER, "config", "--json"], env=environ, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout) == dataclasses.asdict(dataclasses.replace(Settings(), gap=9))
    text = subprocess.run([WORKER, "config"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line for line in text.stdout.splitlines() if "(default" in line] == [f"{'gap':22} 9   (default 3)"]


def test_a_bad_setting_stops_a_command_with_its_name(tmp_path: Path) -> None:
    """Exit 1 and one line."""
    environ = {**clean_environ(), "NIGHTFEED_RUN": str(tmp_path), "NIGHTFEED_GAP": "x"}
    done = subprocess.run([WORKER, "config"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "worker: NIGHTFEED_GAP is 'x': must be a whole number\n"


def test_the_table_has_a_row_for_every_setting() -> None:
    """In four columns, bars inside a pattern escaped."""
    rows = table().splitlines()
    assert len(rows) == len(FIELDS) + 2
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)


def test_the_edge_gets_every_setting_by_name(stack: Stack) -> None:
    """config.json has the values that the worker has."""
    rendered = json.loads((stack.run / "config.json").read_text())
    assert {name: rendered[name] for name in dataclasses.asdict(stack.settings)} == dataclasses.asdict(stack.settings)
    assert (stack.run / "config.json").stat().st_mode & 0o777 == 0o600
