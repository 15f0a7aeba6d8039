"""``nginx -s reload`` under load: no request fails, no event is lost, and counters go on."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.edge.load import Load, catalogue
from tests.faults.edge.processes import children, main_pid
from tests.faults.night import FULL
from tests.faults.runs import rng
from tests.stack_fixture import Stack

RELOADS = 20 if FULL else 3


@pytest.mark.parametrize("keepalive", [False, True], ids=["new connections", "kept connections"])
def test_a_reload_fails_no_request_and_loses_nothing(stack: Stack, keepalive: bool) -> None:
    """Old workers answer what they have and leave; an idle connection that they close is no failed request."""
    catalogue(stack)
    random, master = rng(), main_pid(stack, "nginx")
    with Load(stack, keepalive=keepalive) as load:
        for _ in range(RELOADS):
            time.sleep(random.uniform(0.1, 0.5))
            old = set(children(master))
            stack.signal("nginx", signal.SIGHUP)
            stack.until(lambda old=old: not old & set(children(master)), 20)
        load.wait(204)
    assert (set(load.answers), set(load.sources)) == ({204}, {"default"})
    assert load.failed() == 0
    assert (load.lost(), load.repeats) == ({}, [])
    if not keepalive:
        load.check_counted()
