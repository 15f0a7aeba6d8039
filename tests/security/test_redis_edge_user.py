"""The edge's Redis user may do exactly what the edge does: every command of the server is tried, on every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.security.redis_users import commands, may, server_with_users, words
from tests.stack_fixture import ROOT, Stack
from worker import keyspace

KEY = "<key>"
# How each command that the edge may need is called. What it is granted stands in edge.acl; all else must be refused.
GRANTED = set(re.findall(r"\+(\S+)", re.sub(r"#.*", "", (ROOT / "scripts/redis/edge.acl").read_text())))
CALLS = {
    "exists": ["EXISTS", KEY], "hget": ["HGET", KEY, "f"], "hgetall": ["HGETALL", KEY],
    "lrange": ["LRANGE", KEY, "0", "-1"], "smismember": ["SMISMEMBER", KEY, "1"],
    "zscore": ["ZSCORE", KEY, "m"], "get": ["GET", KEY], "mget": ["MGET", KEY],
    "getrange": ["GETRANGE", KEY, "0", "1"], "strlen": ["STRLEN", KEY], "hmget": ["HMGET", KEY, "f"],
    "dump": ["DUMP", KEY], "smembers": ["SMEMBERS", KEY], "zrange": ["ZRANGE", KEY, "0", "-1"],
}
CHANGES = {
    "fcall": ["FCALL", "nightfeed_record", "1", KEY], "append": ["APPEND", KEY, "x"], "set": ["SET", KEY, "x"],
    "setrange": ["SETRANGE", KEY, "0", "x"], "expireat": ["EXPIREAT", KEY, "1"], "hset": ["HSET", KEY, "f", "1"],
    "rpush": ["RPUSH", KEY, "1"], "linsert": ["LINSERT", KEY, "BEFORE", "a", "b"], "ltrim": ["LTRIM", KEY, "0", "1"],
    "sadd": ["SADD", KEY, "1"], "srem": ["SREM", KEY, "1"], "zadd": ["ZADD", KEY, "1", "m"],
}
READS = {name: line for name, line in CALLS.items() if name in GRANTED}
WRITES = {name: line for name, line in CHANGES.items() if name in GRANTED}
# What Redis lets every user do: to say who it is, and to leave.
ALWAYS = {"auth", "hello", "quit", "reset"}
WRITABLE = ("seen", "acts", "searches", "lent", "users", "count", "erased")
READABLE = ("list", "ids", "records", "meta", "changes", "version", "generation", "pool", "default", "older")
STRANGE = ("", "*", "x", "seen", "seen:x", "seen:1:20:u1", "users", "users:1", "xseen:{1}:1:u1", "list:u1", "ids",
           "ids:{1}", "version:{c}x", "records:{c}:1", "token", "SEEN:{1}:1:u1", "erased:{1}:x")


@pytest.fixture(scope="module")
def admin(_session_stack: Stack) -> Iterator[redis.Redis]:
    """A server of the test's own that knows the stack's users."""
    with server_with_users(_session_stack.run) as client:
        yield client


def example(name: str) -> str:
    """One key of a kind."""
    definition = keyspace.KINDS[name]
    tag = "{c}" if definition.tag == "shared" else "{7}"
    parts = {"user": "a-1.b:c", "bucket": "1024", "day": "20480", "generation": "17"}
    return ":".join([name, tag, *(parts[part] for part in definition.parts)])


def test_only_the_commands_that_the_edge_calls_are_allowed(admin: redis.Redis) -> None:
    """Of all commands and subcommands that this Redis has, each with the fewest arguments that it takes."""
    known = commands(admin)
    assert len(known) > 300
    others = {name: row for name, row in known.items() if name not in READS | WRITES}
    assert {name for name, row in others.items() if may(admin, "edge", *words(name, row))} == ALWAYS
    assert set(READS | WRITES) <= set(known)


def test_each_allowed_command_is_one_that_the_code_calls() -> None:
    """In the functions with the caller's rights, or from the edge itself; nothing is left over from earlier."""
    libraries = (ROOT / "lua/redis/events.lua", ROOT / "lua/redis/identify.lua")
    called = {name for path in libraries for name in re.findall(r"'([A-Z]{3,})'", path.read_text())}
    for path in (ROOT / "lua/edge").glob("*.lua"):
        called |= set(re.findall(r'(?:\{|=) "([A-Z]{3,})"', path.read_text()))
    assert set(READS | WRITES) == GRANTED, "say above how the new command is called"
    assert {name.lower() for name in called} >= GRANTED


@pytest.mark.parametrize("name", sorted(keyspace.KINDS))
def test_each_kind_of_key_is_open_as_far_as_the_edge_needs_it(admin: redis.Redis, name: str) -> None:
    """People's keys for writing, the catalogue and the lists for reading, the night's own not at all."""
    rights = {kind: {command for command, line in table.items() if may(admin, "edge", *filled(line, example(name)))}
              for kind, table in (("read", READS), ("write", WRITES))}
    assert rights["read"] == (set(READS) if name in WRITABLE + READABLE else set())
    assert rights["write"] == (set(WRITES) if name in WRITABLE else set())


@pytest.mark.parametrize("key", STRANGE)
def test_keys_that_only_look_alike_are_closed(admin: redis.Redis, key: str) -> None:
    """Another prefix, no tag, more behind the name, another case."""
    assert not [name for name, line in (READS | WRITES).items() if may(admin, "edge", *filled(line, key))]


def test_a_function_is_called_only_with_keys_that_may_all_be_written(admin: redis.Redis) -> None:
    """One key among many that is for reading only, or foreign, and the call is refused."""
    own, others = example("seen"), [example("list"), example("version"), example("fence"), "x"]
    assert may(admin, "edge", "FCALL", "nightfeed_record", "3", own, example("users"), example("count"))
    for other in others:
        assert not may(admin, "edge", "FCALL", "nightfeed_record", "2", own, other)
    assert not may(admin, "edge", "FCALL_RO", "nightfeed_record", "1", own)
    assert not may(admin, "edge", "EVAL", "return 1", "1", own)


def test_the_other_functions_are_of_no_use_to_the_edge(stack: Stack) -> None:
    """Called for real: their own keys are refused; with others they reach no further than the edge does by itself."""
    edge = redis.Redis(unix_socket_path=str(stack.run / "sock/redis.sock"), username="edge",
                       password=stack.credentials.redis["edge"])  # fmt: skip
    rows = [row[row.index(b"functions") + 1] for row in stack.redis.function_list()]
    names = {function[function.index(b"name") + 1].decode() for functions in rows for function in functions}
    assert len(names) >= 8
    for name in names - {"nightfeed_record"}:
        for kind in set(keyspace.KINDS) - set(WRITABLE):
            with pytest.raises(redis.exceptions.NoPermissionError):
                edge.fcall(name, 1, example(kind), "1", "2", "3")
        for count in (1, 2, len(WRITABLE)):
            with suppress(redis.ResponseError):
                edge.fcall(name, count, *map(example, WRITABLE[:count]), "1", "2", "3")
    assert {key.decode() for key in stack.redis.scan_iter()} <= set(map(example, WRITABLE))


def test_the_running_redis_has_these_users_and_no_other(stack: Stack, admin: redis.Redis) -> None:
    """What was tried above is what runs; the default user is off, so that nobody can be it."""
    listed = {entry.split()[1]: entry for entry in stack.redis.acl_list()}
    assert set(listed) == {"default", "edge", "worker"}
    assert listed["default"].split()[2] == "off"
    for name in ("edge", "worker"):
        ours, running = admin.acl_getuser(name), stack.redis.acl_getuser(name)
        for part in ("flags", "passwords", "keys", "channels", "selectors", "categories"):
            assert ours[part] == running[part], f"{name}: {part}"
        assert set(ours["commands"]) == set(running["commands"])
    for name, password in ((None, None), ("default", ""), ("edge", ""), ("worker", "x"),
                           ("edge", stack.credentials.redis["worker"])):
        stranger = redis.Redis(unix_socket_path=str(stack.run / "sock/redis.sock"), username=name, password=password,
                               retry=Retry(NoBackoff(), 0))  # fmt: skip
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def filled(line: list[str], key: str) -> list[str]:
    """A command line on a key."""
    return [key if word == KEY else word for word in line]
