"""What others on this host may read or reach: nothing of a run directory, and no port but the edge's."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.security.fuzzing import pids
from tests.stack_fixture import Stack

# What only the owner may read: secrets, and what holds one.
PRIVATE = ("secrets", "config.json", "redis/users.acl", "erasures.log", "nginx/body", "nginx/proxy")


@pytest.fixture
def used(stack: Stack) -> Stack:
    """A stack that has been used: events, a night, an erasure, an error in its logs."""
    stack.import_items([stack.item("a1"), stack.item("a2")])
    for user in ("u1", "u2"):
        stack.beacon(user, [{"event": "impression", "item": "a1"}, {"event": "search", "query": "rye"}])
    stack.worker("nightly", "--force")
    stack.worker("user", "forget", "u1", "--yes")
    stack.http.delete("/api/users/u2", headers={"Authorization": f"Bearer {stack.credentials.api['admin']}"})
    stack.redis.bgrewriteaof()
    stack.until(lambda: not stack.redis.info("persistence")["aof_rewrite_in_progress"])
    return stack


def modes(run: Path) -> dict[str, int]:
    """Permission bits of everything in a run directory, by path within it, sockets and folders too."""
    found = {"": stat.S_IMODE(run.stat().st_mode)}
    for folder, folders, files in os.walk(run):
        for name in (*folders, *files):
            path = Path(folder) / name
            found[str(path.relative_to(run))] = stat.S_IMODE(path.lstat().st_mode)
    return found


def test_nothing_in_the_run_directory_is_open_to_others(used: Stack) -> None:
    """Folders at most 0750, files at most 0640, secrets the owner's alone; only the settings, which the site wrote, may
    be readable, behind a closed folder."""
    found = modes(used.run)
    assert found.pop("nightfeed.toml")
    for name, mode in found.items():
        assert mode & stat.S_IRWXO == 0, (name, oct(mode))
        assert mode & stat.S_IWGRP == 0 or name in ("sock/redis.sock", "sock/api.sock"), (name, oct(mode))
        if name.startswith(PRIVATE):
            assert mode & 0o077 == 0, (name, oct(mode))
    assert (found["sock"], found["sock/redis.sock"], found["sock/api.sock"]) == (0o750, 0o660, 0o660)
    assert {name: oct(mode) for name, mode in found.items() if name.startswith("secrets/")} == dict.fromkeys(
        ("secrets/tokens.json", "secrets/api.json", "secrets/redis.json", "secrets/erasures.json"), "0o600")


def test_a_generous_umask_opens_nothing(fresh_stack) -> None:
    """Started from a shell whose umask is 0: files are made with their modes."""
    stack = fresh_stack(start=False)
    before = os.umask(0)
    try:
        stack.up()
        stack.worker("user", "forget", "u1", "--yes", check=False)
    finally:
        os.umask(before)
    left = {name: oct(mode) for name, mode in modes(stack.run).items()
            if mode & 0o007 and name != "nightfeed.toml"}
    assert left == {}


def test_secrets_stand_in_no_command_line_environment_or_log(used: Stack) -> None:
    """Other users of the host see command lines; logs go to other places."""
    keys = [key.hex() for key in used.credentials.keyring.keys.values()]
    secrets = [*keys, *used.credentials.api.values(), *used.credentials.redis.values()]
    seen = [Path(f"/proc/{pid}/{name}").read_bytes() for of in pids(used).values() for pid in of
            for name in ("cmdline", "environ")]
    seen += [path.read_bytes() for path in (used.run / "log").iterdir()]
    seen += [path.read_bytes() for path in (used.run / "nginx").glob("*.conf")] + [used.http.get("/metrics").content]
    assert not [secret for secret in secrets for text in seen if secret.encode() in text]


def listeners(of: set[int]) -> set[tuple[str, int]]:
    """Addresses and ports (TCP, hexadecimal address) that these processes listen on."""
    inodes = set()
    for pid in of:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            inodes |= {match[1]} if match else set()
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


def test_no_port_is_open_but_the_edges_on_this_host(used: Stack) -> None:
    """Redis and the API are reached through their Unix sockets; the edge listens where the settings say."""
    parts = pids(used)
    assert listeners(parts["redis"]) == listeners(parts["api"]) == set()
    assert listeners(parts["nginx"]) == {("0100007F", used.port)}
    assert used.redis.config_get("port")["port"] == "0"
    assert used.redis.config_get("tls-port")["tls-port"] == "0"


def test_another_user_of_the_host_gets_nowhere(used: Stack) -> None:
    """As `nobody`, where this user may become it: no socket, no secret, not even the folder. Else the modes say so."""
    if os.geteuid() != 0:
        assert modes(used.run)[""] & 0o007 == 0
        return
    used.run.chmod(0o750)
    try:
        for name in ("", "secrets/api.json", "config.json", "redis/appendonlydir", "log/api.log", "erasures.log"):
            done = subprocess.run(["ls", "-l", used.run / name], user="nobody", group="nogroup", extra_groups=[],
                                  capture_output=True, text=True, check=False)
            assert "Permission denied" in done.stderr, (name, done)
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(used.run / 'sock/redis.sock')!r})"
        done = subprocess.run(["/usr/bin/env", "python3", "-c", code], user="nobody", group="nogroup", extra_groups=[],
                              capture_output=True, text=True, check=False)
        assert "PermissionError" in done.stderr or "Permission denied" in done.stderr, done
    finally:
        used.run.chmod(0o700)
