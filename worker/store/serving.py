"""Opens Redis for a process that serves: it starts without Redis, outlives its restarts, and gives up soon."""

from __future__ import annotations

from pathlib import Path

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from worker.config import Settings
from worker.credentials import Credentials
from worker.store.connect import Store

TIMEOUT = 5.0  # seconds for one reply
RETRIES = 2


def serving_store(run: Path, settings: Settings, secrets: Credentials) -> Store:
    """A Store that connects at the first command. Where ``open_store`` waits for Redis, this one lets go.

    A web process that hangs takes its other callers with it; one that fails to start takes the server down.
    Commands are tried again, which is safe: what the API writes is the same written twice.
    """
    client = redis.Redis(
        unix_socket_path=str(run / "sock" / "redis.sock"),
        username="worker",
        password=secrets.redis["worker"],
        socket_timeout=TIMEOUT,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), RETRIES),
        retry_on_error=[ConnectionError, TimeoutError],
    )
    return Store(client, settings, run)
