"""`make bench-edge`: how fast the edge is against what nginx does by itself, in one run on one machine.

python scripts/bench/edge.py --users 100000 --only beacon1,feed --seconds 5 --repeats 3 --connections 64

Starts a private stack, fills it, and prints a table and then, as the last line, one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


from scripts.bench import (
    cores,
    edge_falcon,
    edge_mixed,
    edge_open,
    edge_page,
    edge_profile,
    edge_table,
    edge_workers,
    machine,
    progress,
)
from scripts.bench.edge_load import Loader
from scripts.bench.edge_options import EdgeOptions, arguments
from scripts.bench.edge_parts import Rounds
from scripts.bench.edge_server import Server
from scripts.bench.edge_site import Site
from scripts.bench.private_stack import PrivateStack
from scripts.bench.progress import Progress

LENGTH = 200
NOTES = (
    "medians of the repeats; a share is that of two loads that followed each other",
    "the ceiling is /healthz of the same nginx, asked by wrk without any Lua of its own",
    "a beacon is of a random user with a valid token, and each of its events is the first of that user and item",
    "what was acknowledged is counted in Redis, neither more nor less; of a beacon that was answered by 503 because "
    "Redis took too long, either may be true, so that counted may lie between acknowledged and sent",
    "file and memory are the page of median size with the same headers and without an access log: out of a file, as "
    "nginx gives any fixed page, and held in nginx's configuration, which costs it no more than /healthz; the share "
    "and its target are of the file",
    "cost_per_request is of the median repeat; us is the processor's time in user space and in the kernel together",
    "cores: while the loads from the ceiling to the feed lasted, nginx's workers had a core each, and Redis and the "
    "generator the others; null: all ran where the kernel put them, as they do in the other parts",
    "other_work_cores are the cores that other programs kept busy during a measurement: near 0, or measure again",
)


class Bench:
    """One benchmark on one private stack."""

    def __init__(self, stack: PrivateStack, options: EdgeOptions) -> None:
        self._stack, self._options = stack, options
        self._say = Progress()
        self._site, self._server = Site(stack, options, self._say), Server(stack)

    def run(self) -> dict[str, Any]:
        """All parts in order, and the result as it is printed."""
        options, described = self._options, machine.describe(self._stack.store.redis)
        data = self._site.fill()
        self._server.start(options.nginx_workers)
        self._server.page, page = edge_page.sample(self._site)
        self._server.start(options.nginx_workers)
        loader = Loader(self._site, self._server)
        places, parts = self._compare(loader)
        parts |= self._others(loader)
        errors = sum(part["errors"] for part in parts.values() if part)
        return {
            "bench": "edge", "users": options.users, "connections": options.connections, "threads": options.threads,
            "seconds": options.seconds, "repeats": options.repeats, "nginx_workers": options.nginx_workers,
            "browser_headers": options.browser_headers, "only": options.only, "errors": errors,
            "cores": places, **parts,
            "page": page, "data": data, "machine": described, "notes": NOTES,
            "complaints": self._server.complaints(),
            "bench_seconds": round(self._say.seconds, 1),
        }  # fmt: skip

    def _compare(self, loader: Loader) -> tuple[dict[str, list[int]] | None, dict[str, Any]]:
        """Who ran where, and the parts that compare one load with another."""
        options = self._options
        with self._apart() as places:
            return places, Rounds(loader, self._say).run(options.only, options.repeats)

    def _apart(self) -> contextlib.AbstractContextManager[dict[str, list[int]] | None]:
        if self._options.cores == "any":
            return contextlib.nullcontext()
        _, *workers = self._server.pids()
        return cores.apart(workers, [self._stack.redis_pid()])

    def _others(self, loader: Loader) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        options = self._options
        if "mixed" in options.only:
            parts["mixed"] = edge_mixed.measure(loader, options.repeats, self._say)
        if "falcon" in options.only:
            parts["falcon"] = edge_falcon.measure(loader, options.repeats, self._say)
        if "profile" in options.only:
            parts["profile"] = edge_profile.measure(loader, self._say)
        if "workers" in options.only:
            parts["workers"] = edge_workers.measure(loader, options.repeats, self._say)
        if "open" in options.only:
            parts["open"] = edge_open.measure(loader, self._say)
        return parts


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 when it failed or a request did, 128 + n when signal n ended it."""
    options = arguments(argv)
    return progress.run("bench-edge", lambda: _measured(options))


def _measured(options: EdgeOptions) -> int:
    with PrivateStack(list_length=LENGTH) as stack:
        result = Bench(stack, options).run()
    print(edge_table.text(result))
    print(json.dumps(result))
    return verdict(result)


def verdict(result: dict[str, Any]) -> int:
    """1, with a message, when requests failed or Redis counted anything but what was acknowledged; else 0."""
    beacon20 = result.get("beacon20") or {"all_found": True}
    if result["errors"]:
        told = "\n  ".join(["see faults, and what nginx says:", *result["complaints"]])
        print(f"bench-edge: {result['errors']} requests failed: {told}", file=sys.stderr)
    if not beacon20["all_found"]:
        print(f"bench-edge: {beacon20['acknowledged']} events were acknowledged and {beacon20['counted']} counted",
              file=sys.stderr)
    return 1 if result["errors"] or not beacon20["all_found"] else 0


if __name__ == "__main__":
    sys.exit(main())
