"""What is wrong with an installation and what to do: versions, files, Redis, the host, the nights."""

from __future__ import annotations

from pathlib import Path

from worker.config import ConfigError
from worker.credentials import CredentialsError
from worker.doctor import edge, files, host, nights, server, versions
from worker.doctor.check import Check, fail
from worker.store.connect import Store, open_store
from worker.store.errors import StoreError

__all__ = ["Check", "examine"]


def examine(run: Path) -> list[Check]:
    """All checks of a run directory's stack; whatever is down or missing is a failed check, never an error."""
    found = list(versions.checks(run))
    if not files.readable(run):
        return [*found, files.missing(run)]
    found += files.checks(run)
    store, why = _store(run)
    if store is None:
        found.append(fail("redis", why, "the checks of Redis, and of what is in it, were not made"))
    else:
        found += server.checks(store)
    found += [*edge.checks(run), *host.checks(run, store), *nights.checks(run, store)]
    return found


def _store(run: Path) -> tuple[Store | None, str]:
    """The open store, or why there is none; the message of every error here says what to do."""
    try:
        return open_store(run), ""
    except (StoreError, ConfigError, CredentialsError) as error:
        return None, str(error)
