"""The figures of `make bench-edge` as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOADS = {"ceiling": "/healthz, the ceiling", "beacon1": "/beacon, 1 event", "beacon20": "/beacon, 20 events",
         "fixed": "a fixed body", "feed": "/feed?n=20"}  # fmt: skip


def text(result: dict[str, Any]) -> str:
    """The whole table."""
    parts = [_head, _loads]
    return "\n".join(line for part in parts for line in part(result))


def _head(result: dict[str, Any]) -> Iterator[str]:
    machine, page = result["machine"], result["page"]
    yield (f"the edge: {result['users']:,} users, {result['data']['seen_per_user']} seen each, nginx with "
           f"{result['nginx_workers']} workers, {result['connections']} connections")
    yield (f"{machine['cpu']}, {machine['cores']} cores; load at the start {machine['load_at_start'][0]}; "
           f"Redis {machine['versions']['redis-server']}; a page is {page['bytes']:,} bytes, from {page['sources']}")


def _loads(result: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield (f"{'load':24}{'a second':>10}{'share':>8}{'target':>9}   {'us: nginx':>9}{'Redis':>8}{'wrk':>8}   "
           f"{'errors':>6}   cores of other work")
    for name, label in LOADS.items():
        if name in result:
            yield _row(label, result[name])
    if "beacon20" in result:
        yield _found(result["beacon20"])


def _row(label: str, load: dict[str, Any]) -> str:
    cost = "".join(f"{load['cost_per_request'][who]['us']:>8.1f}" for who in ("nginx", "redis", "generator"))
    share, target = load.get("share", ""), load.get("target", "")
    return (f"{label:24}{load['requests_per_second']:>10,}{share:>8}{target:>9}    {cost}   {load['errors']:>6}   "
            f"{', '.join(map(str, load['other_work_cores']))}")


def _found(beacon20: dict[str, Any]) -> str:
    return (f"{beacon20['events_per_second']:,} events a second; {beacon20['acknowledged']:,} acknowledged, "
            f"{beacon20['counted']:,} counted in Redis")
