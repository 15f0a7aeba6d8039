"""The setting worker_connections: how many connections an nginx worker takes, and that it may open files for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.bench.processes import descendants
from tests.stack_fixture import Stack
from worker import config
from worker.config import ConfigError


def test_nginx_has_room_for_the_connections_it_is_given(fresh_stack: Callable[..., Stack]) -> None:
    stack = fresh_stack(worker_connections=700, nginx_workers=1)
    assert "worker_connections 700;" in (stack.run / "nginx/nginx.conf").read_text()
    master = stack.part("nginx").pid()
    assert master is not None
    worker = descendants(master)[1]
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"^Max open files +3400 +3400 ", limits, re.MULTILINE)
    assert stack.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("value", ["63", "1000001"])
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=f"NIGHTFEED_WORKER_CONNECTIONS is {value}: must be from 64 to 1000000"):
        config.load(tmp_path, {"NIGHTFEED_WORKER_CONNECTIONS": value})
