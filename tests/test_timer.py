"""`worker install-timer`: units that systemd takes, a line that every cron runs once a day, what it leaves alone."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from tests.stack_fixture import WORKER, Stack
from worker import timer
from worker.cli import group
from worker.timer import Job, unit_name

ODD = 'a b%c"d\\e$f\'g'  # whatever a folder may be called
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty run directory with the default's name, which the command speaks to."""
    return speak_to(tmp_path / "site" / "run", monkeypatch)


def speak_to(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    for variable in [name for name in os.environ if name.startswith("NIGHTFEED_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("NIGHTFEED_RUN", str(run))
    return run


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the system's units, on a host where systemd runs; `calls` holds what it was told."""
    folder, programs = tmp_path / "units", tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n[ ! -e {tmp_path}/broken ] || '
                                        '{ echo "Access denied" >&2; exit 1; }\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(timer, "SYSTEM_FOLDER", folder)
    monkeypatch.setattr(timer, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def install(*args: str) -> Result:
    return CliRunner().invoke(group, ["install-timer", *args])


def calls(system: Path) -> list[str]:
    path = system.parent / "calls"
    return path.read_text().splitlines() if path.exists() else []


def parsed(path: Path) -> ConfigParser:
    """A unit file by systemd's plainest rules: sections, one `name=value` a line, comments of whole lines."""
    unit = ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(path.read_text())
    return unit


# --- what is written ---------------------------------------------------------------------------------------------


def test_the_service_runs_this_command_for_this_run_directory(run: Path, tmp_path: Path) -> None:
    """Absolute paths, the owner's account, five tries, and a lower rank than the edge."""
    assert install("--to", str(tmp_path / "units")).exit_code == 0
    unit = parsed(tmp_path / "units/nightfeed-nightly.service")
    service = unit["Service"]
    assert service["ExecStart"] == f':"{WORKER}" nightly'
    assert service["Environment"] == f'"NIGHTFEED_RUN={run}"'
    assert (service["Type"], service["User"], service["WorkingDirectory"]) == ("oneshot", ME, str(run))
    assert (service["Restart"], service["RestartSec"], unit["Unit"]["StartLimitBurst"]) == ("on-failure", "60", "5")
    assert (service["Nice"], service["CPUWeight"]) == ("19", "idle")
    assert int(service["IOSchedulingPriority"]) == 7
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "full")


def test_the_timer_starts_it_at_midnight_utc_and_makes_up_for_missed_nights(run: Path, tmp_path: Path) -> None:
    """In UTC whatever the host's zone is."""
    install("--to", str(tmp_path / "units"))
    unit = parsed(tmp_path / "units/nightfeed-nightly.timer")
    assert unit["Timer"]["OnCalendar"] == "*-*-* 00:00:00 UTC"
    assert unit["Timer"]["Persistent"] == "true"
    assert unit["Install"]["WantedBy"] == "timers.target"
    assert stat.S_IMODE((tmp_path / "units/nightfeed-nightly.timer").stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["run", "shop", ODD])
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own check where that is installed; by ours, that each line has a name and a value, everywhere."""
    speak_to(tmp_path / name, monkeypatch)
    assert install("--to", str(tmp_path / "units")).exit_code == 0
    paths = sorted((tmp_path / "units").iterdir())
    assert [path.suffix for path in paths] == [".service", ".timer"]
    assert all(parsed(path).sections() for path in paths)
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--man=no", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_odd_names_are_escaped_for_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out by hand from systemd.syntax(7): percent doubled everywhere, quote and backslash escaped in words."""
    run = speak_to(tmp_path / ODD, monkeypatch)
    install("--to", str(tmp_path / "units"))
    service = parsed(tmp_path / "units/nightfeed-nightly-a-b-c-d-e-f-g.service")["Service"]
    assert service["Environment"] == f'"NIGHTFEED_RUN={run.parent}/a b%%c\\"d\\\\e$f\'g"'
    assert service["WorkingDirectory"] == f'{run.parent}/a b%%c"d\\e$f\'g'


@pytest.mark.parametrize(("name", "unit"), [
    ("run", "nightfeed-nightly"), ("shop", "nightfeed-nightly-shop"), ("run.2_b", "nightfeed-nightly-run.2_b"),
    ("a@b c", "nightfeed-nightly-a-b-c"), ("--", "nightfeed-nightly"), ("x" * 255, "nightfeed-nightly-" + "x" * 100),
])
def test_units_carry_the_name_of_a_run_directory_that_is_not_the_default(name: str, unit: str) -> None:
    """So that two stacks can have timers."""
    assert unit_name(Path("/srv") / name) == unit


def test_two_stacks_have_timers_side_by_side_and_none_takes_anothers(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where both are called `run`: the second is refused until it has a name."""
    units = tmp_path / "units"
    for folder in ("one/run", "one/shop"):
        speak_to(tmp_path / folder, monkeypatch)
        assert install("--to", str(units)).exit_code == 0
    before = {path.name: path.read_text() for path in units.iterdir()}
    assert len(before) == 4
    other = speak_to(tmp_path / "two/run", monkeypatch)
    for action in ((), ("--remove",)):
        refused = install("--to", str(units), *action)
        assert refused.exit_code == 1
        assert f"nightfeed-nightly.service belongs to another run directory than {other}" in refused.output
        assert "--name" in refused.output
    assert {path.name: path.read_text() for path in units.iterdir()} == before
    assert install("--to", str(units), "--name", "two").exit_code == 0
    assert (units / "nightfeed-nightly-two.timer").exists()
    assert install("--to", str(units), "--name", "a/b").exit_code == 2


def test_a_configuration_file_elsewhere_comes_along(
        run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run directory's own needs no mention; settings from variables are warned of, since they stay behind."""
    elsewhere = tmp_path / "site.toml"
    elsewhere.write_text("gap = 2\n")
    monkeypatch.setenv("NIGHTFEED_CONFIG", str(elsewhere))
    monkeypatch.setenv("NIGHTFEED_TOP_SIZE", "70")
    done = CliRunner().invoke(group, ["install-timer", "--json", "--print"])
    told = json.loads(done.stdout)
    assert f'Environment="NIGHTFEED_CONFIG={elsewhere}"' in told["files"]["nightfeed-nightly.service"]
    assert f"NIGHTFEED_TOP_SIZE is set here and won't be at night: set top_size in {elsewhere}" in done.stderr
    monkeypatch.delenv("NIGHTFEED_CONFIG")
    (run / "nightfeed.toml").write_text("gap = 2\n")
    assert "NIGHTFEED_CONFIG" not in install("--print").output


# --- installing and removing -------------------------------------------------------------------------------------


def test_installing_enables_the_timer_and_removing_undoes_it(run: Path, system: Path) -> None:
    """With systemd: both steps are its own; a second installation is the same, a second removal nothing."""
    for _ in range(2):
        done = install("--user", ME)
        assert done.exit_code == 0, done.output
    assert calls(system) == ["daemon-reload", "enable --now nightfeed-nightly.timer"] * 2
    assert "systemctl start nightfeed-nightly.service" in done.output
    assert sorted(path.name for path in system.iterdir()) == ["nightfeed-nightly.service", "nightfeed-nightly.timer"]
    removed = install("--remove")
    assert removed.output.count("removed ") == 2
    assert calls(system)[4:] == ["disable --now nightfeed-nightly.timer", "daemon-reload"]
    assert not list(system.iterdir())
    assert install("--remove").output == "nightfeed-nightly is not installed\n"
    assert len(calls(system)) == 6


def test_without_systemd_the_files_are_written_and_it_says_what_to_do(
        run: Path, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, or while an image is built."""
    monkeypatch.setattr(timer, "SYSTEMD_RUNS", run / "not there")
    done = install()
    assert done.exit_code == 0
    assert "systemctl daemon-reload && systemctl enable --now nightfeed-nightly.timer" in done.output
    assert "worker install-timer --cron" in done.output
    assert calls(system) == []
    assert install("--remove", "--json").exit_code == 0
    assert not list(system.iterdir())


def test_a_folder_of_ones_own_leaves_systemd_alone(run: Path, system: Path, tmp_path: Path) -> None:
    """For packages."""
    told = json.loads(install("--to", str(tmp_path / "package"), "--json").output)
    assert told == {"unit": "nightfeed-nightly", "enabled": False, "written": [
        str(tmp_path / "package" / f"nightfeed-nightly.{suffix}") for suffix in ("service", "timer")]}
    assert calls(system) == []
    assert not system.exists()


def test_only_root_may_install(run: Path, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone else hears what to type; printing is free."""
    uid = os.stat(run).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid or 1)
    for action in ((), ("--remove",)):
        done = install(*action)
        assert done.exit_code == 1
        assert f"run sudo NIGHTFEED_RUN={run} {WORKER} install-timer" in done.output
        assert "--print" in done.output
    for free in ("--print", "--cron"):
        assert install(free).exit_code == 0
    assert not system.exists()


@pytest.mark.parametrize("fault", ["no stack", "systemctl", "a file", "not the owner"])
def test_what_cannot_be_done_says_why(fault: str, run: Path, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, the place, and what to do; never a traceback."""
    args: list[str] = []
    if fault == "no stack":
        monkeypatch.setenv("NIGHTFEED_RUN", "/nowhere/run")
        said = "there is no stack in /nowhere/run: start it (make up), or set NIGHTFEED_RUN"
    elif fault == "systemctl":
        (system.parent / "broken").touch()
        said = "`systemctl daemon-reload` failed: Access denied"
    elif fault == "a file":
        system.write_text("")
        said = f"can't read {system}/nightfeed-nightly.service: Not a directory"
    else:
        args = ["--user", "somebody-else"]
        said = f"{run} belongs to {ME}, and only its owner can read the secrets in it"
    done = install(*args)
    assert done.exit_code == 1
    assert said in done.output
    assert isinstance(done.exception, SystemExit)


def test_a_name_that_no_file_can_hold_is_refused() -> None:
    """A line break would be a line of its own in the unit."""
    with pytest.raises(timer.TimerError, match="characters that no unit file"):
        Job(Path("/a\nUser=root"), Path("/run"), "x")


def test_contradictions_are_usage_errors(run: Path) -> None:
    """Exit 2."""
    assert install("--print", "--cron").exit_code == 2
    assert install("--remove", "--print").exit_code == 2


# --- cron --------------------------------------------------------------------------------------------------------


def cron_command(run: Path, command: Path = WORKER) -> tuple[str, str]:
    """Schedule and command of the line, the command as cron hands it to the shell: escaped percent signs are bare."""
    line = Job(command, run, ME).cron_line
    schedule, text = " ".join(line.split(" ")[:5]), line.split(" ", 5)[5]
    assert "%" not in text.replace("\\%", ""), "cron takes a bare percent sign for the end of the command"
    return schedule, text.replace("\\%", "%")


@pytest.mark.parametrize("zone", [
    "UTC", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Chatham", "Pacific/Apia", "Asia/Kolkata", "Africa/Monrovia",
])
@pytest.mark.parametrize("first", ["2018-11-03", "2018-02-17", "2011-12-29", "2026-09-26"])
def test_cron_runs_it_once_each_utc_day_in_its_first_quarter_hour(zone: str, first: str) -> None:
    """Whatever the local clock does in three days round a change: it asks at local quarter hours for the UTC time."""
    schedule, text = cron_command(Path("/srv/run"))
    assert schedule == "*/15 * * * *"
    assert '[ "$(date -u +%H%M)" -lt 15 ] &&' in text
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    moments = (start + timedelta(minutes=minute) for minute in range(3 * 1440))
    asked = [moment for moment in moments if moment.astimezone(ZoneInfo(zone)).minute % 15 == 0]
    started = [moment for moment in asked if int(f"{moment:%H%M}") < 15]
    assert [moment.date() for moment in started] == [(start + timedelta(day)).date() for day in range(3)]


@pytest.mark.parametrize(("clock", "runs"), [("0000", True), ("0014", True), ("0015", False), ("0815", False),
                                             ("2345", False)])
def test_the_line_does_in_a_shell_what_it_says(clock: str, runs: bool, tmp_path: Path) -> None:
    """With a `date` that says when it is, and an odd run directory."""
    run = tmp_path / ODD
    run.mkdir()
    (tmp_path / "date").write_text(f"#!/bin/sh\necho {clock}\n")
    (tmp_path / "worker").write_text('#!/bin/sh\nprintf "%s of %s in %s" "$1" "$NIGHTFEED_RUN" "$PWD"\n')
    for name in ("date", "worker"):
        (tmp_path / name).chmod(0o755)
    _, text = cron_command(run, tmp_path / "worker")
    path = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    done = subprocess.run(["/bin/sh", "-c", text], env=path, capture_output=True, text=True)
    assert done.stdout == (f"nightly of {run} in {run}" if runs else "")
    assert done.stderr == ""


def test_the_cron_line_is_printed_with_whose_it_is(run: Path) -> None:
    """A comment, and the line."""
    text = install("--cron").output.splitlines()
    assert text[0] == f"# in the crontab of {ME}: Nightfeed's nightly run, at 00:00 UTC"
    assert text[1].endswith(f"&& cd {run} && NIGHTFEED_RUN={run} {WORKER} nightly")
    assert len(text) == 2


# --- the service itself ------------------------------------------------------------------------------------------


def test_what_the_service_starts_makes_the_night(stack: Stack, tmp_path: Path) -> None:
    """The unit's command, environment and folder, and nothing else of this shell, publish the lists."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n}") for n in range(6)])
    stack.worker("install-timer", "--to", str(tmp_path))
    name = unit_name(stack.run)
    service = parsed(tmp_path / f"{name}.service")["Service"]
    command, argument = service["ExecStart"].removeprefix(":").split()
    variable, value = service["Environment"].strip('"').split("=", 1)
    done = subprocess.run([command.strip('"'), argument], env={variable: value}, cwd=service["WorkingDirectory"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "published 0 lists" in done.stdout
    assert stack.redis.hexists("generation:{c}", "made_at")
    assert Path(sys.executable).with_name("worker") == WORKER
