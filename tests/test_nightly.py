"""The nightly run on a real Redis: what it publishes, what it refuses, and what is left when it is killed."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import time
from collections import defaultdict

import numpy as np
import pytest

from tests.stack_fixture import SYNC_SECONDS, WORKER
from worker import keyspace
from worker.nightly.pool import grouped
from worker.packing import STATS, unpack_list, unpack_pool, unpack_stats
from worker.store import generations, stats
from worker.store.connect import open_store

TODAY = dt.datetime.now(dt.UTC).date()
DAY_MS = 86_400_000
MIDNIGHT_MS = int(dt.datetime.combine(TODAY, dt.time(), dt.UTC).timestamp() * 1000)


def stamp(ms):
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def catalogue(stack, scored=300, new=40):
    """``scored`` evergreen and timely items of the last 40 days and ``new`` ones of yesterday's last hours."""
    records = []
    for n in range(scored):
        kind = "evergreen" if n % 3 else "timely"
        posted = MIDNIGHT_MS - (2 + n % 38) * DAY_MS + n * 1000
        records.append(stack.item(f"old{n}", kind=kind, category=f"c{n % 11}", posted_at=stamp(posted)))
    for n in range(new):
        posted = MIDNIGHT_MS - 3_600_000 - n * 60_000
        records.append(stack.item(f"new{n}", kind="timely", category=f"c{n % 7}", posted_at=stamp(posted)))
    stack.import_items(records)


def visits(stack, users, seed=0, each=12, last_day=1):
    """``each`` impressions of ``users`` on random items, some clicked, ``last_day`` to ``last_day + 20`` days ago."""
    rng = np.random.default_rng(seed)
    lines = []
    for number, user in enumerate(users):
        day = MIDNIGHT_MS - (last_day + number % 20) * DAY_MS
        for place, n in enumerate(rng.choice(300, each, replace=False)):
            event = {"user": user, "item": f"old{n}", "ts": int(day + 40_000 + place * 1000)}
            lines.append({**event, "event": "impression", "position": place})
            if rng.random() < 0.2:
                lines.append({**event, "event": "click", "ts": event["ts"] + 500})
    # Items may be younger than the visit: the log does not have to be possible, only well-formed.
    done = stack.worker("events", "import", "-", input="".join(json.dumps(line) + "\n" for line in lines))
    assert "refused 0" in done.stdout + done.stderr


def run(stack, *args, check=True):
    """``worker nightly --json``: its report, or with ``check=False`` the finished process."""
    done = stack.worker("nightly", "--json", *args, check=check)
    return json.loads(done.stdout.splitlines()[-1]) if check else done


def lists(stack, users):
    """Published item numbers and the raw entries by user."""
    found = {}
    for user in users:
        raw = stack.redis.get(keyspace.user_key("list", user))
        if raw:
            published = unpack_list(raw)
            pool = unpack_pool(stack.redis.get(keyspace.key("pool", published.generation)))
            found[user] = pool.items[published.positions].tolist()
    return found


def seen(stack, user):
    """Item numbers in all of a user's seen sets."""
    keys = stack.redis.scan_iter(match=keyspace.user_key("seen", user, "*").replace("{", "\\{"), count=1000)
    numbers = {int(member) for key in keys for member in stack.redis.smembers(key)}
    return {number for number in numbers if 0 < number < keyspace.MARKER}


def everything(stack):
    """Every key and its dump."""
    return {key: stack.redis.dump(key) for key in stack.redis.scan_iter(count=1000)}


USERS = [f"reader-{n}" for n in range(160)]


@pytest.fixture
def filled(stack):
    """A stack with a catalogue and the visits of 160 people."""
    catalogue(stack)
    visits(stack, USERS)
    return stack


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
    time.sleep(SYNC_SECONDS)
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
    key = keyspace.user_key("list", "reader-3")
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


def started(stack):
    """A nightly run in the background, one partition after another."""
    return subprocess.Popen([str(WORKER), "nightly", "--json"], env={**stack.environ(), "NIGHTFEED_CHUNK_USERS": "1"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done_partitions(stack, generation):
    return len(generations.done_partitions(open_store(stack.run), generation))


def test_a_killed_run_is_resumed_and_gives_what_an_undisturbed_one_gives(filled):
    expected_generation = run(filled)["generation"]
    expected = lists(filled, USERS)
    process = started(filled)
    begun = filled.until(lambda: int(generations.state(open_store(filled.run))["begun"]) > expected_generation
                         and int(generations.state(open_store(filled.run))["begun"]), 30)
    filled.until(lambda: done_partitions(filled, begun) >= 5, 30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = done_partitions(filled, begun)
    assert 5 <= finished < keyspace.PARTITIONS
    assert lists(filled, USERS) == expected, "readers have an old list or a new one, and both hold the same"
    report = run(filled)
    assert report["generation"] == begun
    assert report["resumed_partitions"] == finished
    assert report["users"] == 160
    assert lists(filled, USERS) == expected
    raw = {filled.redis.get(keyspace.user_key("list", user)) for user in USERS}
    assert {unpack_list(entry).generation for entry in raw} == {begun}


def test_a_second_run_at_the_same_time_is_refused(filled):
    process = started(filled)
    filled.until(lambda: filled.redis.exists(keyspace.key("lease")), 30)
    second = run(filled, check=False)
    assert second.returncode == 1
    assert "another nightly run is at work" in second.stderr
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["lists"] == 160
    assert not filled.redis.exists(keyspace.key("lease"))


def test_an_outrun_run_writes_nothing(filled):
    run(filled)
    store = open_store(filled.run)
    old = generations.next_token(store)
    new = generations.next_token(store)
    user = "reader-3"
    partition = keyspace.partition_of(user)
    generations.publish(store, partition, new, new, [user], [b"the newer list"], [int(time.time()) + 1000])
    with pytest.raises(generations.FencedError):
        generations.publish(store, partition, old, old, [user], [b"the older list"], [int(time.time()) + 1000])
    with pytest.raises(generations.FencedError):
        generations.set_state(store, old, {"generation": old})
    assert filled.redis.get(keyspace.user_key("list", user)) == b"the newer list"


# --- the roll-up -------------------------------------------------------------------------------------------------


def totals(stack):
    """Impressions and clicks by item over all rolled-up days."""
    found = defaultdict(lambda: [0, 0])
    for key in stack.redis.scan_iter(match="stats:*", count=1000):
        for row in unpack_stats(stack.redis.get(key))[1]:
            found[int(row["item"])][0] += int(row["impressions"])
            found[int(row["item"])][1] += int(row["clicks"])
    return dict(found)


def true_totals(stack):
    """The same from the seen sets: each person counts once an item."""
    found = defaultdict(lambda: [0, 0])
    for user in USERS:
        for key in stack.redis.scan_iter(match=keyspace.user_key("seen", user, "*"), count=1000):
            for member in map(int, stack.redis.smembers(key)):
                found[abs(member)][0 if member > 0 else 1] += 1
    return dict(found)


def last_days():
    return range(MIDNIGHT_MS // DAY_MS - 30, MIDNIGHT_MS // DAY_MS)


def test_counters_are_rolled_up_completely(filled):
    run(filled)
    assert totals(filled) == true_totals(filled)
    assert not list(filled.redis.scan_iter(match="count:*", count=1000))
    assert not list(filled.redis.scan_iter(match="taken:*", count=1000))


def test_a_roll_up_killed_before_adding_loses_nothing(filled):
    day = MIDNIGHT_MS // DAY_MS - 1
    taken = [filled.redis.fcall("nightfeed_take", 2, keyspace.partition_key("count", p, day),
                                keyspace.partition_key("taken", p, day), 999) for p in range(keyspace.PARTITIONS)]
    assert any(taken), "there was something to take"
    run(filled)
    assert totals(filled) == true_totals(filled)


def test_a_roll_up_killed_after_adding_adds_nothing_twice(filled):
    store = open_store(filled.run)
    day = MIDNIGHT_MS // DAY_MS - 1
    kept = {}
    for p in range(keyspace.PARTITIONS):
        key = keyspace.partition_key("taken", p, day)
        filled.redis.fcall("nightfeed_take", 2, keyspace.partition_key("count", p, day), key, 999)
        kept[key] = filled.redis.dump(key)
    stats.roll_up(store, last_days(), 1000)
    before = totals(filled)
    for key, dump in kept.items():
        if dump:
            filled.redis.restore(key, 0, dump)
    stats.roll_up(store, last_days(), 1001)
    assert totals(filled) == before == true_totals(filled)
    assert not list(filled.redis.scan_iter(match="taken:*", count=1000))


def test_events_that_come_after_their_day_was_rolled_up_are_added(filled):
    run(filled)
    visits(filled, USERS, seed=1, each=3)
    run(filled)
    assert totals(filled) == true_totals(filled)


def test_small_partitions_are_grouped_and_large_ones_stand_alone():
    assert grouped([0, 1, 2, 3, 4, 6], [0, 4, 6, 30, 0, 99, 3], 10) == [[0, 1, 2], [3], [4, 6]]
    assert grouped([], [1], 10) == []


def test_merging_adds_up_and_sorts():
    rows = np.zeros(3, STATS)
    rows["item"], rows["clicks"], rows["dwell_ms"] = [9, 2, 9], [1, 2, 3], [2**40, 5, 1]
    merged = stats.merge([rows])
    assert merged["item"].tolist() == [2, 9]
    assert merged["clicks"].tolist() == [2, 4]
    assert merged["dwell_ms"].tolist() == [5, 2**40 + 1]
