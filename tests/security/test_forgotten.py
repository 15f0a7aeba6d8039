"""Who was forgotten is nowhere: no key, file, log or metric names them, and nothing brings them back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.edge_state import now_ms
from tests.stack_fixture import REDIS_AWAY, Stack
from worker.keyspace import DAY_MS

# Names that stand in no other word, one of them with every character that ids may have.
GONE = ("forgotten-person-7", "Gone.person_8~x:y")
KEPT = "remaining-person"


def live(stack: Stack, user: str) -> None:
    """Everything that a person can leave behind: events of every kind and on old days, a search, a list, pages."""
    kinds = [{"event": "impression"}, {"event": "click"}, {"event": "dwell", "ms": 1200}, {"event": "conversion"},
             {"event": "reaction", "kind": "like"}, {"event": "hide"}]
    times = {f"i{n}": now_ms() - 1000 - n * 11 * DAY_MS for n in range(5)}
    events = [{"item": item, "ts": ts, **kind} for item, ts in times.items() for kind in kinds]
    assert stack.beacon(user, [*events, {"event": "search", "query": "rye"}]).status_code == 204
    stack.feed(user)
    stack.http.get("/pixel.gif?item=i7", headers=stack.bearer(user))


@pytest.fixture
def lived(stack: Stack) -> Stack:
    """A stack on which three people lived, and a night made their lists."""
    stack.import_items([stack.item(f"i{n}", category=f"c{n % 4}") for n in range(20)])
    for user in (*GONE, KEPT):
        live(stack, user)
    stack.worker("nightly", "--force")
    return stack


def forget(stack: Stack, user: str) -> None:
    """One by the command, the other by the API."""
    if user == GONE[0]:
        stack.worker("user", "forget", user, "--yes")
    else:
        headers = {"Authorization": f"Bearer {stack.credentials.api['admin']}"}
        assert stack.http.delete(f"/api/users/{user}", headers=headers).status_code == 200


def everything(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Every key of Redis, each with its whole contents, as bytes."""
    for key in stack.redis.scan_iter(count=1000):
        name, kind = key.decode(), stack.redis.type(key)
        yield name, key
        if kind == b"string":
            yield name, stack.redis.get(key)
        elif kind == b"hash":
            yield from ((name, part) for pair in stack.redis.hgetall(key).items() for part in pair)
        elif kind == b"list":
            yield from ((name, part) for part in stack.redis.lrange(key, 0, -1))
        elif kind == b"set":
            yield from ((name, part) for part in stack.redis.smembers(key))
        else:
            yield from ((name, part) for part in stack.redis.zrange(key, 0, -1))


def naming(stack: Stack, user: str) -> set[str]:
    """The keys that name the user, in their name or anywhere in their contents."""
    return {name for name, part in everything(stack) if user.encode() in part}


def test_the_person_is_gone_from_every_key_when_the_call_returns(lived: Stack) -> None:
    """All keys, names and contents, are looked through; the others are untouched."""
    before = naming(lived, KEPT)
    for user in GONE:
        assert len(naming(lived, user)) > 3
        forget(lived, user)
        assert naming(lived, user) == set()
        assert lived.feed(user, 100)["user"] == user
        assert naming(lived, user) == set(), "reading a page records nobody"
    assert naming(lived, KEPT) == before


def test_neither_late_events_nor_a_night_nor_an_import_bring_them_back(lived: Stack) -> None:
    """Every way in, with events from before the erasure; and lists are made for those who are known."""
    early = now_ms() - 5000
    for user in GONE:
        forget(lived, user)
        for kind in ("impression", "click", "hide"):
            assert lived.beacon(user, [{"event": kind, "item": "i9", "ts": early}]).status_code == 204
        lived.http.get(f"/pixel.gif?item=i9&ts={early}", headers=lived.bearer(user))
        line = json.dumps({"user": user, "event": "impression", "item": "i9", "ts": early})
        lived.worker("events", "import", "-", input=line + "\n")
    lived.worker("nightly", "--force")
    assert [naming(lived, user) for user in GONE] == [set(), set()]
    assert naming(lived, KEPT)


def test_logs_and_metrics_name_nobody(fresh_stack: Callable[..., Stack]) -> None:
    """Also while Redis and then the API are away, and while both are asked about the person.

    From when the edge knows that Redis is away: at a connection that fails before, nginx itself names the address.
    """
    stack = fresh_stack()
    stack.expect_log(rf"{REDIS_AWAY}|api\.sock|upstream")
    stack.import_items([stack.item(f"i{n}") for n in range(20)])
    admin = {"Authorization": f"Bearer {stack.credentials.api['admin']}"}
    for user in GONE:
        live(stack, user)
        stack.worker("user", "export", user)
        assert stack.http.get(f"/api/users/{user}?because={user}", headers=admin).status_code == 200
        forget(stack, user)
        assert stack.http.get(f"/api/users/{user}/nothing", headers=admin).status_code == 404
    for part, status in (("redis", 503), ("api", 503)):
        stack.part(part).stop() if part == "redis" else stack.signal(part, signal.SIGKILL)
        if part == "redis":
            log = stack.run / "log/nginx-error.log"
            stack.until(lambda log=log: len(re.findall("cannot follow Redis", log.read_text())) == 2)
        for user in GONE:
            answer = stack.until(lambda user=user, status=status: (
                a := stack.http.get(f"/api/users/{user}", headers=admin)).status_code == status and a)
            assert user not in answer.text
            stack.beacon(user, [{"event": "impression", "item": "i9"}])
            stack.http.get("/pixel.gif?item=i9&event=click", headers=stack.bearer(user))
            stack.http.get("/feed", headers=stack.bearer(user))
        time.sleep(1.2)  # what the edge has to say about Redis comes with its timer
        metrics = stack.http.get("/metrics").text
        stack.script("up")
        for user in (*GONE, "127.0.0.1"):
            assert user not in metrics
            assert {path.name for path in (stack.run / "log").iterdir() if user in path.read_text()} == set()
    assert "failed to ask Redis" in (stack.run / "log/nginx-error.log").read_text()
    told = (stack.run / "log/api.log").read_text()
    assert re.search(r"\[ERROR\] GET /api/users/\{user\} => .*redis\.sock", told)


def test_no_file_of_the_run_directory_names_them_once_the_log_is_rewritten(lived: Stack) -> None:
    """Redis's log of commands holds them until it is rewritten; the ledger, the settings and all else never do."""
    for user in GONE:
        forget(lived, user)
    lived.redis.bgrewriteaof()
    lived.until(lambda: not lived.redis.info("persistence")["aof_rewrite_in_progress"])
    files = [path for path in lived.run.rglob("*") if path.is_file() and path.name != "appendonly.aof.manifest"]
    assert len(files) > 10
    assert {(path.name, user) for path in files for user in GONE if user.encode() in path.read_bytes()} == set()


def test_a_restored_back_up_does_not_bring_them_back(fresh_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """Neither to the store, nor to its files; late events come to nothing afterwards, too."""
    stack = fresh_stack()
    stack.import_items([stack.item(f"i{n}") for n in range(20)])
    for user in (*GONE, KEPT):
        live(stack, user)
    early = now_ms()
    stack.worker("backup", str(tmp_path / "copy"))
    for user in GONE:
        forget(stack, user)
    stack.script("down")
    shutil.rmtree(stack.run / "redis")
    done = json.loads(stack.worker("restore", str(tmp_path / "copy"), "--json").stdout)
    assert done["erased_again"] == 2
    files = [path for path in stack.run.rglob("*") if path.is_file()]
    assert not [path for path in files for user in GONE if user.encode() in path.read_bytes()]
    stack.up()
    for user in GONE:
        assert stack.beacon(user, [{"event": "impression", "item": "i9", "ts": early}]).status_code == 204
        assert naming(stack, user) == set()
    assert naming(stack, KEPT)
