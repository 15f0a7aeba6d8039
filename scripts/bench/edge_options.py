"""The options of scripts/bench/edge.py."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

PARTS = {
    "beacon1": "beacons with one event, against /healthz",
    "beacon20": "beacons with twenty events, each counted in Redis afterwards",
    "feed": "first pages, against a fixed body of the same size, out of a file and out of memory",
    "mixed": "four beacons to a page: the maximum, and latency at half and at 80 % of it",
    "falcon": "the same beacon in falcon under gunicorn",
    "workers": "healthz, beacon1 and feed with one and with two nginx workers",
    "profile": "instructions and system calls of a request, by perf",
    "open": "many connections open at once",
}
CORES = ("apart", "any")
NUMBERS = (
    ("users", 100_000, "users, each with a list and what they have seen"),
    ("seen", 170, "items that each has seen, on average"),
    ("repeats", 3, "how often each is repeated; medians are reported"),
    ("connections", 64, "connections of a load"),
    ("threads", 1, "threads of the load generator"),
    ("nginx-workers", 1, "nginx workers"),
    ("open-connections", 50_000, "connections that are open at once in the part open"),
    ("seed", 1, "seed of all data"),
)


@dataclass(frozen=True)
class EdgeOptions:
    """What is measured, and on how much data; ``seconds`` are of each load."""

    users: int
    seen: int
    seconds: float
    repeats: int
    connections: int
    threads: int
    nginx_workers: int
    open_connections: int
    seed: int
    browser_headers: bool
    cores: str
    only: tuple[str, ...]


def arguments(argv: list[str] | None) -> EdgeOptions:
    """The options of the command line; what makes no sense ends the program with exit code 2."""
    parser = argparse.ArgumentParser(description="Measures the edge on a private stack, with wrk.")
    for name, default, what in NUMBERS:
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    parser.add_argument("--seconds", type=float, default=5, help="how long each load lasts (5)")
    parser.add_argument("--browser-headers", action="store_true", help="requests carry the headers of a browser")
    parser.add_argument("--cores", choices=CORES, default=CORES[0], help="apart: while loads are compared, nginx's "
                        "workers have a core each, Redis and the generator the others; any: where the kernel puts them")
    listed = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    parser.add_argument("--only", default=",".join(PARTS),
                        help=f"parts to measure, with commas between ({listed})".replace("%", "%%"))  # not a format
    options = vars(parser.parse_args(argv))
    only = tuple(filter(None, options.pop("only").split(",")))
    unknown = [name for name in only if name not in PARTS]
    if unknown or not only:
        parser.error(f"--only: there is no part {', '.join(unknown) or 'named'}; parts are {', '.join(PARTS)}")
    if below := _below_one(options):
        parser.error(f"{below} must be 1 or more")
    if not 0.1 <= options["seconds"] <= 600:
        parser.error("seconds must be from 0.1 to 600")
    if options["connections"] < options["threads"]:
        parser.error("connections must be as many as threads, or more")
    return EdgeOptions(**options, only=only)


def _below_one(options: dict[str, int]) -> str:
    """Names of numbers that are too small."""
    names = [name for name, _, _ in NUMBERS if name != "seed"]
    return ", ".join(name for name in names if options[name.replace("-", "_")] < 1)
