"""Processes of the run step back behind everything else on the host."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from worker.nightly import background


def look(end: Connection, file: Path | None) -> None:
    """In a process of its own: step back, and say what that came to."""
    if file is not None:
        background.AUTOGROUP = file
    before = os.getsid(0)
    background.step_back()
    end.send((os.getsid(0) == os.getpid() != before, os.getpriority(os.PRIO_PROCESS, 0)))


def stepped_back(file: Path | None = None) -> tuple[bool, int]:
    """Whether the process has a session of its own, and how nice it is."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=look, args=(there, file))
    process.start()
    assert here.poll(60)
    found: tuple[bool, int] = here.recv()
    process.join()
    assert process.exitcode == 0
    return found


def test_a_process_has_a_session_of_its_own_and_is_as_nice_as_can_be() -> None:
    assert stepped_back() == (True, background.NICE)


def test_the_session_is_made_nice_too(tmp_path: Path) -> None:
    file = tmp_path / "autogroup"
    file.write_text("")
    assert stepped_back(file) == (True, background.NICE)
    assert file.read_text() == "19"


@pytest.mark.parametrize("name", ["nothing/there", "."])
def test_a_host_without_sessions_niceness_will_do(tmp_path: Path, name: str) -> None:
    assert stepped_back(tmp_path / name) == (True, background.NICE)
