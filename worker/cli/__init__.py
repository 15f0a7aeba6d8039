"""The ``worker`` command: each subcommand lives in a module of its name and is imported when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from worker.config import ConfigError
from worker.credentials import CredentialsError
from worker.store.errors import StoreError

# name on the command line: one line of help, so that --help imports nothing
COMMANDS = {
    "nightly": "Score everything and publish every active user's list.",
    "items": "The catalogue: import, list, show, hide, unhide, remove.",
    "events": "Events from a file, by the same rules as the edge's.",
    "user": "What is known of a person, why they see what they see, and erasure.",
    "token": "A signed token for a user, or the API token of a role.",
    "status": "Last runs, age of the lists, counts.",
    "doctor": "What is wrong with this installation, and what to do.",
    "backup": "A verified copy of data, secrets and settings.",
    "restore": "Put a back-up in place; who was erased since stays erased.",
    "install-timer": "Start the nightly run at 00:00 UTC, by systemd or cron.",
    "keys": "The keyspace as a table.",
    "config": "Every setting, its default and its meaning.",
}


class Lazy(click.Group):
    """A group that imports ``worker.cli.<name>``, with ``_`` for ``-``, and takes its ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"worker.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help from COMMANDS, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nightfeed")
def group() -> None:
    """Nightfeed's worker. NIGHTFEED_RUN names the run directory of the stack it speaks to (default: run)."""


def main(args: list[str] | None = None) -> Any:
    """Run the command line; exit 0 when done, 1 when it failed, 2 when it was used wrongly."""
    try:
        return group(args=args, prog_name="worker", standalone_mode=True)
    except (ConfigError, CredentialsError, StoreError) as error:
        click.echo(f"worker: {error}", err=True)
        sys.exit(1)
