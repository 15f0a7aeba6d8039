"""``worker token``: a signed token for a user, or the API token of a role; nothing else is printed."""

from __future__ import annotations

import time

import click

from worker import config, credentials, tokens


@click.command(help="Print a signed token for USER, or with --api the API token of a role.")
@click.argument("user", required=False)
@click.option("--api", "role", type=click.Choice(credentials.ROLES), help="The API token of this role instead.")
def command(user: str | None, role: str | None) -> None:
    """Print one token. Usage errors when it is not said whose, or for both."""
    if (user is None) == (role is None):
        raise click.UsageError("give a USER, or --api and a role, and not both")
    secrets = credentials.load(config.run_directory())
    if role is not None:
        click.echo(secrets.api[role])
        return
    try:
        click.echo(tokens.sign(secrets.keyring, user or "", int(time.time())))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
