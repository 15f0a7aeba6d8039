"""Many connections open at once: whether all stay open and are answered, and what each costs nginx in memory."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import subprocess
from collections.abc import Callable
from typing import Any

from scripts.bench import edge_usage, edge_wrk
from scripts.bench.edge_load import Loader, growth, unexpected
from scripts.bench.other_work import OtherWork
from scripts.bench.processes import started
from scripts.stack_process import StackError
from scripts.stack_render import descriptors

SPARE = 200  # descriptors of a generator that are no connections
MOST = 25_000  # connections of one generator
SOURCE, ADDRESSES = 2, 8  # 127.0.0.2 and those after it; each generator has so many, as wrk/open_many.lua says
UNEVEN = 1.4  # times as many connections as its share that a worker has room for, where one is not enough
RATE = 1000  # requests a second over all of them, at most: each comes sooner than nginx ends an idle connection


def measure(loader: Loader, say: Callable[[str], None]) -> dict[str, Any]:
    """Opens them all, measures, lets each have one request while all are open, and measures again."""
    asked, hard = loader.site.options.open_connections, _raise_limit()
    each, workers = room(asked, hard)
    loader.server.start(workers, worker_connections=each)
    generators = max(math.ceil(asked / min(MOST, hard - SPARE)), 1)
    say(f"{asked:,} connections from {generators} processes to nginx with {workers} workers, {each:,} each")
    answered, before = loader.server.answers(), _memory(loader)
    others = OtherWork(*loader.server.pids(), loader.site.stack.redis_pid())
    with contextlib.ExitStack() as stack:
        stack.enter_context(others)
        processes = [stack.enter_context(started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                 stderr=subprocess.STDOUT))
                     for command in _commands(loader, asked, generators)]  # fmt: skip
        opened, idle = _told(processes), _memory(loader)
        say(f"{opened['open']:,} are open; now a request over each")
        _go_on(processes)
        used, after = _told(processes), _memory(loader)
        _go_on(processes)
    faults = unexpected(growth(answered, loader.server.answers()))
    return {
        **result(asked, opened, used, idle - before, after - before), "faults": faults, "nginx_workers": workers,
        "worker_connections": each, "descriptor_limit": hard, "generators": generators,
        "other_work_cores": others.cores,
    }  # fmt: skip


def result(asked: int, opened: dict[str, Any], used: dict[str, Any], idle: int, after: int) -> dict[str, Any]:
    """What both phases say together; ``idle`` and ``after`` are bytes that nginx had more than without connections.

    ``errors`` are connections that could not be opened or were ``lost``, and answers other than those expected.
    """
    count = max(opened["open"], 1)
    errors = asked - used["tried"] + opened["faults"] + used["faults"]
    return {
        "asked": asked, "open": used["open"], "lost": asked - used["open"], "errors": errors,
        "answers": opened["answers"] + used["answers"],
        **{name: used[name] for name in ("p50_ms", "p99_ms", "max_ms")},
        "nginx_bytes_per_connection": round(idle / count),
        "nginx_bytes_per_connection_used": round(after / count),
    }  # fmt: skip


def room(connections: int, hard: int) -> tuple[int, int]:
    """``worker_connections`` and workers for so many at once, where a process may have ``hard`` descriptors."""
    most = (hard - descriptors(0)) // 2
    if connections * UNEVEN <= most:
        return max(math.ceil(connections * UNEVEN), 512), 1
    return most, math.ceil(connections * UNEVEN / most)


def _raise_limit() -> int:
    """As many descriptors as this process, and what it starts, may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _memory(loader: Loader) -> int:
    return edge_usage.private_bytes(loader.server.pids())


def _commands(loader: Loader, asked: int, generators: int) -> list[list[str]]:
    port, commands = loader.site.stack.port, []
    for index in range(generators):
        share = asked * (index + 1) // generators - asked * index // generators
        seconds = max(asked / RATE, loader.site.options.seconds)
        more = {**loader.visits(4, 1, 1), "threads": generators, "index": index, "connections": share,
                "source": SOURCE + ADDRESSES * index, "port": port, "seconds": seconds}
        commands.append(edge_wrk.command("open_many.lua", f"http://127.0.0.1:{port}/", 1, 1, 1, more))
    return commands


def _told(processes: list[subprocess.Popen[bytes]]) -> dict[str, Any]:
    """What all generators say when they are done with a phase: counts added up, and the slowest of their times."""
    found = [_line(process) for process in processes]
    counts = {name: sum(row[name] for row in found) for name in ("tried", "open", "answers", "faults")}
    return {**counts, **{name: max(row[name] for row in found) for name in ("p50_ms", "p99_ms", "max_ms")}}


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(b"{"):
        text = line + process.stdout.read()
        raise StackError(f"a generator of connections failed: {text.decode(errors='replace').strip()[-500:]}")
    found: dict[str, Any] = json.loads(line)
    return found


def _go_on(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
