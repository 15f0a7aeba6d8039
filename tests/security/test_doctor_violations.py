"""``worker doctor`` against real violations: old programs, open files, other settings and users in Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.security.redis_users import ask, server_with_users
from tests.stack_fixture import Stack
from worker.doctor import server, users, versions
from worker.store.connect import Store

Found = dict[str, dict[str, str]]


def doctor(stack: Stack, path: str | None = None) -> Found:
    """The checks by name, as a shell with that PATH in front sees them."""
    env = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
    told = json.loads(stack.worker("doctor", "--json", check=False, env=env).stdout)
    return {check["name"]: check for check in told["checks"]}


def program(folder: Path, name: str, prints: str) -> None:
    """A program that prints something to both of its outputs."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{prints}'\necho '{prints}' >&2\n")
    file.chmod(0o755)


OLD = {  # program: what it says, the check that fails, what the finding names
    "redis-server": ("Redis server v=7.0.14 sha=0", "redis version", "CVE-2025-49844"),
    "nginx": ("nginx version: nginx/1.18.0 ngx_lua-0.10.20", "nginx version", "1.22.1"),
    "openresty": ("nginx version: openresty/1.21.4.1 ngx_lua-0.10.21", "nginx Lua module version", "0.10.27"),
}


@pytest.mark.parametrize("name", OLD)
def test_a_program_older_than_its_floor_fails(stack: Stack, tmp_path: Path, name: str) -> None:
    """Found on the PATH before the others, as the stack would start it."""
    prints, check, names = OLD[name]
    program(tmp_path, name, prints)
    found = doctor(stack, str(tmp_path))[check]
    assert found["state"] == "fail", found
    assert names in found["found"]
    assert found["todo"]


@pytest.mark.parametrize(("package", "old"), [
    ("nginx", "1.22.1-9+deb12u10"), ("redis-server", "5:7.0.15-1~deb12u9"),
    ("libnginx-mod-http-lua", "1:0.10.23-1"),
])
def test_a_debian_package_older_than_its_floor_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, old: str
) -> None:
    """By what dpkg says of the package that owns the program; one update before the floor is too old."""
    (tmp_path / "dpkg-query").write_text(
        f'#!/bin/sh\ncase "$1" in --search) echo "{package}: $2" ;; *) printf %s "{old}" ;; esac\n')
    (tmp_path / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = versions._debian(package, f"/usr/sbin/{package}")
    assert check
    assert check.state == "fail"
    assert versions.DEBIAN[package] in check.found


def test_an_old_gunicorn_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the version that is installed beside the worker."""
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda name: "22.0.0")
    [check] = [check for check in versions.checks(tmp_path) if check.name == "gunicorn version"]
    assert check.state == "fail"
    assert "23" in check.todo


def test_the_floors_are_those_that_are_known_to_be_needed() -> None:
    """Debian 12's own numbers, and the releases of the projects."""
    assert versions.DEBIAN == {"libnginx-mod-http-lua": "1:0.10.23-1+deb12u1", "redis-server": "5:7.0.15-1~deb12u10",
                               "nginx": "1.22.1-9+deb12u11"}
    assert versions.GUNICORN == (23,)
    assert versions.NGINX >= (1, 22, 1)


OPENED = [("secrets/redis.json", 0o640, "secrets"), ("config.json", 0o644, "secrets"),
          ("redis/users.acl", 0o640, "secrets"), ("erasures.log", 0o644, "secrets"),
          ("secrets", 0o750, "secrets"), ("sock", 0o751, "run directory"),
          ("redis", 0o755, "run directory"), ("log", 0o770, "run directory"), ("demo", 0o755, "run directory"),
          ("demo/people.json", 0o644, "secrets"), ("", 0o755, "run directory"), ("sock/api.sock", 0o666, "sockets"),
          ("nginx/body", 0o755, "run directory"), ("redis/appendonlydir", 0o755, "run directory"),
          ("log/redis.log", 0o644, "run directory")]  # fmt: skip


@pytest.mark.parametrize(("name", "mode", "check"), OPENED)
def test_everything_that_others_could_read_is_found(stack: Stack, name: str, mode: int, check: str) -> None:
    """Each alone, by its path, with a command that closes it."""
    path, made = stack.run / name, False
    if not path.exists():
        path.write_text("")
        path.chmod(0o600)
        made = True
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    try:
        found = doctor(stack)[check]
        assert found["state"] == "fail", found
        assert f"{stack.run / name} is {mode:04o}" in found["found"]
        assert f"chmod {'go-rwx' if check == 'secrets' else 'o-rwx'}" in found["todo"]
    finally:
        path.chmod(before)
        if made:
            path.unlink()


USERS = [
    (["edge", "nopass"], "edge has no password"), (["edge", "+@all"], "edge may run every command"),
    (["edge", "+keys"], "edge may run +keys"), (["edge", "-hmget"], "edge may not run +hmget"),
    (["edge", "off"], "edge is off"),
    (["edge", "~*"], "edge may use ~*"), (["edge", "%RW~list:*"], "edge may use ~list:*"),
    (["worker", "+config|set"], "worker may run +config|set"), (["worker", "nopass"], "worker has no password"),
    (["worker", "+@all"], "worker may run every command"), (["worker", "+migrate"], "worker may run +migrate"),
    (["worker", "+shutdown"], "worker may run +shutdown"),
    (["spy", "on", "nopass", "+@all", "~*"], "spy is not one of ours"), (["edge", "(+set ~*)"], "edge has selectors"),
    (["worker", "&*"], "worker has selectors or channels"),
]  # fmt: skip


@pytest.fixture(scope="module")
def admin(_session_stack: Stack) -> Iterator[redis.Redis]:
    """A Redis with the stack's users and the settings that shape data; its default user is on, as the test needs it."""
    with server_with_users(_session_stack.run) as client:
        yield client


@pytest.mark.parametrize(("rule", "says"), USERS, ids=[says for _, says in USERS])
def test_any_other_right_in_the_running_redis_is_found(stack: Stack, rule: list[str], says: str) -> None:
    """Changed in the server behind the back of its file; without the change, it is not found."""
    with server_with_users(stack.run) as admin:
        store = Store(admin, stack.settings, stack.run)
        assert users.check(store).found == "the user default is on: whoever reaches the socket may do everything"
        ask(admin, "ACL", "SETUSER", *rule)
        assert says in users.check(store).found
        ask(admin, "ACL", "DELUSER", "edge")
        assert "the user edge is missing" in users.check(store).found


SETTINGS = {"appendonly": "no", "appendfsync": "no", "maxmemory-policy": "allkeys-lru", "rdbcompression": "yes",
            "lazyfree-lazy-server-del": "no", "save": "60 1", "lazyfree-lazy-expire": "no"}  # fmt: skip


def test_each_setting_that_was_changed_in_the_running_redis_is_found(stack: Stack, admin: redis.Redis) -> None:
    """By name, with what it is and should be; put right, it is not found any more."""
    store = Store(admin, stack.settings, stack.run)
    wanted = server.wanted(server.TEMPLATE.read_text())
    for name, value in SETTINGS.items():
        admin.config_set(name, wanted[name])
        assert f"{name} is" not in server._settings(store).found
        admin.config_set(name, value)
        found = server._settings(store)
        assert found.state == "fail"
        assert f"{name} is {value} instead of {wanted[name] or 'empty'}" in found.found
