"""Whether the edge answers, has what it needs of the system, and runs with the settings that are written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker import config
from worker.config import ConfigError
from worker.doctor.check import Check, fail, ok, warn
from worker.status import ask_edge

PROC = Path("/proc")


def checks(run: Path) -> Iterator[Check]:
    """The edge, and its settings."""
    state = ask_edge(run)
    if not state["answers"]:
        yield fail("edge", f"it does not answer ({state['detail']})", "start the stack (make up)")
    elif not state["ready"]:
        yield warn("edge", f"it answers, but is not ready: {state['detail']}", "the reasons say what is missing")
    else:
        yield ok("edge", "it answers and is ready")
    yield _settings(run)
    yield _descriptors(run)


def _settings(run: Path) -> Check:
    """The rendered settings against those that would be rendered now. The port may come from the command line."""
    try:
        settings = dataclasses.asdict(config.load(run))
        rendered = json.loads((run / "config.json").read_bytes())
    except ConfigError as error:
        return fail("settings", str(error), "mend it: the next start would refuse it")
    except (OSError, ValueError) as error:
        return fail("settings", f"{run / 'config.json'} cannot be read: {error}", "make up writes it")
    changed = [name for name, value in settings.items() if name != "port" and rendered.get(name) != value]
    if changed:
        return warn("settings", f"changed since the stack was started: {', '.join(changed)}", "make up applies them")
    return ok("settings", "those of the running stack are those of the file")


def _descriptors(run: Path) -> Check:
    """Each connection takes one of the files that a process may have open, and each of its requests perhaps another."""
    least, wanted = _open_files(run), _rendered(run).get("worker_connections")
    if least is None or not isinstance(wanted, int):
        return ok("open files", "nginx does not run, or is somebody else's: not known")
    if least < wanted:
        return warn("open files", f"an nginx worker may have {least}, for up to {wanted} connections: visitors beyond "
                    "that are refused", f"raise the hard limit of who starts the stack to {2 * wanted} or more (ulimit "
                    "-Hn, LimitNOFILE=), then make down up; or lower worker_connections")
    return ok("open files", f"{least} for each nginx worker, for up to {wanted} connections")


def _open_files(run: Path) -> int | None:
    """The smallest limit among nginx's workers."""
    try:
        master = (run / "pid/nginx.pid").read_text().strip()
        workers = (PROC / master / "task" / master / "children").read_text().split()
        limits = [(PROC / worker / "limits").read_text() for worker in workers]
    except OSError:
        return None
    found = [line.split()[3] for text in limits for line in text.splitlines() if line.startswith("Max open files")]
    return min((int(soft) for soft in found if soft.isdecimal()), default=None)


def _rendered(run: Path) -> dict[str, Any]:
    try:
        rendered: dict[str, Any] = json.loads((run / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return rendered
