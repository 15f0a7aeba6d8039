"""Opens the stack's Redis and loads the Redis functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, RedisError, TimeoutError
from redis.retry import Retry

from worker import config, credentials
from worker.config import Settings
from worker.store.errors import StoreError


@dataclass(frozen=True)
class Store:
    """An open Redis (bytes in, bytes out), the settings, and the run directory they belong to."""

    redis: redis.Redis
    settings: Settings
    run: Path


def open_store(run: Path | None = None, settings: Settings | None = None) -> Store:
    """Connect to the Redis of a run directory and check that it answers. Raises StoreError when it does not."""
    run = run or config.run_directory()
    settings = settings or config.load(run)
    socket = run / "sock" / "redis.sock"
    client = redis.Redis(
        unix_socket_path=str(socket),
        username="worker",
        password=credentials.load(run).redis["worker"],
        socket_timeout=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.02), 6),
        retry_on_error=[ConnectionError, TimeoutError],
    )
    with explained(f"Redis at {socket}"):
        client.ping()
    return Store(client, settings, run)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns the client's errors into a StoreError that says what to do."""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise StoreError(f"{what} refused the worker's password: was the stack started from another "
                         f"run directory? ({error})") from error
    except (ConnectionError, TimeoutError) as error:
        raise StoreError(f"{what} does not answer: start the stack (make up), or set NIGHTFEED_RUN to its "
                         f"run directory ({error})") from error
    except RedisError as error:
        raise StoreError(f"{what} refused a command: {error}") from error


def load_functions(client: redis.Redis, folder: Path) -> None:
    """(Re)load every function library of ``folder`` (``lua/redis``)."""
    for path in sorted(folder.glob("*.lua")):
        client.function_load(path.read_text(), replace=True)
