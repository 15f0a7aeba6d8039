"""A process of the run steps back: the edge, Redis and everything else on the host get the processor first."""

from __future__ import annotations

import os
import time
from pathlib import Path

NICE = 19
AUTOGROUP = Path("/proc/self/autogroup")
TRIES, PAUSE_SECONDS = 20, 0.1  # the kernel takes one such wish each tenth of a second from users other than root


def step_back() -> None:
    """Give this process, which must not be the first of a process group, the lowest priority there is for it.

    Niceness alone counts only among processes of one session where the kernel groups them so (autogroup, see
    sched(7)): a nice process in a terminal of its own still gets as much as the whole edge. So it gets a session of its
    own, and that is made nice, too. A kernel without autogroups has no such file.
    """
    os.setsid()
    os.nice(NICE)
    for _ in range(TRIES):
        try:
            AUTOGROUP.write_text(str(NICE))
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        except OSError:  # there is no such file, or nobody may write there
            return
        else:
            return
