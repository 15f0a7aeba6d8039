"""``worker config``: every setting, printed from the one definition in ``worker/config.py``."""

from __future__ import annotations

import dataclasses
import json

import click

from worker import config


@click.command(help="Every setting, its value here, its default and its meaning.")
@click.option("--json", "as_json", is_flag=True, help="The values as one JSON object.")
@click.option("--markdown", is_flag=True, help="The table of the README.")
def command(as_json: bool, markdown: bool) -> None:
    """Print the settings in effect, or the table of all there are."""
    if markdown:
        click.echo(table())
        return
    settings = dataclasses.asdict(config.load(config.run_directory()))
    if as_json:
        click.echo(json.dumps(settings))
        return
    for entry in dataclasses.fields(config.Settings):
        changed = "" if settings[entry.name] == entry.default else f"   (default {entry.default})"
        click.echo(f"{entry.name:22} {settings[entry.name]}{changed}\n    {entry.metadata['doc']}")


def table() -> str:
    """All settings as a Markdown table; the README holds it, and a test compares."""
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for entry in dataclasses.fields(config.Settings):
        default = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
        rows.append(f"| `{entry.name}` | {_code(default)} | {_allowed(entry)} | {entry.metadata['doc']} |")
    return "\n".join(rows)


def _code(default: object) -> str:
    return f"`{default}`" if default != "" else "none"


def _allowed(entry: dataclasses.Field[object]) -> str:
    low, high, form = (entry.metadata[name] for name in ("low", "high", "form"))
    if low is not None:
        return f"{low} to {high}"
    return f"`{form}`".replace("|", "\\|") if form else "true, false"
