"""``worker keys``: the keyspace as a table, printed from its one definition."""

from __future__ import annotations

import json

import click

from worker import keyspace


@click.command(help="The keyspace as a table, printed from its one definition.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a key kind and line.")
def command(as_json: bool) -> None:
    """Print one row a kind of key."""
    if as_json:
        for kind in keyspace.KINDS.values():
            row = {"key": kind.pattern, "type": kind.type, "owner": kind.owner,
                   "expires": kind.expires, "holds": kind.holds}
            click.echo(json.dumps(row))
        return
    click.echo(table())


def table() -> str:
    """The keyspace as a Markdown table; ``docs/keys.md`` holds it, and a test compares."""
    rows = ["| key | type | written by | expires | holds |", "|---|---|---|---|---|"]
    rows += [
        f"| `{kind.pattern}` | {kind.type} | {kind.owner} | {kind.expires} | {kind.holds} |"
        for kind in keyspace.KINDS.values()
    ]
    return "\n".join(rows)
