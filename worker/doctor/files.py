"""Who may read what: the run directory, the secrets, the sockets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from worker.doctor.check import Check, fail, ok, warn

OTHERS, GROUP_WRITES, ALL_BUT_OWNER = 0o007, 0o020, 0o077
# What more than the owner may not touch, and what nobody outside the group may.
PRIVATE = ("secrets", "config.json", "redis/users.acl", "erasures.log", "demo/people.json")
CLOSED = ("", "sock", "redis", "redis/appendonlydir", "nginx", "log", "pid", "demo")
# Folders whose files hold what people read, or what went wrong, and those where bodies of requests wait.
CONTENTS = ("redis/appendonlydir/*", "redis/*.conf", "log/*", "nginx/*")


def readable(run: Path) -> bool:
    """Whether there is a run directory whose secrets this user can read: without them nothing can be checked."""
    return run.is_dir() and os.access(run, os.R_OK | os.X_OK) and os.access(run / "secrets", os.R_OK | os.X_OK)


def missing(run: Path) -> Check:
    """What to do when there is not."""
    if not run.is_dir():
        return fail("run directory", f"{run} is not there", "start the stack (make up), or set NIGHTFEED_RUN")
    return fail("run directory", f"{run} has no secrets that user {os.geteuid()} can read; it is of user "
                f"{run.stat().st_uid}", "run this as the user that started the stack (make up starts one)")


def stats(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """What is known of those paths that are there; Redis may remove one at any moment."""
    found = {}
    for path in paths:
        with suppress(OSError):
            found[path] = path.stat()
    return found


def checks(run: Path) -> Iterator[Check]:
    """Permissions of what is in a readable run directory, and whose it is."""
    yield _owner(run)
    closed = [run / name for name in CLOSED] + [path for pattern in CONTENTS for path in sorted(run.glob(pattern))]
    yield _permissions("run directory", run, closed, OTHERS | GROUP_WRITES, "o-rwx,g-w")
    private = [run / name for name in PRIVATE]
    private += sorted((run / "secrets").glob("*"))
    yield _permissions("secrets", run, private, ALL_BUT_OWNER, "go-rwx")
    yield _permissions("sockets", run, sorted((run / "sock").glob("*.sock")), OTHERS, "o-rwx")
    yield from _leftovers(run)


def _owner(run: Path) -> Check:
    owner = run.stat().st_uid
    if owner == 0:
        return warn("user", "the stack runs as root: a hole in nginx or Redis is a hole in the host",
                    "give it a user of its own: chown -R nightfeed RUN, and start it as that one")
    return ok("user", f"the stack is user {owner}'s, who is not root")


def _permissions(name: str, run: Path, paths: list[Path], forbidden: int, change: str) -> Check:
    modes = {path: stat.S_IMODE(found.st_mode) for path, found in stats(paths).items()}
    open_ones = {path: mode for path, mode in modes.items() if mode & forbidden}
    if not open_ones:
        return ok(name, f"{len(modes)} looked at, closed to others")
    listed = ", ".join(f"{path} is {mode:04o}" for path, mode in open_ones.items())
    return fail(name, f"open to others: {listed}", f"chmod {change} {' '.join(map(str, open_ones))}")


def _leftovers(run: Path) -> Iterator[Check]:
    """Copies of people's data that nothing needs: a snapshot of an interrupted back-up, what a restore moved aside."""
    names = ("dump.rdb", "temp-*.rdb", "appendonlydir.before-*", ".restore.*")
    left = [path for name in names for path in sorted((run / "redis").glob(name))]
    if left:
        yield warn("leftovers", f"data that is not in use: {', '.join(map(str, left))}",
                   "delete it when no back-up or restore is at work and all is well: it holds people who were erased")
