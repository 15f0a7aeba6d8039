"""A Redis of one's own on a folder of data: behind a Unix socket in a temporary folder, ended with the block."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError
from redis.retry import Retry

from worker.store.errors import StoreError

SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
LOADING_SECONDS = 3600
STOP_SECONDS = 120
# As in scripts/redis/redis.conf, where they shape the data; no snapshots that nobody asked for.
SETTINGS = {"port": "0", "save": "", "daemonize": "no", "set-proc-title": "no", "unixsocketperm": "700",
            "dbfilename": "dump.rdb", "rdbcompression": "no", "databases": "1"}
TAIL = 5  # lines of its log that an error shows


@contextmanager
def private_server(folder: Path, appendonly: bool = False) -> Iterator[redis.Redis]:
    """A client (bytes in, bytes out) of a new server on ``folder/dump.rdb``, or on its append-only files.

    Raises StoreError with the end of its log when it does not load the data.
    """
    with tempfile.TemporaryDirectory(prefix="nf-") as place:
        process = _start(folder, Path(place), appendonly)
        client = redis.Redis(unix_socket_path=f"{place}/redis.sock", socket_timeout=600, retry=Retry(NoBackoff(), 0))
        try:
            _wait(process, client, Path(place) / "log")
            yield client
        finally:
            client.close()
            _stop(process)


def _start(folder: Path, place: Path, appendonly: bool) -> subprocess.Popen[bytes]:
    program = shutil.which("redis-server", path=SEARCH)
    if program is None:
        raise StoreError("redis-server is not installed, and a copy is checked by loading it: make installs it")
    settings = {**SETTINGS, "dir": str(folder), "unixsocket": f"{place}/redis.sock", "logfile": f"{place}/log",
                "appendonly": "yes" if appendonly else "no"}
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, umask=0o077)


def _wait(process: subprocess.Popen[bytes], client: redis.Redis, log: Path) -> None:
    deadline = time.monotonic() + LOADING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
            return
        except (ConnectionError, BusyLoadingError):
            time.sleep(0.02)
    lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
    raise StoreError("a Redis of its own could not load the data:\n" + "\n".join(f"    {line}" for line in lines))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
