"""The lease: one nightly run at a time. Safety does not rest on it, but on the fencing token in every write."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from redis.exceptions import RedisError, WatchError
from redis.lock import Lock

from worker import keyspace
from worker.store.connect import Store

SECONDS = 30.0


class LeaseError(Exception):
    """Another run holds the lease; the message says who and what to do."""


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Hold the lease, renewed three times in its length. Raises LeaseError when another run has it.

    The lease of a process of this host that no longer lives is taken over at once; one of another host when it ends.
    """
    key = keyspace.key("lease")
    lock = Lock(store.redis, key, timeout=SECONDS, thread_local=False)
    owner = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"
    _clear_dead(store, key)
    if not lock.acquire(blocking=False, token=owner):
        raise LeaseError(_who(store, key))
    ended = threading.Event()
    beat = threading.Thread(target=_renew, args=(lock, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        # One that is lost, or cannot be given back, ends by itself; what the run has to say matters more.
        with suppress(RedisError):
            lock.release()


def _renew(lock: Lock, ended: threading.Event) -> None:
    while not ended.wait(SECONDS / 3):
        try:
            lock.reacquire()
        except RedisError:
            # Redis is away, or the lease is lost: the next beat tries again, and the fencing token keeps the data safe.
            continue


def _clear_dead(store: Store, key: str) -> None:
    with store.redis.pipeline() as pipe, suppress(WatchError):
        pipe.watch(key)  # type: ignore[no-untyped-call]
        value = cast(bytes | None, pipe.get(key))
        if value is None:
            return
        host, pid, started = value.decode().rsplit(":", 2)
        if host == socket.gethostname() and _started(int(pid)) != started:
            # Unless another run that begins at this moment has done so, and taken the lease.
            pipe.multi()
            pipe.delete(key)
            pipe.execute()


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty when it does not live. (Pids are used again.)"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _who(store: Store, key: str) -> str:
    value, left = cast(bytes | None, store.redis.get(key)), store.redis.pttl(key)
    host, pid = (value.decode().rsplit(":", 2) if value else ["?", "?"])[:2]
    return (f"another nightly run is at work (process {pid} on {host}): wait for it, or, if it is gone, "
            f"{max(left, 0) / 1000:.0f} s until its lease ends")
