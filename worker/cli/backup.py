"""``worker backup``: a verified copy of the data, the secrets and the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from worker.backup import back_up
from worker.manifest import BackupError
from worker.store.connect import open_store


@click.command(help="Copy the data of Redis as of one moment, the secrets, nightfeed.toml and the ledger of erasures "
                    "into DIR, which must not be there yet. The copy is loaded into a Redis of its own and compared. "
                    "It holds secrets and what people read: keep it where only you can read it.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--no-verify", "verify", is_flag=True, default=True, flag_value=False,
              help="Don't load the copy: for a host without the memory for it.")
@click.option("--json", "as_json", is_flag=True, help="The manifest as one JSON object.")
def command(folder: Path, verify: bool, as_json: bool) -> None:
    """Make the copy and say what is in it; exit 1 with the reason, and nothing left behind, when it fails."""
    try:
        made = back_up(open_store(), folder.absolute(), verify)
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(orjson.dumps(made) if as_json else _text(folder, made))


def _text(folder: Path, made: dict[str, Any]) -> str:
    size = sum(entry["bytes"] for entry in made["files"].values()) / 2**20
    head = f"{folder}: {made['keys']:,} keys, {len(made['files'])} files, {size:.1f} MiB"
    if not made["verified"]:
        return f"{head}, not verified"
    counts = made["counts"]
    return (f"{head}\nverified: loaded into a Redis of its own, {made['compared_keys']} keys compared in full; "
            f"{counts['users']:,} users, {counts['items']:,} items")
