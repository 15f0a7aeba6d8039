"""``worker doctor``: what is wrong with this installation, and what to do."""

from __future__ import annotations

import sys
from collections import Counter

import click
import orjson

from worker import config
from worker.doctor import Check, examine
from worker.doctor.check import STATES


@click.command(help="Check versions, permissions, Redis, the host, the clock and the timer, and say what to do. Exit "
                    "1 when a check fails; warnings are none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ok, and the checks.")
def command(as_json: bool) -> None:
    """Print a line a check; what is to be done stands under it."""
    found = examine(config.run_directory())
    states = Counter(check.state for check in found)
    if as_json:
        click.echo(orjson.dumps({"ok": not states["fail"], "checks": [check.row() for check in found]}))
    else:
        click.echo("\n".join([*map(_line, found), ", ".join(f"{states[state]} {state}" for state in STATES)]))
    sys.exit(1 if states["fail"] else 0)


def _line(check: Check) -> str:
    todo = f"\n      do: {check.todo}" if check.todo else ""
    return f"{check.state:5} {check.name}: {check.found}{todo}"
