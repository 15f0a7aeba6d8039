"""A process of the run steps back: the edge, Redis and all else on the host get the processor first, and soon."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import time
from pathlib import Path

NICE = 19
AUTOGROUP = Path("/proc/self/autogroup")
TRIES, PAUSE_SECONDS = 20, 0.1  # the kernel takes one such wish each tenth of a second from users other than root
TURN_NS = 100_000  # the shortest turn that the kernel grants
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # its number: Python and older C libraries do not know it


def step_back() -> None:
    """Give this process, and those that it will start, the lowest priority there is for them.

    Niceness alone counts only among processes of one session where the kernel groups them so (autogroup, see
    sched(7)): a nice process in a session of its own still gets as much as the whole edge. So such a session, a timer's
    for instance, is made nice, too; a shell's, which has other things to do, is not. There short turns must do.
    """
    os.nice(NICE)
    _take_short_turns()
    if os.getsid(0) == os.getpid():
        _make_session_nice()


def leave_session() -> None:
    """Give this process, which must not be the first of a process group, a session of its own, that is nice."""
    os.setsid()
    _make_session_nice()


def _make_session_nice() -> None:
    """A kernel without autogroups has no such file."""
    for _ in range(TRIES):
        try:
            AUTOGROUP.write_text(str(NICE))
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        except OSError:  # there is no such file, or nobody may write there
            return
        else:
            return


def _take_short_turns() -> None:
    """End this process' turns after TURN_NS, where the kernel can (Linux 6.12), and never interrupt another's.

    However nice it is, whoever has the processor keeps it until its turn is over, by default about 3 ms, while a
    request to the edge waits (sched_setattr(2): for SCHED_BATCH, ``sched_runtime`` is the length of a turn).
    """
    number = SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_BATCH, 0, NICE, 0, TURN_NS, 0, 0)
    # What an older kernel makes of it, or that it refuses, changes no list.
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)
