"""A verified copy of all that a stack can't make anew: Redis's data, the secrets, the settings, the ledger of erasures.

The copy is of one moment. It is made in a folder beside the target, loaded into a Redis of its own, compared with what
the stack's Redis had at that moment, and gets its name only then: a folder of that name is a whole back-up.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker import config, manifest
from worker.manifest import BackupError
from worker.store import erasures, overview, snapshot
from worker.store.connect import Store
from worker.store.private import private_server
from worker.store.snapshot import Snapshot

HEADROOM = 1.2  # memory of the Redis that loads the copy, as a share of what the stack's Redis uses


def back_up(store: Store, target: Path, verify: bool = True) -> dict[str, Any]:
    """Make a back-up in ``target``, which must not be there yet. Returns its manifest.

    Raises BackupError or StoreError, and leaves nothing behind then.
    """
    _check_place(target)
    seen = overview.read(store)
    if verify:
        _check_memory(seen.memory)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _alone(store.run):
            draft.mkdir(mode=0o700)
            begun_ms = int(time.time() * 1000)
            taken = snapshot.take(store)
            try:
                shutil.move(taken.file, draft / manifest.DATA)
            finally:
                taken.file.unlink(missing_ok=True)
        _copy_files(store.run, draft)
        counts = _verified(draft, taken) if verify else {}
        manifest.write(draft, _described(begun_ms, taken, counts, store, seen.redis_version))
        draft.rename(target)
    except OSError as error:
        raise BackupError(f"the back-up cannot be written: {error.strerror or error} ({error.filename or draft}); "
                          "nothing was kept of it") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest.read(target)


def _check_place(target: Path) -> None:
    if target.exists():
        raise BackupError(f"{target} is there already: name a folder that is not, such as {target}/"
                          f"{datetime.now(UTC):%Y-%m-%d}")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no folder: make it, on a disk other than the stack's")


def _check_memory(used: int) -> None:
    """Verifying loads all data a second time: not at the cost of the Redis that serves."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    if available < used * HEADROOM:
        raise BackupError("memory is too short to verify the copy, by loading it into a Redis of its own: "
                          f"{int(used * HEADROOM) >> 20} MiB are needed, {available >> 20} are free. Use --no-verify, "
                          "and verify the copy by restoring it on another host")


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """One back-up of a run directory at a time: Redis has one name for the snapshot."""
    handle = os.open(run / "redis", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"another back-up of {run} is being made: wait for it") from None
    finally:
        os.close(handle)


def _copy_files(run: Path, draft: Path) -> None:
    """Secrets, settings and the ledger. The ledger comes after the data: it may know more erasures, never less."""
    (draft / "secrets").mkdir(mode=0o700)
    files = {f"secrets/{path.name}": path for path in (run / "secrets").iterdir() if path.is_file()}
    settings = config.config_file(run)
    if settings is not None:
        files[manifest.SETTINGS] = settings
    if (run / erasures.LEDGER).exists():
        files[erasures.LEDGER] = run / erasures.LEDGER
    for name, path in files.items():
        shutil.copyfile(path, draft / name)
    for path in draft.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _verified(draft: Path, taken: Snapshot) -> dict[str, Any]:
    """Counts of the copy, loaded into a Redis of its own. Raises BackupError when it is not what was there."""
    with private_server(draft) as client:
        wrong = snapshot.differences(client, taken)
        if wrong:
            raise BackupError(f"the copy differs from what Redis had, so it was not kept: {'; '.join(wrong[:5])}. "
                              "Try again; if it stays so, check memory and disk of this host")
        return snapshot.count(client)


def _described(begun_ms: int, taken: Snapshot, counts: dict[str, Any], store: Store,
               redis_version: str) -> dict[str, Any]:
    versions = {"nightfeed": importlib.metadata.version("nightfeed"), "redis": redis_version,
                "python": platform.python_version()}
    return {
        "made_at": f"{datetime.fromtimestamp(begun_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}", "begun_ms": begun_ms,
        "versions": versions, "window_days": store.settings.window_days, "keys": taken.keys, "counts": counts,
        "verified": bool(counts), "compared_keys": len(taken.sample) if counts else 0,
    }
