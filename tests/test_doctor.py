"""``worker doctor``: every check finds what it is for, and says what to do; a stack that is down is a finding."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stack_fixture import Stack
from worker.config import Settings
from worker.doctor import edge, host, nights, server, versions
from worker.doctor.check import STATES
from worker.store.connect import Store
from worker.store.private import private_server

Found = dict[str, dict[str, str]]


def doctor(stack: Stack, code: int) -> Found:
    """The checks by name; the command ends with ``code`` and prints no traceback."""
    done = stack.worker("doctor", "--json", check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout
    told = json.loads(done.stdout)
    assert told["ok"] == (code == 0)
    for check in told["checks"]:
        assert check["state"] in STATES
        assert bool(check["todo"]) == (check["state"] != "ok"), check
    return {check["name"]: check for check in told["checks"]}


def test_a_stack_as_make_up_leaves_it_passes(stack: Stack) -> None:
    """No check fails; warnings are about the host and about what was not done yet."""
    stack.worker("nightly", "--force", check=False)
    found = doctor(stack, 0)
    well = {"run directory", "secrets", "sockets", "redis settings", "redis users", "redis functions", "redis log",
            "redis memory", "settings", "clock", "gunicorn version", "lists"}
    assert {found[name]["state"] for name in well} == {"ok"}, found
    text = stack.worker("doctor").stdout
    assert "ok    redis users: default is off, the edge has an allow-list\n" in text
    assert text.rstrip().endswith(" 0 fail")


def test_what_others_may_read_is_found_and_the_advice_mends_it(stack: Stack) -> None:
    """Each by its path; after the command that it gives, all is well again."""
    for name, mode in (("secrets/api.json", 0o644), ("sock/redis.sock", 0o666), ("sock", 0o755), ("secrets", 0o710)):
        (stack.run / name).chmod(mode)
    found = doctor(stack, 1)
    assert f"{stack.run}/secrets is 0710" in found["secrets"]["found"]
    assert f"{stack.run}/secrets/api.json is 0644" in found["secrets"]["found"]
    assert f"{stack.run}/sock is 0755" in found["run directory"]["found"]
    assert f"{stack.run}/sock/redis.sock is 0666" in found["sockets"]["found"]
    for name in ("secrets", "run directory", "sockets"):
        subprocess.run(found[name]["todo"].split(), check=True)
    doctor(stack, 0)


def test_other_functions_than_those_of_the_files_are_found(stack: Stack) -> None:
    """One is another version, one is not loaded; the next `make up` loads them."""
    stack.redis.function_load("#!lua name=nightfeed_nightly\nredis.register_function('nightfeed_take', "
                              "function() return 1 end)", replace=True)
    stack.redis.function_delete("nightfeed_catalogue")
    found = doctor(stack, 1)["redis functions"]
    assert found["found"] == "nightfeed_catalogue is not loaded; nightfeed_nightly is another version"
    stack.script("up")
    assert doctor(stack, 0)["redis functions"]["state"] == "ok"


def test_a_stack_that_is_down_is_a_finding(fresh_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """Down, never started, and no run directory at all: words, and exit 1."""
    stack = fresh_stack()
    (stack.run / "nightfeed.toml").write_text(f"port = {stack.port}\ngap = 5\n")
    assert "gap" in doctor(stack, 0)["settings"]["found"]
    stack.script("down")
    found = doctor(stack, 1)
    assert "start the stack (make up)" in found["redis"]["found"]
    assert found["edge"]["state"] == "fail"
    (stack.run / "nightfeed.toml").write_text("gop = 5\n")
    assert "there is no setting 'gop'" in doctor(stack, 1)["settings"]["found"]
    (stack.run / "nightfeed.toml").write_text(f"port = {stack.port}\n")
    done = stack.worker("doctor", env={"NIGHTFEED_RUN": str(tmp_path / "none")}, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "none is not there\n      do: start the stack (make up), or set NIGHTFEED_RUN" in done.stdout


def test_another_redis_than_ours_fails_in_every_way(stack: Stack, tmp_path: Path) -> None:
    """A plain server: no log, no users, no functions; the settings that matter say why."""
    with private_server(tmp_path) as client:
        found = {check.name: check for check in server.checks(Store(client, stack.settings, stack.run))}
        assert "appendonly is no instead of yes (without its log a restart loses everything)" in found[
            "redis settings"].found
        assert [found[name].state for name in ("redis users", "redis functions", "redis log")] == ["fail", "fail", "ok"]
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        [memory] = [check for check in server.checks(Store(client, stack.settings, stack.run))
                    if check.name == "redis memory"]
        assert memory.state == "fail"


def test_the_template_is_what_settings_are_compared_with() -> None:
    """Those with a place in the run directory are left out."""
    lines = 'port 0\n# a comment\n\ndir @RUN@/redis\nsave ""\nmaxmemory @MAXMEMORY@\nappendonly yes\ndaemonize no\n'
    assert server.wanted(lines) == {"port": "0", "save": "", "appendonly": "yes"}


@pytest.mark.parametrize(("package", "version", "state"), [
    ("redis-server", "5:7.0.15-1~deb12u10", "ok"), ("redis-server", "5:7.0.15-1~deb12u9", "fail"),
    ("redis-server", "5:7.0.15-1", "ok"), ("redis-server", "7.2.0-1", "fail"),
    ("nginx", "1.22.1-9+deb12u11", "ok"), ("nginx", "1.22.1-9+deb12u2", "fail"), ("nginx", "1.22.1-9", "fail"),
    ("libnginx-mod-http-lua", "1:0.10.23-1+deb12u1", "ok"), ("libnginx-mod-http-lua", "1:0.10.23-1", "fail"),
])
def test_debian_packages_are_compared_as_debian_does(package: str, version: str, state: str) -> None:
    """u10 is newer than u9, ~ is older than nothing, and an epoch goes before all."""
    assert versions.judge_debian(package, version).state == state


@pytest.mark.parametrize(("version", "state"), [
    ((7, 2, 11), "ok"), ((7, 2, 10), "fail"), ((7, 4, 6), "ok"), ((8, 0, 3), "fail"), ((8, 2, 2), "ok"),
    ((8, 4, 0), "ok"), ((9, 0, 0), "ok"), ((7, 0, 15), "fail"), ((6, 2, 20), "fail"), ((), "fail"),
])
def test_redis_releases_are_compared_within_their_line(version: tuple[int, ...], state: str) -> None:
    """Redis itself mended CVE-2025-49844 in several lines; 7.0 is not among them, Debian's 7.0 is."""
    assert versions.judge_redis(version).state == state


def test_a_program_replaced_while_it_runs_is_found(tmp_path: Path) -> None:
    """An update does not reach a process that started before."""
    program = tmp_path / "redis-server"
    shutil.copy2(shutil.which("sleep") or "", program)
    (tmp_path / "pid").mkdir()
    process = subprocess.Popen([program, "30"])
    try:
        (tmp_path / "pid/redis.pid").write_text(f"{process.pid}\n")
        assert not list(versions._replaced(tmp_path))
        program.unlink()
        [check] = versions._replaced(tmp_path)
        assert check.state == "warn"
        assert str(program) in check.found
    finally:
        process.kill()
        process.wait()


def test_the_kernel_is_judged_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good and bad values, and files that are not there."""
    monkeypatch.setattr(host, "KERNEL", tmp_path)
    monkeypatch.setattr(host, "HUGE", tmp_path / "enabled")
    assert [host._overcommit().state, host._backlog().state, host._huge_pages().state] == ["warn", "warn", "ok"]
    (tmp_path / "vm").mkdir()
    (tmp_path / "net/core").mkdir(parents=True)
    for overcommit, backlog, huge, state in (("1", "4096", "always [madvise] never", "ok"),
                                             ("0", "128", "[always] madvise never", "warn")):
        (tmp_path / "vm/overcommit_memory").write_text(f"{overcommit}\n")
        (tmp_path / "net/core/somaxconn").write_text(f"{backlog}\n")
        (tmp_path / "enabled").write_text(f"{huge}\n")
        assert {host._overcommit().state, host._backlog().state, host._huge_pages().state} == {state}


@pytest.mark.parametrize(("soft", "state"), [("20000", "ok"), ("9000", "ok"), ("8999", "warn"), ("unlimited", "ok")])
def test_open_files_are_compared_with_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soft: str,
                                                  state: str) -> None:
    """The worker with the least counts; what cannot be known is not complained of."""
    monkeypatch.setattr(edge, "PROC", tmp_path)
    assert edge._descriptors(tmp_path).state == "ok"
    (tmp_path / "config.json").write_text('{"worker_connections": 9000}')
    for name, text in {"pid/nginx.pid": "7\n", "7/task/7/children": "8 9 ", "9/limits": limits("90000"),
                       "8/limits": limits(soft)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    check = edge._descriptors(tmp_path)
    assert check.state == state
    assert ("8999" in check.found) == (soft == "8999")


def limits(soft: str) -> str:
    """/proc/PID/limits with this soft limit of open files."""
    lines = ("Limit   Soft Limit   Hard Limit   Units", "Max processes   1   1   processes",
             f"Max open files   {soft}   {soft}   files")
    return "\n".join(lines)


def test_a_clock_that_was_set_back_is_found(tmp_path: Path) -> None:
    """Files from the future; a minute is forgiven."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    for ahead, state in ((0, "ok"), (30, "ok"), (3600, "fail")):
        os.utime(path, (time.time() + ahead,) * 2)
        assert host._clock(tmp_path).state == state


NOW = 1_763_740_000.0


@pytest.mark.parametrize(("runs", "state", "words"), [
    ([], "warn", "none yet"),
    ([{"date": "2025-11-21", "generation": 4, "finished_at": NOW - 3600}], "ok", "generation 4 of 2025-11-21"),
    ([{"date": "2025-11-19", "generation": 4, "finished_at": NOW - 37 * 3600}], "fail", "more than 36"),
    ([{"date": "2025-11-21", "generation": 4, "finished_at": NOW + 3600}], "fail", "in the future"),
    ([{"date": "2025-11-20", "generation": 4, "finished_at": NOW - 86_400},
      {"date": "2025-11-21", "refused": ["top content shrank"], "finished_at": NOW - 3600}], "warn",
     "2025-11-21 was refused"),
])
def test_the_last_night_is_judged(runs: list[dict[str, Any]], state: str, words: str) -> None:
    """By when it ended, and by what was refused since."""
    check = nights.judge(runs, {}, NOW, 36.0)
    assert check.state == state
    assert words in check.found


@pytest.mark.parametrize(("compiled", "compiler", "state"), [
    (True, True, "ok"), (True, False, "warn"), (False, True, "ok"), (False, False, "ok"),
])
def test_a_night_slower_than_it_could_be_is_found(compiled: bool, compiler: bool, state: str) -> None:
    """Compiled code is wanted and there is no compiler: everything works, and `make up` mends it."""
    check = nights.judge_lists(Settings(compiled=compiled), compiler)
    assert check.state == state
    assert ("numpy" in check.found) == (not (compiled and compiler))
    assert ("scripts/install.sh run fast" in check.todo) == (state == "warn")


def test_a_timer_is_known_by_the_run_directory_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another stack's timer is none of ours."""
    monkeypatch.setattr(nights.timer, "SYSTEM_FOLDER", tmp_path)
    monkeypatch.setattr(nights.timer, "SYSTEMD_RUNS", tmp_path / "no-systemd")
    monkeypatch.setattr(nights, "_output", lambda command: "")
    service = tmp_path / "nightfeed-nightly.service"
    service.write_text('[Service]\nEnvironment="NIGHTFEED_RUN=/srv/other"\n')
    assert "nothing starts" in nights._timer(Path("/srv/run")).found
    service.write_text('[Service]\nEnvironment="NIGHTFEED_RUN=/srv/run"\n')
    assert "missing beside its service" in nights._timer(Path("/srv/run")).found
    (tmp_path / "nightfeed-nightly.timer").write_text("")
    assert "systemd does not run here" in nights._timer(Path("/srv/run")).found
    monkeypatch.setattr(nights.timer, "SYSTEMD_RUNS", tmp_path)
    assert nights._timer(Path("/srv/run")).state == "fail"
    monkeypatch.setattr(nights, "_output", lambda command: "active\n" if command[0] == "systemctl" else "")
    assert nights._timer(Path("/srv/run")).state == "ok"
    service.unlink()
    monkeypatch.setattr(nights, "_output", lambda command: "*/15 * * * * NIGHTFEED_RUN=/srv/run worker nightly\n")
    assert nights._timer(Path("/srv/run")).found == "a line of this user's crontab"
