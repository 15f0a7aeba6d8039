"""The figures of `make bench-edge` as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOADS = {"ceiling": "/healthz, the ceiling", "beacon1": "/beacon, 1 event", "beacon20": "/beacon, 20 events",
         "file": "a fixed body, file", "memory": "a fixed body, memory", "feed": "/feed?n=20"}  # fmt: skip


def text(result: dict[str, Any]) -> str:
    """The whole table."""
    parts = [_head, _loads, _mixed, _falcon, _workers, _profile, _open]
    return "\n".join(line for part in parts for line in part(result))


def _head(result: dict[str, Any]) -> Iterator[str]:
    machine, page = result["machine"], result["page"]
    yield (f"the edge: {result['users']:,} users, {result['data']['seen_per_user']} seen each, nginx with "
           f"{result['nginx_workers']} workers, {result['connections']} connections")
    yield (f"{machine['cpu']}, {machine['cores']} cores; load at the start {machine['load_at_start'][0]}; "
           f"Redis {machine['versions']['redis-server']}; a page is {page['bytes']:,} bytes, from {page['sources']}")
    if result["cores"]:
        alone, others = (", ".join(map(str, result["cores"][who])) for who in ("alone", "others"))
        yield f"nginx's workers on core {alone}, Redis and wrk on {others}, in the first table"


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


def _mixed(result: dict[str, Any]) -> Iterator[str]:
    mixed = result.get("mixed")
    if mixed is None:
        return
    yield ""
    yield (f"four beacons to a page: at most {mixed['requests_per_second']:,} requests a second; "
           f"{mixed['errors']} errors in all")
    for row in mixed["levels"]:
        times = "   ".join(f"{name} {row[f'{field}_ms']:>8.2f} ms"
                           for name, field in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("most", "max")))
        yield (f"  at {row['requests_per_second']:>7,}, {row['level']:.0%}:   {times}   {row['errors']} errors, "
               f"sent late p99 {row['sent_late_p99_ms']} ms, other work {row['other_work_cores']}")


def _falcon(result: dict[str, Any]) -> Iterator[str]:
    falcon = result.get("falcon")
    if falcon is None:
        return
    yield ""
    yield (f"beacons of one event, falcon under gunicorn, {falcon['workers']} workers: "
           f"{falcon['requests_per_second']:,} a second; the edge {falcon['edge_requests_per_second']:,}, "
           f"{falcon['ratio']} times as many, at {falcon['cpu_ratio']} times less CPU each; {falcon['errors']} errors")


def _workers(result: dict[str, Any]) -> Iterator[str]:
    workers = result.get("workers")
    if workers is None:
        return
    yield ""
    yield f"{'nginx workers':24}" + "".join(f"{name:>12}" for name in workers["ratio"])
    for row in workers["rows"]:
        yield f"{row['nginx_workers']:<24}" + "".join(f"{row[name]['requests_per_second']:>12,}"
                                                      for name in workers["ratio"])  # fmt: skip
    yield f"{'ratio':24}" + "".join(f"{ratio:>12}" for ratio in workers["ratio"].values())


def _profile(result: dict[str, Any]) -> Iterator[str]:
    profile = result.get("profile")
    if profile is None:
        return
    yield ""
    yield "thousands of instructions a request, in user space and in the kernel, and system calls ('-': not counted)"
    for name, found in profile["per_request"].items():
        yield f"  {LOADS[name]:24}" + "   ".join(f"{who} {_cost(cost)}" for who, cost in found.items())


def _cost(cost: dict[str, float | None]) -> str:
    user, kernel, calls = (cost[name] for name in ("instructions_user", "instructions_kernel", "syscalls"))
    thousands = "".join(f"{'-' if count is None else format(count / 1e3, '.1f'):>8}" for count in (user, kernel))
    return f"{thousands}{'-' if calls is None else format(calls, '.1f'):>6}"


def _open(result: dict[str, Any]) -> Iterator[str]:
    found = result.get("open")
    if found is None:
        return
    yield ""
    yield (f"{found['open']:,} of {found['asked']:,} connections open at once; {found['lost']} lost, "
           f"{found['errors']} errors {found['faults'] or ''}")
    yield (f"  bytes of nginx for each: {found['nginx_bytes_per_connection']:,} idle, "
           f"{found['nginx_bytes_per_connection_used']:,} after a request; {found['nginx_workers']} workers of "
           f"{found['worker_connections']:,} connections; a process may have {found['descriptor_limit']:,} descriptors")
