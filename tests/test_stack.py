"""The stack itself: starting, stopping, showing, refusing, and keeping data when a process is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from tests.stack_fixture import REDIS_AWAY, ROOT, Stack, clean_environ, finished, free_port

Fresh = Callable[..., Stack]


def pids(stack: Stack) -> dict[str, int | None]:
    """The pid of each part."""
    return {part.name: part.pid() for part in stack.parts()}


def runs(pid: int) -> bool:
    """Whether the process is there and has not ended: one that nobody has waited for yet has no command line."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and command.read_bytes() != b""


def test_up_says_where_it_is_and_a_second_up_changes_nothing(fresh_stack: Fresh) -> None:
    """The address and the run directory are printed; what runs goes on running."""
    stack = fresh_stack(start=False)
    assert stack.script("up").stdout == f"Nightfeed is up: http://127.0.0.1:{stack.port} (run directory {stack.run})\n"
    before = pids(stack)
    assert stack.script("up").stdout.startswith("Nightfeed was up already: http://")
    assert pids(stack) == before
    assert None not in before.values()


def test_down_stops_everything_and_is_harmless_when_nothing_runs(fresh_stack: Fresh) -> None:
    """All processes are gone, no pid file or socket is left, and the data stay."""
    stack = fresh_stack()
    processes = [pid for pid in pids(stack).values() if pid is not None]
    assert stack.script("down").stdout == "Nightfeed is down: nginx, api, redis stopped\n"
    assert not [pid for pid in processes if runs(pid)]
    assert not list((stack.run / "pid").iterdir())
    assert stack.script("down").stdout == f"Nothing runs in {stack.run}\n"
    assert stack.script("down", "--run", f"{stack.run}/none").stdout.startswith("Nothing runs in")


def test_status_tells_each_part_and_its_exit_code_tells_the_whole(fresh_stack: Fresh) -> None:
    """0 when all parts answer; 1 when one does not run, or runs and does not answer."""
    stack = fresh_stack()
    shown = stack.script("status", "--json", check=False)
    rows = {row["part"]: row for row in json.loads(shown.stdout)}
    assert shown.returncode == 0
    assert {name: row["pid"] for name, row in rows.items()} == pids(stack)
    assert all(row["answers"] and row["since"] > 1_700_000_000 for row in rows.values())
    stack.part("api").stop()
    shown = stack.script("status", check=False)
    assert shown.returncode == 1
    assert "api    not running" in shown.stdout
    stack.expect_log(REDIS_AWAY)
    stack.signal("redis", signal.SIGSTOP)
    assert "redis  does not answer" in stack.script("status", check=False).stdout
    stack.part("redis").resume()


def test_two_stacks_run_side_by_side(stack: Stack, fresh_stack: Fresh) -> None:
    """Each has its own port, Redis and secrets; a token of one is nobody's in the other; ending one ends one."""
    other = fresh_stack()
    other.redis.set("token:{c}", "1")
    assert stack.redis.get("token:{c}") is None
    assert other.credentials.api != stack.credentials.api
    assert other.http.get("/healthz").status_code == 200
    other.script("down")
    assert stack.http.get("/healthz").status_code == 200
    assert None not in pids(stack).values()


def test_a_taken_port_is_named_and_nothing_is_left_running(fresh_stack: Fresh) -> None:
    """Somebody else's port: the message says which and what to do."""
    stack = fresh_stack(start=False)
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", stack.port))
        somebody.listen()
        refused = stack.script("up", check=False)
    assert refused.returncode == 1
    assert f"port {stack.port} of 127.0.0.1 cannot be used" in refused.stderr
    assert "make up PORT=" in refused.stderr
    assert set(pids(stack).values()) == {None}


def test_the_port_option_wins_and_a_running_stack_moves(fresh_stack: Fresh) -> None:
    """`--port` goes over the file, without a restart; where nothing names a port, it stays where it is."""
    stack = fresh_stack()
    before, port = pids(stack), free_port()
    stack.script("up", "--port", str(port))
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    (stack.run / "nightfeed.toml").write_text("")
    assert f":{port} " in stack.script("up").stdout
    assert pids(stack) == before


def test_a_changed_setting_reaches_the_running_edge(fresh_stack: Fresh) -> None:
    """The next up renders the configuration again, and nginx reloads it."""
    stack = fresh_stack(cookie_name="first", cookie_secure=False)
    stack.configure(cookie_name="second", cookie_secure=False)
    stack.script("up")
    stack.until(lambda: "second=" in httpx.get(f"{stack.url}/feed").headers.get("set-cookie", ""))


@pytest.mark.parametrize(("setting", "value", "says"), [
    ("gaap", 3, "there is no setting 'gaap'"),
    ("gap", 99, "gap is 99: must be from 0 to 20"),
    ("listen", "localhost; rm", "listen is 'localhost; rm': must match"),
])  # fmt: skip
def test_a_wrong_setting_is_refused_by_its_name(fresh_stack: Fresh, setting: str, value: object, says: str) -> None:
    """Neither an unknown name nor a bad value starts anything."""
    stack = fresh_stack(start=False)
    stack.configure(**{setting: value})
    refused = stack.script("up", check=False)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert not (stack.run / "secrets").exists()
    stack.configure()


def test_secrets_are_the_owners_alone_and_nothing_is_open_to_others(stack: Stack) -> None:
    """Secrets, and files that hold a password, are 0600; nothing else in the run directory is open to others."""
    def mode(name: str) -> int:
        return stat.S_IMODE((stack.run / name).stat().st_mode)

    secret = ["config.json", "redis/users.acl", *(f"secrets/{name}.json" for name in ("tokens", "api", "redis"))]
    assert {name: oct(mode(name)) for name in secret} == dict.fromkeys(secret, "0o600")
    assert mode("secrets") == 0o700
    assert {mode("sock"), mode("log"), mode("redis")} == {0o750}
    sockets = list((stack.run / "sock").iterdir())
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in sockets} == {
        "redis.sock": "0o660", "api.sock": "0o660"}  # fmt: skip
    passwords = (stack.run / "redis/users.acl").read_text()
    assert not [word for word in stack.credentials.redis.values() if word in passwords]


def test_redis_has_no_tcp_port_and_nobody_without_a_password(stack: Stack) -> None:
    """Its only listening socket is the Unix one; a connection that does not say who it is may do nothing."""
    listening = {line.split()[9] for name in ("tcp", "tcp6")
                 for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    held = Path(f"/proc/{stack.part('redis').pid()}/fd").iterdir()
    inodes = {os.readlink(link).removeprefix("socket:[").removesuffix("]") for link in held}
    assert not inodes & listening
    for name in (None, "default"):
        stranger = redis.Redis(unix_socket_path=str(stack.run / "sock/redis.sock"), username=name, password=name and "",
                               retry=Retry(NoBackoff(), 0))  # fmt: skip
        with pytest.raises(AuthenticationError):
            stranger.set("version:{c}", 1)


def test_each_redis_user_may_do_its_work_and_little_else(stack: Stack) -> None:
    """The edge cannot write shared keys or flush; the worker cannot reconfigure, stop or add users."""
    edge = redis.Redis(unix_socket_path=str(stack.run / "sock/redis.sock"), username="edge",
                       password=stack.credentials.redis["edge"])  # fmt: skip
    assert edge.get("version:{c}") is None
    for client, command in [
        (edge, ("SET", "version:{c}", "1")), (edge, ("FLUSHALL",)), (edge, ("KEYS", "*")), (edge, ("ACL", "LIST")),
        (edge, ("CONFIG", "GET", "*")), (edge, ("SET", "anything", "1")), (edge, ("FUNCTION", "LIST")),
        (stack.redis, ("CONFIG", "SET", "maxmemory", "1")), (stack.redis, ("SHUTDOWN",)),
        (stack.redis, ("ACL", "SETUSER", "x")), (stack.redis, ("MODULE", "LIST")),
        (stack.redis, ("REPLICAOF", "127.0.0.1", "1")),
    ]:  # fmt: skip
        with pytest.raises(NoPermissionError):
            client.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["redis", "api", "nginx"])
def test_a_killed_process_is_started_again_by_up_and_nothing_is_lost(fresh_stack: Fresh, name: str) -> None:
    """What kill -9 leaves behind, such as nginx's workers on the port, is cleared away; written data are there."""
    stack = fresh_stack()
    stack.import_items([stack.item("a1")])
    assert stack.beacon("u7", [{"event": "impression", "item": "a1"}]).status_code == 204
    before, data = pids(stack), dump(stack)
    assert any(key.startswith(b"seen:") for key in data)
    stack.until(lambda: stack.redis.info("persistence")["aof_pending_bio_fsync"] == 0)
    if name == "redis":
        stack.expect_log(REDIS_AWAY)
    stack.signal(name, signal.SIGKILL)
    stack.until(lambda: stack.part(name).pid() is None)
    stack.script("up")
    after = pids(stack)
    assert {part: after[part] == before[part] for part in after} == {part: part != name for part in after}
    assert dump(stack) == data
    assert stack.http.get("/healthz").status_code == 200
    stack.expect_log("Redis")


def test_data_survive_down_and_up(fresh_stack: Fresh) -> None:
    """Also what functions wrote as one transaction, and the secrets: a token from before is still somebody."""
    stack = fresh_stack()
    stack.import_items([stack.item("a1")])
    stack.beacon("u7", [{"event": "impression", "item": "a1"}])
    data, secrets = dump(stack), stack.credentials
    stack.script("down")
    assert stack.up().credentials == secrets
    assert dump(stack) == data


def dump(stack: Stack) -> dict[bytes, bytes | None]:
    """Every key's content, as Redis writes it."""
    return {bytes(key): stack.redis.dump(key) for key in stack.redis.scan_iter()}


def test_redis_that_cannot_read_its_data_does_not_start(fresh_stack: Fresh) -> None:
    """A command in the append-only file that Redis leaves out stops the stack, instead of going on without it."""
    stack = fresh_stack()
    stack.script("down")
    log = next((stack.run / "redis/appendonlydir").glob("*.incr.aof"))
    log.write_bytes(log.read_bytes() + b"*3\r\n$4\r\nHSET\r\n$1\r\nk\r\n$1\r\nf\r\n")
    refused = stack.script("up", check=False)
    assert refused.returncode == 1
    assert "redis cannot read all of its data" in refused.stderr
    assert "CRITICAL" in refused.stderr
    assert set(pids(stack).values()) == {None}


def test_a_part_that_dies_at_start_shows_its_log_and_takes_the_others_along(fresh_stack: Fresh) -> None:
    """An unreadable log of Redis, then an API that fails on broken secrets: exit 1, a reason, and nothing runs."""
    stack = fresh_stack(start=False)
    stack.script("up")
    stack.script("down")
    (stack.run / "redis/appendonlydir/appendonly.aof.manifest").write_text("nonsense\n")
    refused = stack.script("up", check=False)
    assert refused.returncode == 1
    assert "redis stopped while it was starting" in refused.stderr
    assert "Invalid AOF manifest file format" in refused.stderr
    shutil.rmtree(stack.run / "redis/appendonlydir")
    shutil.rmtree(stack.run / "sock")
    (stack.run / "sock").mkdir()
    (stack.run / "sock/api.sock").mkdir()
    refused = stack.script("up", check=False)
    assert refused.returncode == 1
    assert "api stopped while it was starting" in refused.stderr
    assert set(pids(stack).values()) == {None}
    (stack.run / "sock/api.sock").rmdir()


def test_a_pid_that_is_somebody_elses_is_left_alone(fresh_stack: Fresh) -> None:
    """A pid file may outlive its process and name another one: it is neither believed nor signalled."""
    stack = fresh_stack(start=False)
    (stack.run / "pid").mkdir()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as somebody:
        (stack.run / "pid/redis.pid").write_text(f"{somebody.pid}\n")
        assert stack.part("redis").pid() is None
        assert stack.script("down").stdout == f"Nothing runs in {stack.run}\n"
        assert somebody.poll() is None
        somebody.terminate()


def test_two_ups_at_once_make_one_stack(fresh_stack: Fresh) -> None:
    """The second waits for the first and finds everything running."""
    stack = fresh_stack(start=False)
    command = [*stack.command("up")]
    both = [subprocess.Popen(command, env=stack.environ(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True) for _ in range(2)]  # fmt: skip
    said = sorted(process.communicate()[0].split(":")[0] for process in both)
    assert said == ["Nightfeed is up", "Nightfeed was up already"]


def test_an_interrupted_up_leaves_nothing_running(fresh_stack: Fresh) -> None:
    """SIGTERM while Redis starts: what was started is stopped again, and the exit code tells the signal."""
    stack = fresh_stack(start=False)
    with subprocess.Popen(stack.command("up"), env=stack.environ(), cwd=ROOT) as starting:
        stack.until(lambda: stack.part("redis").pid() is not None)
        starting.terminate()
        assert starting.wait() == 128 + signal.SIGTERM
    assert set(pids(stack).values()) == {None}


def test_a_run_directory_that_sockets_cannot_name_is_refused(fresh_stack: Fresh) -> None:
    """A path beyond 107 bytes, or with characters that mean something in configuration files."""
    stack = fresh_stack(start=False)
    refused = stack.script("up", "--run", f"{stack.run}/{'x' * 100}", check=False)
    assert refused.returncode == 1
    assert "path is too long" in refused.stderr
    assert "make up RUN=" in refused.stderr
    refused = stack.script("up", "--run", f"{stack.run}/a;b", check=False)
    assert "may only have letters" in refused.stderr
    assert sorted(path.name for path in stack.run.iterdir()) == ["nightfeed.toml"]


def test_without_root_and_sudo_the_installer_names_the_packages(tmp_path: Path) -> None:
    """One message, exit 1, and nothing is tried. Simulated: a PATH without the programs, and an `id` of a user."""
    for name in ("sh", "dirname", "sed", "paste", "apt-get"):
        found = shutil.which(name) or "/bin/true"
        (tmp_path / name).symlink_to(found)
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environ = {**clean_environ(), "PATH": str(tmp_path), "NIGHTFEED_VENV": str(tmp_path / "venv")}
    done = finished(["/bin/sh", str(ROOT / "scripts/install.sh"), "run", "fast", "test", "lint", "bench"], environ,
                    check=False)
    assert done.returncode == 1
    assert "only root can install them: python3 python3-venv" in done.stderr
    for package in ("redis-server", "chromium", "node-typescript", "lua-check", "wrk"):
        assert package in done.stderr
    assert done.stderr.count("install:") == 1
    assert not (tmp_path / "venv").exists()


def test_installing_when_nothing_is_missing_changes_nothing() -> None:
    """Neither apt nor pip is called: no network is needed."""
    environ = {**clean_environ(), "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    assert finished(["scripts/install.sh", "run", "fast", "test", "bench"], environ).stdout == ""
