"""Generations: the plan of a run, its lists, the switch, and the records of runs. Every write is fenced by a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from redis.exceptions import ResponseError

from worker import keyspace
from worker.keyspace import PARTITIONS
from worker.store.connect import Store

KEPT = 8
KEPT_RUNS = 90
OUTRUN = "a newer nightly run has begun: this one stops and has written nothing since"


class FencedError(Exception):
    """A newer run has begun; this one must write nothing more."""


def next_token(store: Store) -> int:
    """A fencing token greater than every earlier one."""
    return int(store.redis.incr(keyspace.key("token")))


def state(store: Store) -> dict[str, str]:
    """The generation hash: ``generation date moment made_at top history``, ``begun begun_date`` of the last start."""
    found = cast(dict[bytes, bytes], store.redis.hgetall(keyspace.key("generation")))
    return {name.decode(): value.decode() for name, value in found.items()}


def set_state(store: Store, token: int, fields: Mapping[str, int | str]) -> None:
    """Write fields of the generation hash. Raises FencedError when ``token`` is not the newest."""
    keys = [keyspace.key("token"), keyspace.key("generation")]
    flat = [part for pair in fields.items() for part in pair]
    with _fenced():
        store.redis.fcall("nightfeed_switch", 2, *keys, token, *flat)


def write_plan(store: Store, generation: int, parts: Mapping[str, bytes]) -> None:
    """Write ``pool``, ``default``, ``older`` and ``plan`` of a generation that nobody reads yet."""
    pipe = store.redis.pipeline(transaction=True)
    for name, raw in parts.items():
        pipe.set(keyspace.key(name, generation), raw)
    pipe.execute()


def read_plan(store: Store, generation: int) -> dict[str, bytes] | None:
    """The parts that ``write_plan`` wrote, or None when one is gone."""
    names = ("pool", "default", "older", "plan")
    found = cast(list[bytes], store.redis.mget([keyspace.key(name, generation) for name in names]))
    return None if None in found else dict(zip(names, found, strict=True))


def claim(store: Store, partitions: Sequence[int], token: int, generation: int, owner: str,
          seconds: int) -> list[int]:
    """Claim partitions, or renew claims: those that ``owner`` may work at, for ``seconds``.

    The others are done, or claimed by another process of the same run. Raises FencedError when a newer run has begun.
    """
    pipe = store.redis.pipeline(transaction=False)
    for partition in partitions:
        fence = keyspace.partition_key("fence", partition)
        pipe.fcall("nightfeed_claim", 1, fence, token, generation, owner, seconds)
    with _fenced():
        return [p for p, reply in zip(partitions, pipe.execute(), strict=True) if reply == b"claimed"]


def mark_done(store: Store, partition: int, token: int, generation: int, report: bytes) -> None:
    """Mark a partition as done, with its report. Raises FencedError when a newer run has begun."""
    with _fenced():
        fence = keyspace.partition_key("fence", partition)
        store.redis.fcall("nightfeed_done", 1, fence, token, generation, report)


def check_token(store: Store, token: int) -> None:
    """Raises FencedError when a newer run has begun."""
    if newest_token(store) > token:
        raise FencedError(OUTRUN)


def newest_token(store: Store) -> int:
    """The newest fencing token that was given out."""
    return int(cast(bytes | None, store.redis.get(keyspace.key("token"))) or 0)


def done_partitions(store: Store, generation: int) -> dict[int, dict[str, Any]]:
    """Reports of the partitions that are done for a generation."""
    pipe = store.redis.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.hmget(keyspace.partition_key("fence", partition), "done", "report")
    replies = enumerate(pipe.execute())
    return {p: orjson.loads(report) for p, (done, report) in replies if done and int(done) == generation}


def drop_old(store: Store, history: Sequence[int], current: int) -> list[int]:
    """Keep the newest of ``history`` and ``current``, delete the keys of the others; what is kept, oldest first."""
    ordered = sorted(set(history))
    kept = [generation for generation in ordered if generation in ordered[-KEPT:] or generation == current]
    for generation in set(ordered).difference(kept):
        store.redis.unlink(*(keyspace.key(name, generation) for name in ("pool", "default", "older", "plan")))
    return kept


def write_ranking(store: Store, name: str, scores: Mapping[str, float]) -> None:
    """Replace the sorted set ``top`` or ``new``: item id to score."""
    key = keyspace.key(name)
    pipe = store.redis.pipeline(transaction=True)
    pipe.unlink(key)
    if scores:
        pipe.zadd(key, dict(scores))
    pipe.execute()


def write_run(store: Store, date: str, report: bytes) -> None:
    """Record a run's report under its date; the oldest dates beyond KEPT_RUNS go."""
    key = keyspace.key("runs")
    store.redis.hset(key, date, report)
    dates = sorted(store.redis.hkeys(key))
    if len(dates) > KEPT_RUNS:
        store.redis.hdel(key, *dates[:-KEPT_RUNS])


def read_runs(store: Store) -> list[dict[str, Any]]:
    """Reports of all recorded runs, newest date first."""
    found = store.redis.hgetall(keyspace.key("runs"))
    return [orjson.loads(report) for _, report in sorted(found.items(), reverse=True)]


class _fenced:  # noqa: N801 - a context manager, read as a phrase
    """Turns Redis's refusal of an old token into FencedError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, ResponseError) and "FENCED" in str(error):
            raise FencedError(OUTRUN) from error
