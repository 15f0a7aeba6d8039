"""A back-up is the data of one moment, verified; restored, it is the same data, less whoever was erased since."""

from __future__ import annotations

import json
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stack_fixture import Stack
from worker.keyspace import partition_key, partition_of
from worker.store import snapshot
from worker.store.connect import Store
from worker.store.private import private_server

Fresh = Callable[..., Stack]


def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def kept(fresh_stack: Fresh, tmp_path: Path) -> tuple[Stack, Path]:
    """A stack with 30 items, 40 people who saw some of them, and a night; and where its back-up goes."""
    stack = fresh_stack()
    stack.import_items(stack.item(f"item{n}", category=f"c{n % 5}") for n in range(30))
    lines = [{"user": f"u{user}", "event": event, "item": f"item{(user + n) % 30}", "ts": now() - 3_600_000}
             for user in range(40) for n in range(6) for event in ("impression", "click")]
    lines += [{"user": "u1", "event": "search", "query": "rye bread", "ts": now() - 1000}]
    stack.worker("events", "import", "-", input="".join(json.dumps(line) + "\n" for line in lines))
    stack.worker("nightly", "--force")
    return stack, tmp_path / "copy"


def contents(stack: Stack) -> dict[bytes, Any]:
    """Every key with its type, its contents, and when it expires; byte for byte."""
    client, found = stack.redis, {}
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        b"list": lambda name: client.lrange(name, 0, -1),
    }
    for name in client.scan_iter(count=1000):
        kind = client.type(name)
        dump = client.dump(name) if kind not in (b"hash",) else None
        found[name] = (kind, readers[kind](name), dump, client.execute_command("PEXPIRETIME", name))
    return found


def refused(stack: Stack, *args: str) -> str:
    """What a command that must fail says; it never shows a traceback."""
    done = stack.worker(*args, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def people(stack: Stack) -> set[str]:
    return {user.decode() for p in range(64) for user in stack.redis.zrange(partition_key("users", p), 0, -1)}


def test_a_restored_stack_holds_every_key_as_it_was(kept: tuple[Stack, Path]) -> None:
    """Back up, lose everything, restore: all keys' contents, dumps and expiries are equal, and so are the feeds."""
    stack, copy = kept
    made = json.loads(stack.worker("backup", str(copy), "--json").stdout)
    before = contents(stack)
    feeds = {user: [item["id"] for item in stack.feed(user, n=30)["items"]] for user in ("u1", "u2", "u39")}
    tokens = stack.bearer("u1")
    assert (made["keys"], made["verified"], made["counts"]["users"], made["counts"]["items"]) == (
        len(before), True, 40, 30)
    stack.script("down")
    shutil.rmtree(stack.run / "redis")
    shutil.rmtree(stack.run / "secrets")
    (stack.run / "nightfeed.toml").unlink()
    done = json.loads(stack.worker("restore", str(copy), "--json").stdout)
    assert done == {"made_at": made["made_at"], "loaded_keys": len(before), "keys": len(before), "erased_again": 0,
                    "erasures": 0, "secrets": "restored", "settings": "restored", "set_aside": None}
    stack.up()
    assert contents(stack) == before
    assert {user: [item["id"] for item in stack.feed(user, n=30)["items"]] for user in feeds} == feeds
    assert not {f"item{n}" for n in range(1, 7)} & set(feeds["u1"])
    assert stack.http.get("/feed", headers=tokens).json()["user"] == "u1"
    assert stack.redis.config_get("appendonly") == {"appendonly": "yes"}
    stack.worker("backup", str(copy.with_name("again")))  # what was restored can be backed up


def test_a_back_up_is_for_the_owners_eyes_and_says_what_it_holds(kept: tuple[Stack, Path]) -> None:
    """Files 0600, sums of each, counts, versions; nothing else stays behind, neither beside it nor in the stack."""
    stack, copy = kept
    stack.worker("user", "forget", "u3", "--yes")
    text = stack.worker("backup", str(copy)).stdout
    assert "verified: loaded into a Redis of its own" in text
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    paths = [path for path in copy.rglob("*") if path.is_file()]
    files = {str(path.relative_to(copy)): stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert files == dict.fromkeys((
        "dump.rdb", "manifest.json", "nightfeed.toml", "erasures.log", "secrets/tokens.json", "secrets/api.json",
        "secrets/redis.json", "secrets/erasures.json"), 0o600)
    manifest = json.loads((copy / "manifest.json").read_text())
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    kinds = manifest["counts"]["by_kind"]
    assert (kinds["seen"], kinds["list"], sum(kinds.values())) == (39, 39, manifest["keys"])
    assert manifest["counts"]["seen_sample"] == {"sets": 39, "members": 39 * 6}
    assert manifest["versions"]["redis"].startswith("7.")
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert not (stack.run / "redis/dump.rdb").exists()
    assert "is there already" in refused(stack, "backup", str(copy))
    assert "is no folder" in refused(stack, "backup", str(copy.parent / "no/where"))


def test_whoever_was_erased_since_stays_erased(kept: tuple[Stack, Path]) -> None:
    """Restoring the copy of before, over the stack and on a bare run directory; late events come to nothing, too."""
    stack, copy = kept
    stack.worker("user", "forget", "u5", "--yes")  # before the copy, and back since: stays
    stack.beacon("u5", [{"event": "impression", "item": "item1", "ts": now() + 1000}])
    time.sleep(1.2)
    stack.worker("backup", str(copy))
    stack.worker("user", "forget", "u1", "--yes")
    token = stack.credentials.api["admin"]
    stack.http.delete("/api/users/u2", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    stack.beacon("u7", [{"event": "impression", "item": "item29"}])
    stack.script("down")
    assert "holds data" in refused(stack, "restore", str(copy))
    done = stack.worker("restore", str(copy), "--force").stdout
    assert "erased again: 2 people, of 3 erasures on record" in done
    assert "secrets: those of this stack were kept" in done
    stack.up()
    assert people(stack) == {f"u{n}" for n in range(40)} - {"u1", "u2"}
    assert not [key for key in stack.redis.scan_iter("*") if key.endswith((b":u1", b":u2"))]
    stack.beacon("u1", [{"event": "impression", "item": "item1", "ts": now() - 7_200_000}])
    assert "u1" not in people(stack)
    [aside] = (stack.run / "redis").glob("appendonlydir.before-*")
    assert str(aside) in done
    raw = b"".join(path.read_bytes() for path in (stack.run / "redis/appendonlydir").iterdir())
    assert not re.search(rb":u2(?![0-9])", raw)
    assert re.search(rb":u3(?![0-9])", raw)


def files_of(stack: Stack) -> dict[Path, bytes]:
    """All files of the run directory but the lock."""
    return {path: path.read_bytes() for path in stack.run.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_copy_that_was_changed_is_not_restored(kept: tuple[Stack, Path]) -> None:
    """One byte, one file more, one file less, no manifest, another format: refused by name, and nothing is touched."""
    stack, copy = kept
    stack.worker("backup", str(copy))
    stack.script("down")
    before = files_of(stack)
    data = (copy / "dump.rdb").read_bytes()
    (copy / "dump.rdb").write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert "dump.rdb differ" in refused(stack, "restore", str(copy), "--force")
    (copy / "dump.rdb").write_bytes(data)
    (copy / "more").write_text("")
    assert "more differ" in refused(stack, "restore", str(copy), "--force")
    (copy / "more").unlink()
    (copy / "secrets/api.json").rename(copy.parent / "api.json")
    assert "secrets/api.json differ" in refused(stack, "restore", str(copy), "--force")
    (copy.parent / "api.json").rename(copy / "secrets/api.json")
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"format": 1', '"format": 9'))
    assert "does not know" in refused(stack, "restore", str(copy), "--force")
    (copy / "manifest.json").unlink()
    assert "is no back-up" in refused(stack, "restore", str(copy), "--force")
    assert files_of(stack) == before


def test_a_stack_that_runs_is_left_alone(kept: tuple[Stack, Path]) -> None:
    """Not even with --force; a back-up needs one that runs."""
    stack, copy = kept
    stack.worker("backup", str(copy))
    assert "stop it first (make down)" in refused(stack, "restore", str(copy), "--force")
    assert len(people(stack)) == 40
    stack.script("down")
    assert "start the stack (make up)" in refused(stack, "backup", str(copy.parent / "another"))
    assert not (copy.parent / "another").exists()


def test_a_stack_without_data_takes_a_back_up_with_its_secrets(kept: tuple[Stack, Path], fresh_stack: Fresh) -> None:
    """A new host: make up, make down, the ledger that was kept elsewhere, restore. Visitors' tokens stay valid."""
    stack, copy = kept
    stack.worker("backup", str(copy))
    stack.worker("user", "forget", "u4", "--yes")
    other = fresh_stack()
    other.script("down")
    shutil.copy(stack.run / "erasures.log", other.run)
    assert "secrets: from the back-up; nightfeed.toml: those of this stack were kept" in other.worker(
        "restore", str(copy)).stdout
    other.up()
    assert other.http.get("/feed", headers=stack.bearer("u1")).json()["user"] == "u1"
    assert people(other) == people(stack) == {f"u{n}" for n in range(40)} - {"u4"}
    other.worker("user", "forget", "u6", "--yes")
    assert "u6" not in people(other)


def test_a_back_up_under_load_is_of_one_moment(kept: tuple[Stack, Path]) -> None:
    """Beacons go on meanwhile, and none of them fails; the copy is verified against the moment it was taken."""
    stack, copy = kept
    stop, statuses = threading.Event(), []

    def visit() -> None:
        at = 0
        while not stop.is_set():
            at += 1
            answer = stack.beacon(f"v{at % 50}", [{"event": "impression", "item": f"item{at % 30}"}])
            statuses.append(answer.status_code)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        made = json.loads(stack.worker("backup", str(copy), "--json").stdout)
    finally:
        stop.set()
        thread.join()
    assert made["verified"]
    assert set(statuses) == {204}


def test_a_copy_that_differs_is_found_out(stack: Stack, tmp_path: Path) -> None:
    """Each way in which a loaded copy can differ from what Redis had is told by key."""
    store = Store(stack.redis, stack.settings, stack.run)
    stack.redis.set(partition_key("fence", 1), "x")
    stack.redis.delete(partition_key("fence", 1))
    stack.import_items([stack.item("a1")])
    stack.redis.set("seen:{3}:u7", "abcd")
    stack.redis.hset("acts:{3}:1020:u7", mapping={"1": "x"})
    taken = snapshot.take(store)
    shutil.move(taken.file, tmp_path / "dump.rdb")
    with private_server(tmp_path) as client:
        assert snapshot.differences(client, taken) == []
        client.append("seen:{3}:u7", "efgh")
        client.hset("acts:{3}:1020:u7", "1", "y")
        client.hset("ids:{c}", "b", 2)
        found = snapshot.differences(client, taken)
        assert {"seen:{3}:u7 differs", "acts:{3}:1020:u7 differs",
                "ids:{c} has length 2 instead of 1"} <= set(found)
        client.expire("categories:{c}", 1000)
        assert "categories:{c} differs" in snapshot.differences(client, taken)
    assert partition_of("u7") == 3
