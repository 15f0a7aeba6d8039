"""Whether something starts the nightly run, how fast its lists are made, and whether it has ended well lately."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from worker import timer
from worker.config import Settings
from worker.doctor.check import Check, fail, ok, warn
from worker.nightly.compiled_jit import available
from worker.status import last_good_run, refused_since
from worker.store import generations
from worker.store.connect import Store
from worker.store.errors import StoreError

INSTALL = "worker install-timer (or --cron)"
AHEAD_SECONDS = 60


def checks(run: Path, store: Store | None) -> Iterator[Check]:
    """The timer, and the last run; without Redis nothing is known of the runs."""
    yield _timer(run)
    if store is not None:
        yield judge_lists(store.settings, available())
        try:
            yield _last(store)
        except (StoreError, RedisError) as error:
            yield fail("last run", f"Redis refused to tell: {error}", "start the stack (make up)")


def _timer(run: Path) -> Check:
    """A systemd timer whose service names this run directory and which is active, or a line of cron that does."""
    line = f"NIGHTFEED_RUN={run}"
    for service in sorted(timer.SYSTEM_FOLDER.glob(f"{timer.BASE}*.service")):
        if line in service.read_text().replace('"', "").replace("Environment=", "").splitlines():
            return _active(service.with_suffix(".timer"))
    cron = _output(["crontab", "-l"])
    if any(line in entry and not entry.startswith("#") for entry in cron.splitlines()):
        return ok("timer", "a line of this user's crontab")
    return warn("timer", f"nothing starts the nightly run of {run}, as far as systemd and this user's crontab tell",
                INSTALL)


def _active(unit: Path) -> Check:
    if not unit.exists():
        return warn("timer", f"{unit} is missing beside its service", INSTALL)
    if not timer.SYSTEMD_RUNS.is_dir():
        return warn("timer", f"{unit.name} is installed, but systemd does not run here", "worker install-timer --cron")
    state = _output(["systemctl", "is-active", unit.name]).strip()
    if state == "active":
        return ok("timer", f"{unit.name} is active")
    return fail("timer", f"{unit.name} is {state or 'unknown'}", f"systemctl enable --now {unit.name}")


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def judge_lists(settings: Settings, compiler: bool) -> Check:
    """Whether lists are made by compiled code; ``compiler``: whether there is one."""
    if not settings.compiled:
        return ok("lists", "made by numpy, as the setting compiled = false asks for")
    if compiler:
        return ok("lists", "made by compiled code")
    return warn("lists", "numba is missing: numpy makes them, the same ones, but a night of many users takes six times "
                "as long", "scripts/install.sh run fast, as make up does (Python up to 3.14, x86-64 or ARM64)")


def _last(store: Store) -> Check:
    return judge(generations.read_runs(store), generations.state(store), time.time(), store.settings.stale_hours)


def judge(runs: list[dict[str, Any]], state: dict[str, str], now: float, stale_hours: float) -> Check:
    """The newest good run of these reports, and what was refused since, at Unix second ``now``."""
    last, refused = last_good_run(runs, state, now), refused_since(runs, state)
    if last is None:
        return warn("last run", "there was none yet: everyone gets what is newest", "worker nightly")
    text = f"generation {last['generation']} of {last['date']} ended well {last['age_seconds'] / 3600:.1f} hours ago"
    if last["finished_at"] > now + AHEAD_SECONDS:
        return fail("last run", f"generation {last['generation']} ended in the future: the clock was set back",
                    "set the clock right")
    if last["age_seconds"] > 3600 * stale_hours:
        return fail("last run", f"{text}, more than {stale_hours:g}", "worker nightly, and see why it did not run")
    if refused is not None:
        return warn("last run", f"{text}; the attempt for {refused['date']} was refused since",
                    "worker status says why")
    return ok("last run", text)
