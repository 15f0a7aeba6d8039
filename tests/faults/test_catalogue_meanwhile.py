"""What is hidden, removed or posted while the night is under way."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time

from tests.faults.night import FULL, PAGE, READERS, USERS, Night, night
from tests.faults.runs import SECONDS, run_of, stopped
from tests.night_site import lists, stamp
from worker import keyspace

__all__ = ["night"]  # a fixture

PLACES = ["GETRANGE meta#1", "nightfeed_claim#1", "MULTI HSET list#80", "nightfeed_switch.* moment#1"] if FULL else [
    "MULTI HSET list#80"]


def number(night: Night, name: str) -> int:
    """An item's number."""
    return int(night.stack.redis.hget(keyspace.key("ids"), name))


def served(night: Night) -> set[str]:
    """Ids of all items on the first pages of some readers, and of someone who has no list."""
    pages = [night.stack.feed(user, PAGE) for user in [*READERS, "a-stranger"]]
    return {item["id"] for page in pages for item in page["items"]}


def test_what_is_hidden_or_removed_during_the_run_is_not_served_and_not_in_the_next_lists(night: Night) -> None:
    """At each stage; the lists that are being written may name it, the edge passes over it."""
    for place in PLACES:
        night.again()
        hidden, removed, *_ = gone = sorted(name for name in served(night) if name.startswith("old"))[7:9]
        process = night.start("stop", place)
        with contextlib.ExitStack() as end:
            end.callback(process.kill)
            night.stack.until(lambda process=process: stopped(process), SECONDS)
            night.stack.worker("items", "hide", hidden)
            night.stack.worker("items", "remove", removed)
            night.stack.sync()
            assert not served(night).intersection(gone)
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, err
        published(night, run_of(subprocess.CompletedProcess([], 0, out))["generation"])
        assert not served(night).intersection(gone)
        night.rerun()
        numbers = {number(night, name) for name in gone}
        assert not any(numbers & set(items) for items in lists(night.stack, USERS).values())


def published(night: Night, generation: int) -> None:
    """Wait until the edge serves a generation."""
    night.stack.until(lambda: night.stack.feed("a-stranger")["generation"] == generation)


def test_what_is_posted_during_the_run_is_served_as_fresh_and_known_to_the_next(night: Night) -> None:
    """Posted at this moment, so that this night's run must not know it; and posted before midnight, imported late."""
    for place in PLACES:
        night.again()
        process = night.start("stop", place)
        with contextlib.ExitStack() as end:
            end.callback(process.kill)
            night.stack.until(lambda process=process: stopped(process), SECONDS)
            now = night.stack.item("now", kind="timely", category="news", posted_at=stamp(time.time() * 1000 - 1000))
            night.stack.import_items([now, night.stack.item("late", category="late")])
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, err
        published(night, run_of(subprocess.CompletedProcess([], 0, out))["generation"])
        fresh = {item["id"] for item in night.stack.feed(USERS[3], PAGE)["items"] if item["reason"] == "fresh"}
        # The catalogue is read once: what comes before that is in the lists, what comes after it is fresh.
        assert fresh == ({"now"} if place == "GETRANGE meta#1" else {"now", "late"}), place
        pool = night.stack.redis.get(keyspace.key("pool", night.rerun()["generation"]))
        assert number(night, "late") in set(memoryview(pool)[32:].cast("I"))
        assert number(night, "now") <= int.from_bytes(pool[12:16], "little"), "its number is known to the next run"
