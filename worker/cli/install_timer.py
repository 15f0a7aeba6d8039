"""``worker install-timer``: the nightly run at 00:00 UTC, by systemd or by cron."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from worker import config, timer
from worker.timer import Job, TimerError


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Raises BadParameter for what units can't be called."""
    if value is not None and timer.unit_name(Path(value)) != f"{timer.BASE}-{value}":
        raise click.BadParameter(f"{value!r}: letters, digits, and . _ - between them, at most {timer.MAX_LABEL}")
    return value


@click.command(help="Install a systemd service and timer that start `worker nightly` for this run directory at 00:00 "
                    "UTC, and make up for a night on which the host was off. Needs root, except with --print, --cron "
                    "and --to.")
@click.option("--print", "shown", is_flag=True, help="Print both unit files and write nothing.")
@click.option("--cron", is_flag=True, help="Print the line for the user's crontab instead.")
@click.option("--remove", "removing", is_flag=True, help="Stop the timer and remove its files.")
@click.option("--user", help="Who runs it (default: the owner of the run directory).")
@click.option("--name", callback=_name, help="End of the units' name (default: the run directory's name, unless that "
                                             "is run).")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path),
              help="Write the files into this directory, and leave systemd alone.")
@click.option("--json", "as_json", is_flag=True, help="What was written, removed or printed, as one JSON object.")
def command(shown: bool, cron: bool, removing: bool, user: str | None, name: str | None, folder: Path | None,
            as_json: bool) -> None:
    """Print, install or remove; exit 1 with the reason when that is not possible."""
    if shown + cron + removing > 1:
        raise click.UsageError("give one of --print, --cron and --remove")
    try:
        job = _job(user, name)
        if cron:
            told: dict[str, Any] = {"cron": job.cron_line}
        elif shown:
            told = {"files": job.files}
        else:
            told = (_remove if removing else _install)(job, folder)
    except TimerError as error:
        raise click.ClickException(str(error)) from error
    _warn_of_variables(job)
    click.echo(orjson.dumps({"unit": job.name, **told}) if as_json else _text(job, told))


def _job(user: str | None, name: str | None) -> Job:
    run = config.run_directory()
    found = config.config_file(run)
    outside = None if found is None or found == run / "nightfeed.toml" else found.absolute()
    owner = _account(run.stat().st_uid if run.is_dir() else os.geteuid())
    if user and user != owner and run.is_dir():
        raise TimerError(f"{run} belongs to {owner}, and only its owner can read the secrets in it: install the timer "
                         f"for {owner}, or give the run directory to {user}")
    unit = timer.unit_name(run) if name is None else f"{timer.BASE}-{name}"
    return Job(_worker(), run, user or owner, outside, unit)


def _account(uid: int) -> str:
    """Its name, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _worker() -> Path:
    """The command that runs now, or else the one beside this Python."""
    for path in (Path(sys.argv[0]), Path(sys.executable).with_name("worker")):
        if path.name == "worker" and path.is_file():
            return path.absolute()
    raise TimerError(f"there is no worker command beside {sys.executable}: install the package (make up does)")


def _install(job: Job, folder: Path | None) -> dict[str, Any]:
    if folder is None:
        _check_root(job)
        if not job.run.is_dir():
            raise TimerError(f"there is no stack in {job.run}: start it (make up), or set NIGHTFEED_RUN to its run "
                             "directory")
    written = timer.write(job, folder or timer.SYSTEM_FOLDER)
    enabled = folder is None and timer.SYSTEMD_RUNS.is_dir()
    if enabled:
        timer.systemctl("daemon-reload")
        timer.systemctl("enable", "--now", f"{job.name}.timer")
    return {"written": list(map(str, written)), "enabled": enabled}


def _remove(job: Job, folder: Path | None) -> dict[str, Any]:
    if folder is None:
        _check_root(job)
    place = folder or timer.SYSTEM_FOLDER
    timer.check_ours(job, place)
    running = folder is None and timer.SYSTEMD_RUNS.is_dir()
    if running and (place / f"{job.name}.timer").exists():
        timer.systemctl("disable", "--now", f"{job.name}.timer")
    removed = timer.remove(job, place)
    if running and removed:
        timer.systemctl("daemon-reload")
    return {"removed": list(map(str, removed))}


def _check_root(job: Job) -> None:
    if os.geteuid() != 0:
        raise TimerError(f"only root can change {timer.SYSTEM_FOLDER}: run sudo NIGHTFEED_RUN={job.run} {job.command} "
                         "install-timer, or look at the files with --print, or use cron (--cron)")


def _warn_of_variables(job: Job) -> None:
    """Settings of this shell that the timer won't have; a stack and its nightly run should agree."""
    for variable in sorted(os.environ):
        if variable.startswith(config.PREFIX) and variable not in config.PLACES:
            setting = variable.removeprefix(config.PREFIX).lower()
            click.echo(f"worker install-timer: {variable} is set here and won't be at night: set {setting} in "
                       f"{job.config or job.run / 'nightfeed.toml'}", err=True)


def _text(job: Job, told: dict[str, Any]) -> str:
    if "cron" in told:
        return f"# in the crontab of {job.user}: Nightfeed's nightly run, at 00:00 UTC\n{told['cron']}"
    if "files" in told:
        return "\n".join(f"# {timer.SYSTEM_FOLDER / name}\n{text}" for name, text in told["files"].items()).rstrip()
    if "removed" in told:
        return "\n".join(f"removed {path}" for path in told["removed"]) or f"{job.name} is not installed"
    lines = [f"wrote {path}" for path in told["written"]]
    if told["enabled"]:
        return "\n".join([*lines, f"{job.name}.timer starts it at 00:00 UTC; "
                                  f"now: systemctl start {job.name}.service, its log: journalctl -u {job.name}"])
    return "\n".join([*lines, "systemd was not touched; to start the timer where systemd runs:",
                      f"  systemctl daemon-reload && systemctl enable --now {job.name}.timer",
                      "where it does not run, cron can do it: worker install-timer --cron"])
