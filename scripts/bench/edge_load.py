"""One load on the private stack: what was sent, what was answered, what it cost whom, and what else ran meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.bench import edge_usage, edge_wrk
from scripts.bench.edge_page import PATH
from scripts.bench.edge_server import Server
from scripts.bench.edge_site import FIRST_NEW, NEW_ITEMS, Site
from scripts.bench.edge_usage import Usage
from scripts.bench.edge_wrk import Report
from scripts.bench.other_work import OtherWork
from scripts.bench.processes import descendants
from scripts.stack_process import StackError

Answers = dict[tuple[str, int], int]
EXPECTED = {("beacon", 204), ("feed", 200), ("metrics", 200)}


@dataclass(frozen=True)
class Load:
    """One measurement: ``count`` good answers in ``seconds``, ``faults`` by name, each request's cost by process.

    ``acknowledged`` are the beacons that the edge answered by 204.
    """

    count: int
    seconds: float
    faults: dict[str, int]
    acknowledged: int
    cost: dict[str, dict[str, float]]
    other_work_cores: float
    report: Report

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return self.count / self.seconds


class Loader:
    """Puts loads on one site."""

    def __init__(self, site: Site, server: Server) -> None:
        self.site, self.server, self._options = site, server, site.options

    def healthz(self) -> Load:
        """The ceiling: nothing but nginx and the generator, which sends the same bytes each time."""
        return self._run("report.lua", self.site.stack.port, "/healthz", {})

    def beacons(self, events: int, port: int = 0, pid: int = 0) -> Load:
        """Beacons of random users, each with so many impressions of new items.

        To the edge, or to another server on ``port``; ``pid`` is its main process then.
        """
        return self._visits(port or self.site.stack.port, 1, 0, events, pid)

    def feeds(self) -> Load:
        """First pages of random users."""
        return self._visits(self.site.stack.port, 0, 1, 1)

    def file(self) -> Load:
        """The same requests as ``feeds``, answered by a fixed body, out of a file as nginx gives any page."""
        return self._visits(self.server.file_port, 0, 1, 1)

    def memory(self) -> Load:
        """The same, out of nginx's configuration: nothing that gives a body can be faster."""
        return self._visits(self.server.memory_port, 0, 1, 1)

    def mixed(self) -> Load:
        """Four beacons with one event to one first page."""
        return self._visits(self.site.stack.port, 4, 1, 1)

    def visits(self, beacons: int, others: int, events: int) -> dict[str, object]:
        """The options of wrk/visits.lua and wrk/open_loop.lua."""
        site, options = self.site, self._options
        return {"users": site.tokens, "next": site.next, "first": FIRST_NEW, "items": NEW_ITEMS, "beacons": beacons,
                "others": others, "events": events, "ts": int(time.time() * 1000) - 1000, "path": PATH,
                "seconds": options.seconds, "threads": options.threads, "full": int(options.browser_headers)}

    def _visits(self, port: int, beacons: int, others: int, events: int, pid: int = 0) -> Load:
        load = self._run("visits.lua", port, "/", self.visits(beacons, others, events), pid)
        if not load.count and not load.faults:
            raise StackError("nothing was sent: all users have had all new items; measure with more users")
        return load

    def _run(self, script: str, port: int, path: str, more: dict[str, object], pid: int = 0) -> Load:
        options, families = self._options, self._families(pid)
        seconds = options.seconds + (edge_wrk.REST_SECONDS if more else 0)
        before, answered = _usage(families), self.server.answers()
        with OtherWork(*(one for pids in families.values() for one in pids)) as others:
            report = edge_wrk.run(script, f"http://127.0.0.1:{port}{path}", seconds, options.connections,
                                  options.threads, more)
        spent = {name: after - before[name] for name, after in _usage(families).items()}
        grown = growth(answered, self.server.answers())
        faults = named(report.faults, grown)
        if more and report.requests != report.answers:
            faults["unanswered"] = abs(report.requests - report.answers)
        cost = {name: usage.each(report.answers) for name, usage in {**spent, "generator": report.usage}.items()}
        took = report.sending if more else report.seconds
        good = report.answers - report.faults.get("status", 0)
        return Load(good, took or report.seconds, faults, grown.get(("beacon", 204), 0), cost, others.cores, report)

    def _families(self, pid: int) -> dict[str, list[int]]:
        """Processes by what they are; those of another server when ``pid`` names one."""
        families = {"nginx": self.server.pids(), "redis": [self.site.stack.redis_pid()]}
        return {**families, "falcon": descendants(pid)} if pid else families


def _usage(families: dict[str, list[int]]) -> dict[str, Usage]:
    return {name: edge_usage.of(pids) for name, pids in families.items()}


def growth(before: Answers, after: Answers) -> Answers:
    """Answers by route and status that came between."""
    grown = {key: count - before.get(key, 0) for key, count in after.items()}
    return {key: count for key, count in sorted(grown.items()) if count}


def unexpected(grown: Answers) -> dict[str, int]:
    """Those that a load should not have got, by name."""
    return {f"{route} {status}": count for (route, status), count in grown.items() if (route, status) not in EXPECTED}


def named(faults: Mapping[str, int], grown: Answers) -> dict[str, int]:
    """wrk's faults; those that it only knows to be bad statuses, as far as the edge can tell, by their names."""
    known = sum(count for (_, status), count in grown.items() if status >= 400)
    rest = {name: count - known if name == "status" else count for name, count in faults.items()}
    return {name: count for name, count in rest.items() if count > 0} | unexpected(grown)


def summary(loads: Sequence[Load]) -> dict[str, Any]:
    """Medians of the repeats of one load, and all of them."""
    middle = sorted(loads, key=lambda load: load.per_second)[len(loads) // 2]
    faults: dict[str, int] = {}
    for load in loads:
        for name, count in load.faults.items():
            faults[name] = faults.get(name, 0) + count
    return {
        "requests_per_second": round(statistics.median(load.per_second for load in loads)),
        "repeats": [round(load.per_second) for load in loads],
        "requests": sum(load.count for load in loads),
        "errors": sum(faults.values()),
        "faults": faults,
        "cost_per_request": middle.cost,
        "other_work_cores": [load.other_work_cores for load in loads],
    }
