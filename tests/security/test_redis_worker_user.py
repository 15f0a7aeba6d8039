"""The worker's Redis user works on data and looks at the server; it may not reconfigure or stop it, nor write users."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import redis

from tests.security.redis_users import commands, may, server_with_users, words
from tests.stack_fixture import Stack

# Of the commands that Redis itself calls dangerous or administrative, these and no others.
DANGEROUS = {
    # Looking: `worker status`, `worker doctor`, back-ups.
    "info", "config|get", "acl|getuser", "acl|list", "acl|log", "slowlog|get", "client|list", "lastsave", "keys",
    # Back-ups hold writers still for a moment, and copy.
    "client|pause", "client|unpause", "save", "bgsave", "bgrewriteaof", "restore",
    # They touch data only, all of which is the worker's own, or statistics.
    "flushall", "flushdb", "sort", "sort_ro", "config|resetstat",
    # Ends a connection, of which each side makes a new one.
    "client|kill",
}
NEVER = [
    "CONFIG SET maxmemory 1", "CONFIG REWRITE", "CONFIG SET dir /", "SHUTDOWN", "SHUTDOWN NOSAVE", "DEBUG SEGFAULT",
    "DEBUG SLEEP 9", "ACL SETUSER x on nopass +@all", "ACL DELUSER edge", "ACL LOAD", "ACL SAVE", "ACL DRYRUN edge GET",
    "MODULE LOAD /x.so", "MODULE LOADEX /x.so", "REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1", "FAILOVER",
    "CLUSTER RESET", "MONITOR", "SYNC", "PSYNC x 1", "MIGRATE 127.0.0.1 1 k 0 1", "SWAPDB 0 0", "SUBSCRIBE x",
    "PUBLISH x y", "LATENCY RESET", "CLIENT NO-EVICT on", "CLIENT UNBLOCK 1", "PFDEBUG GETREG x",
    "RESTORE-ASKING k 0 x",
]  # fmt: skip


@pytest.fixture(scope="module")
def admin(_session_stack: Stack) -> Iterator[redis.Redis]:
    """A server of the test's own that knows the stack's users."""
    with server_with_users(_session_stack.run) as client:
        yield client


def test_what_it_may_run_of_the_dangerous_commands_is_listed(admin: redis.Redis) -> None:
    """By Redis's own categories, for every command and subcommand that this Redis has."""
    allowed = {name: {category.decode() for category in row[6]} for name, row in commands(admin).items()
               if may(admin, "worker", *words(name, row))}
    dangerous = {name for name, categories in allowed.items() if categories & {"@dangerous", "@admin"}}
    assert dangerous == DANGEROUS
    assert not {name for name, categories in allowed.items() if "@pubsub" in categories}


@pytest.mark.parametrize("line", NEVER)
def test_it_cannot_change_stop_or_leave_this_server(admin: redis.Redis, stack: Stack, line: str) -> None:
    """By name, tried on the running server too: configuration, users, modules, replicas, other hosts."""
    if admin.execute_command("COMMAND INFO", line.split()[0]) is None:
        return  # a command of another version
    assert not may(admin, "worker", *line.split())
    # Redis refuses two of them to anyone before it looks at the user.
    with pytest.raises(redis.ResponseError, match=r"no permissions to run|(DEBUG|MODULE) command not allowed"):
        stack.redis.execute_command(line.split()[0], *line.split()[1:])


def test_a_script_of_the_worker_has_no_more_rights_than_it(stack: Stack) -> None:
    """EVAL and functions run as their caller."""
    for line in ("'CONFIG','SET','maxmemory','1'", "'ACL','SETUSER','x'", "'SHUTDOWN'", "'SWAPDB','0','0'"):
        with pytest.raises(redis.ResponseError, match=re.compile("permission|not allowed|can't run", re.IGNORECASE)):
            stack.redis.eval(f"return redis.call({line})", 0)
    assert {entry.split()[1] for entry in stack.redis.acl_list()} == {"default", "edge", "worker"}
