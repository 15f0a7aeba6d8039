"""What starts the nightly run at 00:00 UTC: a systemd service and timer, or a line for cron."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDER = Path("/etc/systemd/system")
SYSTEMD_RUNS = Path("/run/systemd/system")  # is there while systemd is the init, by sd_booted(3)
BASE = "nightfeed-nightly"
DEFAULT_RUN = "run"
MAX_LABEL = 100

SERVICE = """\
[Unit]
Description=Nightfeed's nightly run for {run}
# Five tries a night. The window is longer than five tries take and ends before the next night.
StartLimitIntervalSec=20h
StartLimitBurst=5

[Service]
Type=oneshot
User={user}
WorkingDirectory={folder}
{environment}
# The colon: no variables are replaced in the path.
ExecStart=:{command} nightly
# A killed run is resumed where it stopped. 2 is wrong usage, which the next try would not mend.
Restart=on-failure
RestartSec=60
RestartPreventExitStatus=2
TimeoutStartSec=12h
# The edge comes first: for the processor, for the disk, and when memory is short.
Nice=19
CPUWeight=idle
IOSchedulingClass=best-effort
IOSchedulingPriority=7
OOMScoreAdjust=500
# It speaks to Redis and writes nothing else. No MemoryDenyWriteExecute: compiled stages make machine code. No
# PrivateTmp or ProtectHome: the run directory may lie there.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077
"""

TIMER = """\
[Unit]
Description=Nightfeed's nightly run for {run}, at 00:00 UTC

[Timer]
OnCalendar=*-*-* 00:00:00 UTC
# A night that was missed while the host was off is run when it is back.
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""

# Cron goes by local time, which has days with no midnight or two; Debian's cron ignores CRON_TZ, and other crons shift
# all lines below it. UTC offsets are multiples of 15 minutes: one quarter hour a day lies in 00:00 to 00:14 UTC.
CRON = '*/15 * * * * [ "$(date -u +\\%H\\%M)" -lt 15 ] && cd {folder} && {environment} {command} nightly'


class TimerError(Exception):
    """The timer can't be installed or removed; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """A nightly run to be started: absolute paths of the ``worker`` command and the run directory, and who runs it.

    ``config`` is a configuration file outside the run directory, ``name`` that of the units, without their suffix.
    """

    command: Path
    run: Path
    user: str
    config: Path | None = None
    name: str = BASE

    def __post_init__(self) -> None:
        for text in (str(self.command), str(self.run), str(self.config), self.user):
            if not text.isprintable():
                raise TimerError(f"{text!r} has characters that no unit file or crontab can hold")

    @property
    def environment(self) -> dict[str, str]:
        """What tells the command which stack it speaks to."""
        config = {} if self.config is None else {"NIGHTFEED_CONFIG": str(self.config)}
        return {"NIGHTFEED_RUN": str(self.run), **config}

    @property
    def files(self) -> dict[str, str]:
        """The unit files: name to text."""
        run = str(self.run).replace("%", "%%")
        environment = "\n".join(_variables(self.environment))
        service = SERVICE.format(run=run, user=self.user, folder=run, environment=environment,
                                 command=_quoted(str(self.command)))
        return {f"{self.name}.service": service, f"{self.name}.timer": TIMER.format(run=run)}

    @property
    def cron_line(self) -> str:
        """The line for the user's crontab; cron takes a bare ``%`` for the end of the command."""
        environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        folder, command = shlex.quote(str(self.run)), shlex.quote(str(self.command))
        # The template's own percent signs are escaped already.
        return CRON.format(**{name: text.replace("%", "\\%") for name, text in (
            ("folder", folder), ("environment", environment), ("command", command))})


def unit_name(run: Path) -> str:
    """Name of the units of a run directory; one that isn't called ``run`` is told apart by its own name."""
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.name).strip("-.")[:MAX_LABEL]
    return BASE if label in ("", DEFAULT_RUN) else f"{BASE}-{label}"


def _quoted(text: str) -> str:
    """A word of a unit file, whatever it holds."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _variables(environment: dict[str, str]) -> list[str]:
    return ["Environment=" + _quoted(f"{name}={value}") for name, value in environment.items()]


def write(job: Job, folder: Path) -> list[Path]:
    """Write the unit files into ``folder``, whole or not at all each. Raises TimerError."""
    check_ours(job, folder)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in job.files.items():
            part = folder / f".{name}.{os.getpid()}"
            part.write_text(text)
            part.chmod(0o644)
            paths.append(part.replace(folder / name))
    except OSError as error:
        raise TimerError(f"can't write unit files to {folder}: {error.strerror}") from error
    return paths


def remove(job: Job, folder: Path) -> list[Path]:
    """Remove the unit files from ``folder``; returns those that were there. Raises TimerError."""
    paths = [path for path in (folder / name for name in job.files) if path.exists()]
    try:
        for path in paths:
            path.unlink()
    except OSError as error:
        raise TimerError(f"can't remove unit files from {folder}: {error.strerror}") from error
    return paths


def check_ours(job: Job, folder: Path) -> None:
    """Raises TimerError when the units of that name belong to another run directory."""
    path = folder / f"{job.name}.service"
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise TimerError(f"can't read {path}: {error.strerror}") from error
    if _variables(job.environment)[0] not in lines:
        raise TimerError(f"{path} belongs to another run directory than {job.run}: give this one's units a name of "
                         "their own with --name")


def systemctl(*args: str) -> None:
    """Run ``systemctl``. Raises TimerError with what it said."""
    command = ["systemctl", *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TimerError(f"can't run systemctl: {error.strerror}") from error
    if done.returncode:
        raise TimerError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
