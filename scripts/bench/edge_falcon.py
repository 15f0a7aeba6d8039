"""The beacon that a person would write instead (falcon_beacon.py), under the same load as the edge's."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from scripts.bench.edge_load import Load, Loader, summary
from scripts.bench.private_stack import PrivateStack, free_port
from scripts.bench.processes import started
from scripts.stack_process import StackError
from scripts.stack_render import ROOT

WORKERS = 2
READY_SECONDS = 20
BAD_REQUEST = 401  # what a request without a token gets


def measure(loader: Loader, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Beacons with one event to both in turns.

    ``ratio`` is how many times as many the edge takes, ``cpu_ratio`` how many times the processor's time one costs.
    """
    edge: list[Load] = []
    loads: list[Load] = []
    with _gunicorn(loader.site.stack) as (port, pid):
        for turn in range(repeats):
            edge.append(loader.beacons(1))
            loads.append(loader.beacons(1, port, pid))
            say(f"falcon, {turn + 1} of {repeats}: {loads[-1].per_second:,.0f} a second, "
                f"the edge {edge[-1].per_second:,.0f}")
    ratios = [one.per_second / other.per_second for one, other in zip(edge, loads, strict=True)]
    result, beside = summary(loads), summary(edge)
    cpu_ratio = _cpu_us(result, "falcon") / max(_cpu_us(beside, "nginx"), 0.01)
    return {**result, "workers": WORKERS, "edge_requests_per_second": beside["requests_per_second"],
            "errors": result["errors"] + beside["errors"], "ratio": round(statistics.median(ratios), 2),
            "cpu_ratio": round(cpu_ratio, 2)}


def _cpu_us(result: dict[str, Any], server: str) -> float:
    """Microseconds of the processor that a request takes in a server and in Redis."""
    return sum(float(result["cost_per_request"][name]["us"]) for name in (server, "redis"))


@contextlib.contextmanager
def _gunicorn(stack: PrivateStack) -> Iterator[tuple[int, int]]:
    """Port and pid of the falcon beacon, answering."""
    port, log = free_port(), stack.run / "log/bench-falcon.log"
    command = [sys.executable, "-m", "gunicorn", "scripts.bench.falcon_beacon:get_app()",
               "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "--worker-class", "gthread",
               "--threads", "4", "--keep-alive", "65", "--config", str(ROOT / "scripts/gunicorn.conf.py")]
    with log.open("wb") as out, started(command, cwd=ROOT, env=stack.environ(), stdout=out, stderr=out) as process:
        _wait(port, process, lambda: log.read_text(errors="replace"))
        yield port, process.pid


def _wait(port: int, process: subprocess.Popen[bytes], log: Callable[[], str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"the falcon beacon does not start: {log()[-2000:]}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", "/beacon", body="{}")
        return connection.getresponse().status == BAD_REQUEST
    except OSError:
        return False
    finally:
        connection.close()
