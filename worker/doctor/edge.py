"""Whether the edge answers, and runs with the settings that are written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from worker import config
from worker.config import ConfigError
from worker.doctor.check import Check, fail, ok, warn
from worker.status import ask_edge


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
