"""``worker restore``: a back-up in place of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from worker import config
from worker.manifest import BackupError
from worker.restore import restore


@click.command(help="Put the back-up in DIR in place of the data of the stack that NIGHTFEED_RUN names, which must be "
                    "down. Whoever was erased after the back-up was made is erased again. Afterwards: make up.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also where there is data. It is moved aside.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as one JSON object.")
def command(folder: Path, force: bool, as_json: bool) -> None:
    """Restore and say what was done; exit 1 with the reason, and nothing changed, when that is not possible."""
    run = config.run_directory()
    try:
        done = restore(run, folder.absolute(), force)
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(orjson.dumps(done) if as_json else "\n".join(_lines(run, done)))


def _lines(run: Path, done: dict[str, Any]) -> list[str]:
    kept = {"kept": "those of this stack were kept", "restored": "from the back-up", "none": "the back-up has none"}
    lines = [f"restored the back-up of {done['made_at']}: {done['loaded_keys']:,} keys, {done['keys']:,} are left",
             f"erased again: {done['erased_again']} people, of {done['erasures']} erasures on record",
             f"secrets: {kept[done['secrets']]}; nightfeed.toml: {kept[done['settings']]}"]
    if done["set_aside"]:
        lines.append(f"the data that was there is in {done['set_aside']}: delete it when all is well")
    return [*lines, f"start the stack: make up RUN={run}"]
