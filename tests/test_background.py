"""Processes of the run step back behind everything else on the host."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import struct
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from worker.nightly import background

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}


def look(end: Connection, file: Path | None, own: bool) -> None:
    """In a process of its own: do as processes of the run do, and say what that came to."""
    if file is not None:
        background.AUTOGROUP = file
    before = os.getsid(0)
    if own:
        background.leave_session()
    background.step_back()
    end.send((os.getsid(0) == os.getpid() != before, os.getpriority(os.PRIO_PROCESS, 0), *turns()))


def turns() -> tuple[int, int]:
    """This process' scheduling policy, and the length of its turns in ns; 0 where the kernel has no such length."""
    attributes = ctypes.create_string_buffer(48)
    ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, attributes, len(attributes), 0)
    _, policy, _, _, _, runtime = struct.unpack_from("=IIQiIQ", attributes)
    return policy, runtime


def stepped_back(file: Path | None = None, own: bool = True) -> tuple[bool, int, int, int]:
    """Whether the process has a session of its own, how nice it is, its policy, and the length of its turns."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=look, args=(there, file, own))
    process.start()
    assert here.poll(60)
    found: tuple[bool, int, int, int] = here.recv()
    process.join()
    assert process.exitcode == 0
    return found


def test_a_process_has_a_session_of_its_own_and_is_as_nice_as_can_be() -> None:
    assert stepped_back()[:3] == (True, background.NICE, os.SCHED_BATCH)


def test_its_turns_are_short_where_the_kernel_can_do_that() -> None:
    """Whoever has the processor keeps it to the end of their turn, however important the other one is."""
    assert stepped_back()[3] in (0, background.TURN_NS)


def test_the_session_is_made_nice_too(tmp_path: Path) -> None:
    file = tmp_path / "autogroup"
    file.write_text("")
    assert stepped_back(file)[:2] == (True, background.NICE)
    assert file.read_text() == "19"


@pytest.mark.parametrize("name", ["nothing/there", "."])
def test_a_host_without_sessions_niceness_will_do(tmp_path: Path, name: str) -> None:
    assert stepped_back(tmp_path / name)[:2] == (True, background.NICE)


def test_a_shell_s_session_is_left_as_it_is(tmp_path: Path) -> None:
    """Ctrl-C there must reach the command, and whatever else is done there is none of its business."""
    file = tmp_path / "autogroup"
    file.write_text("")
    assert stepped_back(file, own=False)[:3] == (False, background.NICE, os.SCHED_BATCH)
    assert file.read_text() == ""
