"""Puts a back-up in place of a stack's data. Whoever was erased after it was made is erased again, before it is served.

All is prepared and checked beside the data that is there: a Redis of its own loads the copy, erases, and writes it as
the append-only files that the stack's Redis starts from. Then folders change their names, and what was there is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from worker import credentials, manifest
from worker.config import Settings
from worker.idle import AOF, holds_data, idle
from worker.keyspace import partition_of
from worker.manifest import BackupError
from worker.store import erasures, snapshot, users
from worker.store.connect import Store
from worker.store.erasures import Erasure
from worker.store.private import private_server

BASE = "appendonly.aof.1.base.rdb"


def restore(run: Path, folder: Path, force: bool = False) -> dict[str, Any]:
    """Restore a back-up into a run directory whose stack is down. Returns what was done, as JSON types.

    Data that is there is only replaced with ``force``, and moved aside. Raises BackupError or StoreError.
    """
    made = manifest.read(folder)
    try:
        for path, mode in ((run, 0o750), (run / "redis", 0o750), (run / "secrets", 0o700)):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
        with idle(run):
            in_use = holds_data(run)
            if in_use and not force:
                raise BackupError(f"{run} holds data: restore into an empty run directory (NIGHTFEED_RUN), or move "
                                  "the data aside with --force")
            return _restored(run, folder, made, in_use)
    except OSError as error:
        raise BackupError(f"the back-up cannot be restored: {error.strerror or error} "
                          f"({error.filename or run})") from error


def _restored(run: Path, folder: Path, made: dict[str, Any], in_use: bool) -> dict[str, Any]:
    keys = _merged_keys(run, folder, in_use)
    ledger = erasures.read(run / erasures.LEDGER) + erasures.read(folder / erasures.LEDGER)
    draft = run / "redis" / f".restore.{os.getpid()}"
    try:
        _lay_out(folder, draft)
        with private_server(draft, appendonly=True) as client:
            loaded = snapshot.loaded_keys(client)
            if loaded != made["keys"]:
                raise BackupError(f"{loaded} keys were loaded instead of {made['keys']}: nothing was restored")
            again = _erase_again(Store(client, Settings(), run), ledger, keys, made["begun_ms"])
            left = client.dbsize()
        erasures.write(run / erasures.LEDGER, ledger)
        secrets = _place_secrets(run, folder, keys, in_use)
        aside = _place_data(run, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {"made_at": made["made_at"], "loaded_keys": loaded, "keys": left, "erased_again": again,
            "erasures": len(set(ledger)), "secrets": secrets, "settings": _place_settings(run, folder),
            "set_aside": None if aside is None else str(aside)}


def _merged_keys(run: Path, folder: Path, in_use: bool) -> list[str]:
    """Keys of the pseudonyms in both ledgers, those of the side whose secrets are used first."""
    here, there = (_erasure_keys(place / "secrets/erasures.json") for place in (run, folder))
    return list(dict.fromkeys(here + there if in_use else there + here))


def _erasure_keys(path: Path) -> list[str]:
    return list(json.loads(path.read_bytes())["keys"]) if path.exists() else []


def _lay_out(folder: Path, draft: Path) -> None:
    """The files of a Redis 7 that keeps an append-only log: a snapshot is its base, and the log is still empty."""
    shutil.rmtree(draft, ignore_errors=True)
    (draft / AOF).mkdir(mode=0o750, parents=True)
    shutil.copyfile(folder / manifest.DATA, draft / AOF / BASE)
    (draft / AOF / "appendonly.aof.manifest").write_text(f"file {BASE} seq 1 type b\n")


def _erase_again(store: Store, ledger: list[Erasure], keys: list[str], begun_ms: int) -> int:
    """Erase whoever was erased after the back-up began, and have it last: the files are written anew without them."""
    later = [erasure for erasure in ledger if erasure.at_ms >= begun_ms]
    found = erasures.returned(store, later, keys)
    for user, at_ms in found.items():
        users.erase(store, user, Erasure(at_ms, partition_of(user), erasures.pseudonym(keys[0], user)))
    pipe = store.redis.pipeline()
    erasures.mark(pipe, ledger, int(time.time() * 1000))
    pipe.execute()
    _rewrite(store.redis)
    return len(found)


def _rewrite(client: redis.Redis) -> None:
    client.bgrewriteaof()
    while True:
        state: dict[str, Any] = client.info("persistence")
        if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
            break
        time.sleep(0.05)
    if state["aof_last_bgrewrite_status"] != "ok":
        raise BackupError("the data cannot be written: is the disk full? Nothing was restored")


def _place_secrets(run: Path, folder: Path, keys: list[str], in_use: bool) -> str:
    """Secrets of a stack that is in use stay: a key that was rotated since must not come back."""
    for path in sorted((folder / "secrets").iterdir()):
        if not in_use or not (run / "secrets" / path.name).exists():
            _write(run / "secrets" / path.name, path.read_bytes())
    if keys:
        _write(run / "secrets/erasures.json", json.dumps({"keys": keys}).encode())
    credentials.ensure(run)
    return "kept" if in_use else "restored"


def _place_settings(run: Path, folder: Path) -> str:
    source, target = folder / manifest.SETTINGS, run / manifest.SETTINGS
    if not source.exists():
        return "none"
    if target.exists():
        return "kept"
    _write(target, source.read_bytes())
    return "restored"


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _place_data(run: Path, draft: Path) -> Path | None:
    """Swap the folders; returns where the data that was there is now, or None."""
    target, aside = run / "redis" / AOF, None
    if target.exists():
        aside = target.with_name(f"{AOF}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        target.rename(aside)
    (draft / AOF).rename(target)
    return aside
