"""A person who was erased stays erased: events from before that come late are dropped, counted, and change nothing."""

from __future__ import annotations

import json
import stat
import time

import pytest

from tests import edge_state
from tests.stack_fixture import Stack
from worker import credentials
from worker.events import Event
from worker.keyspace import DAY_MS, partition_key, partition_of
from worker.store import erasures, users
from worker.store.connect import Store
from worker.store.erasures import Erasure
from worker.store.errors import StoreError
from worker.store.events import Totals, record


@pytest.fixture
def read(stack: Stack) -> Stack:
    """A stack with three items, on which u1 was shown a1 a minute ago, and was erased since."""
    stack.import_items([stack.item(name, category=name) for name in ("a1", "a2", "a3")])
    stack.beacon("u1", [{"event": "impression", "item": "a1", "ts": now() - 60_000}])
    stack.worker("user", "forget", "u1", "--yes")
    return stack


def now() -> int:
    return int(time.time() * 1000)


def known(stack: Stack, user: str) -> list[str]:
    """Keys that name the user, and whether `users` does."""
    named = stack.redis.zscore(partition_key("users", partition_of(user)), user)
    keys = [key.decode() for key in stack.redis.scan_iter("*") if key.endswith(b":" + user.encode())]
    return keys + ["users"] * (named is not None)


def counts(stack: Stack, user: str) -> dict[int, dict[str, int]]:
    """Counters of the user's partition, all days together."""
    return edge_state.totals(stack, f"count:{{{partition_of(user)}}}:*")


def dropped(stack: Stack) -> int:
    """Events that the edge dropped because their person was erased."""
    lines = [line for line in stack.http.get("/metrics").text.splitlines() if 'outcome="erased"' in line]
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)


def test_a_late_beacon_does_not_bring_a_person_back(read: Stack) -> None:
    """What happened before the erasure and arrives after it: answered, dropped, counted."""
    before, totals = dropped(read), counts(read, "u1")
    late = [{"event": name, "item": "a2", "ts": now() - 60_000} for name in ("impression", "click")]
    answer = read.beacon("u1", [*late, {"event": "search", "query": "rye", "ts": now() - 60_000}])
    assert answer.status_code == 204
    assert known(read, "u1") == []
    assert counts(read, "u1") == totals
    assert dropped(read) == before + 3


def test_a_person_who_comes_back_is_known_from_then_on(read: Stack) -> None:
    """Of a beacon with events from before and after, the later ones are stored."""
    answer = read.beacon("u1", [{"event": "impression", "item": "a2", "ts": now() - 60_000},
                                {"event": "impression", "item": "a3", "ts": now() + 1000}])
    assert answer.status_code == 204
    store = Store(read.redis, read.settings, read.run)
    assert len(users.seen(store, "u1")) == 1
    assert {item["id"] for item in read.feed("u1")["items"]} == {"a1", "a2"}


def test_others_of_the_partition_are_not_affected(read: Stack) -> None:
    """Only the person's own events are compared."""
    other = next(name for name in (f"v{n}" for n in range(10_000)) if partition_of(name) == partition_of("u1"))
    assert read.beacon(other, [{"event": "impression", "item": "a1", "ts": now() - 60_000}]).status_code == 204
    assert len(users.seen(Store(read.redis, read.settings, read.run), other)) == 1


def test_an_import_drops_them_too_and_says_so(read: Stack) -> None:
    """The worker's way into the store follows the same rule."""
    lines = [{"user": user, "event": "impression", "item": "a2", "ts": now() - 60_000} for user in ("u1", "u2")]
    done = read.worker("events", "import", "-", input="".join(json.dumps(line) + "\n" for line in lines))
    assert done.stdout == ("stored 1, refused 0, impressions 1, clicks 0, repeats 0, "
                           "dropped 1 from before the erasure of a person\n")
    assert known(read, "u1") == []


def test_each_call_leaves_out_what_is_not_later(read: Stack) -> None:
    """Known answer: two of four events are from before; the millisecond of the erasure itself counts as before."""
    store = Store(read.redis, read.settings, read.run)
    [erased] = [entry.at_ms for entry in erasures.read(read.run / "erasures.log")
                if entry.pseudonym == erasures.pseudonym(credentials.erasure_keys(read.run)[0], "u1")][-1:]
    events = [Event("u1", "impression", f"i{offset}", erased + offset) for offset in (-1, 0, 1, 2)]
    numbers = {event.item: 100 + at for at, event in enumerate(events)}
    assert record(store, events, numbers, erased + 10) == Totals(2, 0, 0, 2)
    assert users.seen(store, "u1", erased + 10) == {102, 103}
    assert record(store, events[1:2], numbers, erased + 10) == Totals(0, 0, 0, 1)


def test_neither_ledger_nor_redis_names_the_person(read: Stack) -> None:
    """A line has the time, the partition and a pseudonym; the file is the owner's."""
    read.worker("user", "forget", "u1", "--yes", check=False)
    path = read.run / "erasures.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = credentials.erasure_keys(read.run)[0]
    last = erasures.read(path)[-1]
    assert (last.partition, last.pseudonym) == (partition_of("u1"), erasures.pseudonym(secret, "u1"))
    assert read.redis.zscore(partition_key("erased", last.partition), last.pseudonym) == last.at_ms
    assert b"u1" not in b"".join(read.redis.zrange(partition_key("erased", last.partition), 0, -1))
    ttl = read.redis.ttl(partition_key("erased", last.partition))
    assert 99 * 86_400 < ttl <= 100 * 86_400


def test_pseudonyms_depend_on_the_key() -> None:
    """Worked out with sha1sum: the inner hash is of "ab" + "u7", the outer of "cd" and that."""
    assert erasures.pseudonym("abcd", "u7") == "e806978a445af1d362772bf0ee340937a9a41f2a"
    assert erasures.pseudonym("abce", "u7") != erasures.pseudonym("abcd", "u7")


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path) -> None:
    """It was never answered for."""
    first = erasures.note(tmp_path, "u1", 1000)
    path = tmp_path / "erasures.log"
    path.write_text(path.read_text() + "2000 3 abc")
    third = erasures.note(tmp_path, "u3", 3000)
    assert erasures.read(path) == [first, third]
    erasures.write(path, [third, first, third])
    assert path.read_text() == first.line + third.line


def test_without_a_ledger_nothing_is_erased(stack: Stack, tmp_path) -> None:
    """An erasure that a restore could undo is not claimed to be one."""
    stack.import_items([stack.item("a1")])
    stack.beacon("u1", [{"event": "impression", "item": "a1"}])
    credentials.erasure_keys(tmp_path)
    (tmp_path / "erasures.log").mkdir()
    with pytest.raises(StoreError, match=r"nothing was erased.*erasures\.log cannot be written"):
        users.forget(Store(stack.redis, stack.settings, tmp_path), "u1")
    assert known(stack, "u1")


def test_what_is_too_old_to_matter_is_trimmed(stack: Stack) -> None:
    """No event may be older than the widest window."""
    pipe = stack.redis.pipeline()
    old, new = Erasure(now() - 101 * DAY_MS, 5, "0" * 40), Erasure(now() - 99 * DAY_MS, 5, "1" * 40)
    stack.redis.zadd("erased:{5}", {"2" * 40: old.at_ms})
    erasures.mark(pipe, [old, new], now())
    pipe.execute()
    assert stack.redis.zrange("erased:{5}", 0, -1) == [b"1" * 40]
