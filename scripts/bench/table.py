"""The benchmark's figures as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BY_NUMPY = ("lists are made by numpy, not by compiled code: this is not how fast a run can be "
            "(scripts/install.sh run fast; the setting compiled)")


def text(result: dict[str, Any]) -> str:
    """The whole table."""
    parts = [_head, _runs, _native, _memory, _extrapolation, _growth, _feed]
    return "\n".join(line for part in parts for line in part(result))


def _head(result: dict[str, Any]) -> Iterator[str]:
    machine, data = result["machine"], result["data"]
    yield (f"worker nightly: {result['users']:,} users, {data['seen_per_user']} seen each, top {result['top']}, "
           f"lists of {result['length']}, {result['jobs']} processes")
    yield (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; load at the start "
           f"{machine['load_at_start'][0]}; Redis {machine['versions']['redis-server']}")
    yield f"filled in {data['fill_seconds']} s"
    if not result["compiled"]:
        yield BY_NUMPY


def _runs(result: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{'run':28}{'users/s':>10}{'seconds':>10}{'us/user':>10}   stages, us/user of all processes together"
    names = {"first": "first: lists are new", "again": "again: lists exist"}
    for name, run in result["runs"].items():
        yield (f"{names[name]:28}{run['users_per_second']:>10,}{run['command_seconds']:>10.2f}"
               f"{run['us_per_user']:>10.2f}   {_stages(run)}")
    cores = [part["other_work_cores"] for part in (*result["runs"].values(), result["native"])]
    yield "processor time of the second, us/user: " + ", ".join(
        f"{name} {spent}" for name, spent in result["runs"]["again"]["cpu_us_per_user"].items())
    yield f"cores that other processes had meanwhile, in these two runs and below: {', '.join(map(str, cores))}"


def _stages(run: dict[str, Any]) -> str:
    return ", ".join(f"{name} {spent}" for name, spent in run["stage_us_per_user"].items())


def _native(result: dict[str, Any]) -> Iterator[str]:
    native = result["native"]
    yield (f"{'ZDIFFSTORE, lists exist':28}{native['users_per_second']:>10,}{'':>20}   "
           f"on {native['users']:,} users; ratio {result['ratio']}")
    yield (f"{'SMEMBERS and Python':28}{native['python_users_per_second']:>10,}{'':>20}   "
           f"on {native['python_users']:,} users; ratio {result['ratio_python']}")


def _memory(result: dict[str, Any]) -> Iterator[str]:
    memory, per_user = result["memory"], result["redis_bytes_per_user"]
    yield ""
    yield "peak memory: " + ", ".join(f"{row['process']} {row['peak_mb']} MB" for row in memory["processes"])
    redis = memory["redis"]
    yield (f"Redis: {redis['ready_mb']} MB with lists, at most {redis['peak_resident_mb']} MB resident; "
           f"{per_user['all']} bytes a user ({per_user['seen_and_users']} seen and users, {per_user['list']} list)")


def _extrapolation(result: dict[str, Any]) -> Iterator[str]:
    for row in result["extrapolation"]:
        yield (f"{row['users']:>11,} users: {row['redis_gb']} GB of Redis, {row['hours_on_this_machine']} h on this "
               f"machine; or {row['hosts_like_this']} such hosts, {row['hours_on_those']} h")


def _growth(result: dict[str, Any]) -> Iterator[str]:
    growth = result["growth"]
    if growth is None:
        return
    yield ""
    yield f"{'users':>10}{'top':>8}{'seconds':>10}{'us/user':>10}{'cpu us/user':>14}{'stages us/user':>16}"
    for row in [*growth["by_users"], *growth["by_top"]]:
        yield (f"{row['users']:>10,}{row['top']:>8,}{row['seconds']:>10.2f}{row['us_per_user']:>10.2f}"
               f"{row['cpu_us_per_user']:>14.2f}{row['stages_us_per_user']:>16.2f}")
    yield f"time of the stages for a user, largest over smallest number of users: {growth['spread_percent']} % more"


def _feed(result: dict[str, Any]) -> Iterator[str]:
    feed = result["feed"]
    if feed is None:
        return
    yield ""
    yield f"/feed at {feed['requests_per_second']:,.0f} requests/s (open loop)"
    for name, label in (("idle", "idle"), ("during_run", "during a run")):
        row = feed[name]
        times = "   ".join(f"{at} {row[f'{at}_ms']:>8.2f} ms" for at in ("p50", "p99", "max"))
        yield f"  {label:14} {times}   {row['requests']:,} requests, {row['errors']} errors"
    yield f"  p99 ratio {feed['p99_ratio']}; the run made {feed['run_users_per_second']:,} users/s meanwhile"
