"""The end of Redis's log is mended before a start: transactions stay whole, whatever was cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.redis_log import EXEC, MULTI, mend, newest, unfinished
from tests.edge_state import counts, seen_items
from tests.stack_fixture import REDIS_AWAY, Stack


def command(*words: bytes) -> bytes:
    """A command as Redis writes it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


SET = command(b"SET", b"key", b"*1\r\n$5\r\nM")
LOG = SET + MULTI + SET + command(b"APPEND", b"k", bytes(range(256))) + EXEC + SET
TAIL = MULTI + SET + command(b"ZADD", b"users", b"GT", b"1", b"u1") + EXEC


@pytest.mark.parametrize("cut", range(len(TAIL) + 1))
def test_a_transaction_cut_anywhere_is_found_from_its_beginning(cut: int) -> None:
    """Cut within MULTI itself there is none yet; Redis takes care of that."""
    open_ = len(MULTI) <= cut < len(TAIL)
    assert unfinished(LOG + TAIL[:cut]) == (len(LOG) if open_ else None)


@given(tail=st.binary(max_size=60))
def test_what_is_no_log_is_left_alone(tail: bytes) -> None:
    """Only commands, and the beginning of one, are taken for a transaction."""
    found = unfinished(LOG + MULTI + b"?" + tail)
    assert found is None or MULTI in tail


def test_nothing_to_mend(tmp_path: Path) -> None:
    """No folder, no manifest, an empty log."""
    assert newest(tmp_path) is None
    assert mend(tmp_path / "missing") == 0
    (tmp_path / "appendonly.aof.manifest").write_text("file a.base.rdb seq 1 type b\nfile a.incr.aof seq 1 type i\n")
    assert mend(tmp_path) == 0
    (tmp_path / "a.incr.aof").write_bytes(b"")
    assert mend(tmp_path) == 0
    (tmp_path / "a.incr.aof").write_bytes(LOG + TAIL[:-3])
    assert mend(tmp_path) == len(TAIL) - 3
    assert (tmp_path / "a.incr.aof").read_bytes() == LOG
    assert mend(tmp_path) == 0


def test_after_a_torn_transaction_redis_starts_again_and_again(stack: Stack) -> None:
    """Killed in the middle of a command of a transaction; what is written next must not become part of it."""
    stack.expect_log(REDIS_AWAY)
    stack.import_items([stack.item("a1"), stack.item("a2")])
    assert stack.beacon("u1", [{"event": "impression", "item": "a1"}]).status_code == 204
    stack.part("redis").stop()
    log = newest(stack.run / "redis/appendonlydir")
    assert log is not None
    whole = log.read_bytes()
    begin = whole.rindex(MULTI)
    second = whole.index(b"*", begin + len(MULTI) + 1)
    log.write_bytes(whole[: second + 20])
    stack.script("up")
    assert seen_items(stack, "u1") == {}
    stack.until(lambda: stack.beacon("u1", [{"event": "impression", "item": "a2"}]).status_code == 204)
    stack.restart("redis")
    assert len(seen_items(stack, "u1")) == 1
    assert (counts(stack, "a1"), counts(stack, "a2")) == ({}, {"i": 1})
