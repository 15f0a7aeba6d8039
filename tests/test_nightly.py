"""The nightly run on a real Redis: what it publishes, what it refuses, and what is left when it is killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.faults.runs import stopped
from tests.night_site import DAY_MS, MIDNIGHT_MS, TODAY, USERS, everything, filled, lists, run, seen, stamp
from tests.stack_fixture import ROOT, WORKER
from worker import keyspace
from worker.nightly.pool import grouped
from worker.packing import unpack_list
from worker.store import generations
from worker.store.connect import open_store
from worker.store.lists import Lists, list_key, publish_lists
from worker.store.wire import Wire

__all__ = ["filled"]  # a fixture


def test_every_active_user_gets_a_full_list_of_what_they_have_not_seen(filled):
    report = run(filled)
    assert (report["users"], report["lists"]) == (160, 160)
    assert (report["top"], report["new"]) == (300, 40)
    assert (report["repeats"], report["spacing_violations"], report["missed_evergreen"]) == (0, 0, 0)
    assert 0.1 < report["new_share"] < 0.5
    published = lists(filled, USERS)
    for user in USERS:
        assert len(published[user]) == len(set(published[user])) == 200
        assert not seen(filled, user) & set(published[user])
    by_age = {user: sum(number > 300 for number in published[user]) for user in USERS}
    assert np.mean([by_age[u] for u in USERS[0::20]]) > np.mean([by_age[u] for u in USERS[19::20]])


def test_the_feed_serves_the_published_list(filled):
    run(filled)
    filled.sync()
    page = filled.feed("reader-3", n=30)
    names = {name.decode(): int(number) for name, number in filled.redis.hgetall(keyspace.key("ids")).items()}
    assert [names[item["id"]] for item in page["items"]] == lists(filled, ["reader-3"])["reader-3"][:30]
    assert page["source"] == "list"
    assert {item["reason"] for item in page["items"]} >= {"top", "new"}


def test_running_a_date_twice_gives_the_same_lists(filled):
    first = run(filled)
    before = lists(filled, USERS)
    second = run(filled, "--jobs", "2")
    assert second["generation"] > first["generation"]
    assert lists(filled, USERS) == before


def test_another_seed_draws_other_new_items(filled):
    run(filled)
    before = lists(filled, USERS)
    run(filled, "--seed", "5")
    assert lists(filled, USERS) != before


def test_a_dry_run_makes_every_list_and_writes_nothing(filled):
    before = everything(filled)
    report = run(filled, "--dry-run")
    assert everything(filled) == before
    real = run(filled)
    for name in ("users", "lists", "top", "new", "new_share", "repeats", "underfilled"):
        assert report[name] == real[name], name


def test_lists_and_pools_live_as_long_as_promised(filled):
    run(filled)
    key = list_key("reader-3")
    assert 55 * 86_400 < filled.redis.ttl(key) < 62 * 86_400
    for _ in range(9):
        run(filled)
    assert len(list(filled.redis.scan_iter(match="pool:*", count=1000))) == generations.KEPT


def test_who_was_not_here_for_the_window_gets_no_list_and_is_forgotten(filled):
    old = int(time.time() * 1000) - 61 * DAY_MS
    filled.redis.zadd(keyspace.partition_key("users", keyspace.partition_of("lapsed")), {"lapsed": old})
    assert run(filled)["users"] == 160
    assert filled.redis.zscore(keyspace.partition_key("users", keyspace.partition_of("lapsed")), "lapsed") is None


def test_nothing_is_published_when_the_top_is_empty(stack):
    done = run(stack, check=False)
    assert done.returncode == 1
    assert "top content is empty" in done.stderr
    assert "--force" in done.stderr
    assert not stack.redis.exists(keyspace.key("generation"))


def test_nothing_is_published_when_everything_is_hidden(filled):
    run(filled)
    before = lists(filled, USERS)
    ids = [f"old{n}" for n in range(300)] + [f"new{n}" for n in range(40)]
    filled.worker("items", "hide", *ids)
    done = run(filled, check=False)
    assert done.returncode == 1
    assert "top content is empty" in done.stderr
    assert lists(filled, USERS) == before


def test_nothing_is_published_when_the_top_shrinks_by_more_than_half_unless_forced(filled):
    generation = run(filled)["generation"]
    filled.worker("items", "remove", *[f"old{n}" for n in range(160)])
    done = run(filled, check=False)
    assert done.returncode == 1
    assert "shrunk from 300 to 140" in done.stderr
    assert int(generations.state(open_store(filled.run))["generation"]) == generation
    status = filled.worker("status", "--json", check=False)
    assert "shrunk" in status.stdout
    forced = run(filled, "--force")
    assert forced["top"] == 140
    removed = set(range(1, 161))
    assert not any(removed & set(items) for items in lists(filled, USERS).values())


def test_hidden_and_expired_items_never_come_into_a_list(filled):
    filled.worker("items", "hide", "old7", "new3")
    expired = filled.item("old8", category="c8", posted_at=stamp(MIDNIGHT_MS - 9 * DAY_MS),
                          expires_at=stamp(MIDNIGHT_MS - DAY_MS))
    filled.import_items([expired])
    run(filled)
    assert not any({8, 9, 304} & set(items) for items in lists(filled, USERS).values())


def test_an_older_date_and_a_future_date_are_refused(filled):
    run(filled)
    before = everything(filled)
    for day, reason in ((TODAY - dt.timedelta(1), "older"), (TODAY + dt.timedelta(1), "has not begun")):
        done = run(filled, "--date", day.isoformat(), check=False)
        assert done.returncode == 1
        assert reason in done.stderr
    before.pop(keyspace.key("token").encode(), None)
    after = everything(filled)
    after.pop(keyspace.key("token").encode(), None)
    assert after == before


@contextlib.contextmanager
def stopped_in(stack, where):
    """A nightly run, one partition after another, that waits before the request ``where``; ends with the block."""
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.at_request", "stop", where, "nightly", "--json"],
                               env={**stack.environ(), "NIGHTFEED_CHUNK_USERS": "1"}, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        stack.until(lambda: stopped(process))
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def end_of(process):
    """Let a stopped run go on; its report."""
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def done_partitions(stack, generation):
    return len(generations.done_partitions(open_store(stack.run), generation))


def test_a_killed_run_is_resumed_and_gives_what_an_undisturbed_one_gives(filled):
    expected_generation = run(filled)["generation"]
    expected = lists(filled, USERS)
    with stopped_in(filled, "nightfeed_done#8"):
        begun = int(generations.state(open_store(filled.run))["begun"])
        assert begun > expected_generation
    finished = done_partitions(filled, begun)
    assert finished == 7
    assert lists(filled, USERS) == expected, "readers have an old list or a new one, and both hold the same"
    report = run(filled)
    assert report["generation"] == begun
    assert report["resumed_partitions"] == finished
    assert report["users"] == 160
    assert lists(filled, USERS) == expected
    raw = {filled.redis.hget(list_key(user), user) for user in USERS}
    assert {unpack_list(entry).generation for entry in raw} == {begun}


def test_a_second_run_at_the_same_time_is_refused(filled):
    with stopped_in(filled, "nightfeed_done#1") as first:
        assert filled.redis.exists(keyspace.key("lease"))
        second = run(filled, check=False)
        assert second.returncode == 1
        assert "another nightly run is at work" in second.stderr
        assert end_of(first)["lists"] == 160
    assert not filled.redis.exists(keyspace.key("lease"))


def one_list(user, generation):
    """A list of one entry for ``user``."""
    expires = int(time.time()) + 1000
    return Lists([user.encode()], np.array([[generation]], np.uint16), np.array([1]), expires, generation, 0)


def test_an_outrun_run_writes_nothing(filled):
    run(filled)
    store = open_store(filled.run)
    old, new = generations.next_token(store), generations.next_token(store)
    user, generation = "reader-3", 1
    partition = keyspace.partition_of(user)
    with Wire(filled.run) as wire:
        publish_lists(wire, [(partition, slice(0, 1))], generations.Turn(new), one_list(user, new))
        with pytest.raises(generations.FencedError):
            publish_lists(wire, [(partition, slice(0, 1))], generations.Turn(old), one_list(user, old))
    for refused in (
        lambda: generations.set_state(store, generations.Turn(old), {"generation": old}),
        lambda: generations.mark_done(store, partition, generations.Turn(old), generation, b"{}"),
        lambda: generations.claim(store, [partition], old, generation, "me", 30),
        lambda: generations.check_token(store, old),
    ):
        with pytest.raises(generations.FencedError):
            refused()
    assert unpack_list(filled.redis.hget(list_key(user), user)).generation == new


def test_a_partition_is_worked_at_by_one_process_at_a_time(filled):
    store = open_store(filled.run)
    token = generations.next_token(store)
    assert generations.claim(store, [4, 5], token, token, "one", 1) == [4, 5]
    assert generations.claim(store, [5, 6], token, token, "two", 30) == [6]
    assert generations.claim(store, [5], token, token, "one", 1) == [5], "its own claim is renewed"
    filled.until(lambda: generations.claim(store, [5], token, token, "two", 30) == [5])
    generations.mark_done(store, 5, generations.Turn(token), token, b"{}")
    assert generations.claim(store, [5], token, token, "two", 30) == []
    newer = generations.next_token(store)
    assert generations.claim(store, [6], newer, newer, "three", 30) == [6], "a newer run waits for no older one"


def test_a_process_that_joins_takes_part_of_the_work(filled):
    with stopped_in(filled, "nightfeed_done#2") as first:
        helper = subprocess.Popen([str(WORKER), "nightly", "--join", "--json"], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env={**filled.environ(), "NIGHTFEED_CHUNK_USERS": "1"})
        begun = int(generations.state(open_store(filled.run))["begun"])
        filled.until(lambda: done_partitions(filled, begun) > 20)
        report = end_of(first)
    out, err = helper.communicate(timeout=60)
    assert helper.returncode == 0, err
    assert report["lists"] == report["users"] == 160
    assert 0 < json.loads(out.splitlines()[-1])["users"] < 160


def test_there_must_be_a_run_to_join(filled):
    done = run(filled, "--join", check=False)
    assert done.returncode == 1
    assert "no run is going on" in done.stderr


def test_numpy_and_compiled_code_publish_the_same_lists(filled):
    run(filled)
    before = lists(filled, USERS)
    done = filled.worker("nightly", "--json", env={"NIGHTFEED_COMPILED": "false"})
    assert json.loads(done.stdout.splitlines()[-1])["lists"] == 160
    assert lists(filled, USERS) == before


def test_small_partitions_are_grouped_and_large_ones_stand_alone():
    assert grouped([0, 1, 2, 3, 4, 6], [0, 4, 6, 30, 0, 99, 3], 10) == [[0, 1, 2], [3], [4, 6]]
    assert grouped([], [1], 10) == []
