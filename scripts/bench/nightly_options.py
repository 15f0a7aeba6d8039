"""The options of scripts/bench/nightly.py."""

from __future__ import annotations

import argparse

NUMBERS = (
    ("users", 1_000_000, "users"),
    ("seen", 170, "items that each has seen, on average"),
    ("top", 1000, "items of top content"),
    ("length", 200, "items of a list"),
    ("jobs", 4, "processes of the run"),
    ("seed", 1, "seed of all data"),
    ("repeats", 3, "runs over lists that exist, of which the fastest counts; also of each size of --growth"),
)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Measures worker nightly on a private stack.")
    for name, default, what in NUMBERS:
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    parser.add_argument("--growth", action="store_true", help="also with fewer users, and other sizes of top content")
    parser.add_argument("--feed", action="store_true", help="also the latency of /feed during a run")
    parser.add_argument("--feed-rate", type=float, default=2000, help="requests a second (2000)")
    parser.add_argument("--feed-seconds", type=float, default=15, help="how long /feed is measured idle (15)")
    options = parser.parse_args(argv)
    if min(getattr(options, name) for name in ("users", "seen", "top", "length", "jobs", "repeats")) < 1:
        parser.error("users, seen, top, length, jobs and repeats must be 1 or more")
    return options
