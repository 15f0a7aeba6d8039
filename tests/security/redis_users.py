"""A Redis of one's own with the stack's users in it, where anything may be asked of ACL DRYRUN without being done."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from worker.store.private import private_server

Rows = list[Any]


def ask(client: redis.Redis, *command: str) -> Any:
    """The raw reply to a command, without what the client makes of it; an error reply is raised."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


@contextmanager
def server_with_users(run: Path) -> Iterator[redis.Redis]:
    """Its administrator; ``run`` is a run directory, whose users are added as they were rendered."""
    with tempfile.TemporaryDirectory(prefix="nf-") as folder, private_server(Path(folder)) as client:
        for line in (run / "redis/users.acl").read_text().splitlines():
            name, *rules = line.split()[1:]
            if name != "default":
                ask(client, "ACL", "SETUSER", name, *rules)
        yield client


def commands(client: redis.Redis) -> dict[str, Rows]:
    """Every command and subcommand that can be called: name, as in ``config|get``, to its row of COMMAND."""
    found = {row[0].decode(): row for row in _flat(ask(client, "COMMAND"))}
    containers = {name.partition("|")[0] for name in found if "|" in name}
    return {name: row for name, row in found.items() if name not in containers or row[1] != -2}


def _flat(rows: Rows) -> Iterator[Rows]:
    for row in rows:
        yield row
        yield from _flat(row[9])


def words(name: str, row: Rows) -> list[str]:
    """A command line of the shortest length that the command takes."""
    named = name.split("|")
    return [*named, *["1"] * (abs(row[1]) - len(named))]


def may(client: redis.Redis, user: str, *line: str) -> bool:
    """Whether the user may run this command line. An error that is not about permissions is raised."""
    answer = ask(client, "ACL", "DRYRUN", user, *line).decode()
    if answer == "OK":
        return True
    assert re.search(r"no permissions to (run|access)", answer), answer
    return False
