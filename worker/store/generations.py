"""Generations: the plan of a run, its lists, the switch, and the records of runs. Every write is fenced by a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import orjson
from redis.client import Pipeline
from redis.exceptions import ResponseError, WatchError

from worker import keyspace
from worker.keyspace import PARTITIONS
from worker.store.connect import Store
from worker.store.errors import StoreError

KEPT = 8
KEPT_RUNS = 90
OUTRUN = "a newer nightly run has begun: this one stops and has written nothing since"
RESTARTED = ("Redis was restarted during the run, and may have lost what it acknowledged just before: "
             "start the run again, it goes on with what is left")


class FencedError(Exception):
    """A newer run has begun; this one must write nothing more."""


class RestartedError(StoreError):
    """Redis was restarted since the run began; what it had acknowledged just before may be gone."""

    def __init__(self, message: str = RESTARTED) -> None:
        super().__init__(message)


@dataclass(frozen=True)
class Turn:
    """What each write of a run is compared with: its fencing token, and the run id of the Redis that gave it out."""

    token: int
    server: str = ""  # empty: any


def next_turn(store: Store) -> Turn:
    """A turn with a token greater than every earlier one."""
    server = run_id(store)
    return Turn(next_token(store), server)


def run_id(store: Store) -> str:
    """What tells one start of Redis from the next."""
    return str(store.redis.info("server")["run_id"])


def next_token(store: Store) -> int:
    """A fencing token greater than every earlier one."""
    return int(store.redis.incr(keyspace.key("token")))


def state(store: Store) -> dict[str, str]:
    """The generation hash: ``generation date moment made_at top history``, ``begun begun_date turn`` of the last start.

    ``turn`` is the token of the run that works at ``begun``.
    """
    found = cast(dict[bytes, bytes], store.redis.hgetall(keyspace.key("generation")))
    return {name.decode(): value.decode() for name, value in found.items()}


def set_state(store: Store, turn: Turn, fields: Mapping[str, int | str]) -> None:
    """Write fields of the generation hash. Raises what ``fenced`` does."""
    keys = [keyspace.key("token"), keyspace.key("generation")]
    flat = [part for pair in fields.items() for part in pair]
    with refused():
        store.redis.fcall("nightfeed_switch", 2, *keys, turn.token, turn.server, *flat)


@contextmanager
def fenced(store: Store, turn: Turn) -> Iterator[Pipeline]:
    """A transaction on shared keys, executed at the end of the block only while the turn holds.

    Raises FencedError when a newer run has begun, RestartedError when Redis was restarted since this one began.
    """
    token = keyspace.key("token")
    try:
        with store.redis.pipeline(transaction=True) as pipe:
            pipe.watch(token)  # type: ignore[no-untyped-call]
            newest = int(cast(bytes | None, pipe.get(token)) or 0)
            if turn.server and pipe.info("server")["run_id"] != turn.server:
                raise RestartedError
            if newest != turn.token:
                raise FencedError(OUTRUN)
            pipe.multi()
            yield pipe
            pipe.execute()
    except WatchError:
        raise (FencedError(OUTRUN) if newest_token(store) > turn.token else RestartedError()) from None


def write_plan(store: Store, turn: Turn, generation: int, parts: Mapping[str, bytes]) -> None:
    """Write ``pool``, ``default``, ``older`` and ``plan`` of a generation that nobody reads yet."""
    with fenced(store, turn) as pipe:
        for name, raw in parts.items():
            pipe.set(keyspace.key(name, generation), raw)


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
    with refused():
        return [p for p, reply in zip(partitions, pipe.execute(), strict=True) if reply == b"claimed"]


def mark_done(store: Store, partition: int, turn: Turn, generation: int, report: bytes) -> None:
    """Mark a partition as done, with its report. Raises FencedError or RestartedError, as ``fenced`` does."""
    with refused():
        fence = keyspace.partition_key("fence", partition)
        store.redis.fcall("nightfeed_done", 1, fence, turn.token, turn.server, generation, report)


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


def write_ranking(store: Store, turn: Turn, name: str, scores: Mapping[str, float]) -> None:
    """Replace the sorted set ``top`` or ``new``: item id to score."""
    key = keyspace.key(name)
    with fenced(store, turn) as pipe:
        pipe.unlink(key)
        if scores:
            pipe.zadd(key, dict(scores))


def write_run(store: Store, turn: Turn, date: str, report: bytes) -> None:
    """Record a run's report under its date; the oldest dates beyond KEPT_RUNS go."""
    key = keyspace.key("runs")
    dates = sorted({*store.redis.hkeys(key), date.encode()})
    with fenced(store, turn) as pipe:
        pipe.hset(key, date, report)
        if len(dates) > KEPT_RUNS:
            pipe.hdel(key, *dates[:-KEPT_RUNS])


def read_runs(store: Store) -> list[dict[str, Any]]:
    """Reports of all recorded runs, newest date first."""
    found = store.redis.hgetall(keyspace.key("runs"))
    return [orjson.loads(report) for _, report in sorted(found.items(), reverse=True)]


@contextmanager
def refused() -> Iterator[None]:
    """Turns a function's refusal of the turn into FencedError or RestartedError."""
    try:
        yield
    except ResponseError as error:
        if "FENCED" in str(error):
            raise FencedError(OUTRUN) from error
        if "RESTARTED" in str(error):
            raise RestartedError from error
        raise
