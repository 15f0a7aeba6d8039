"""``worker events import``: good lines stored, bad ones told, again and again the same result."""

import json
import os
import pty
import random
import subprocess
import time

import pytest

from tests import edge_state
from tests.stack_fixture import WORKER
from worker.keyspace import DAY_MS, partition_of, visit_of
from worker.seen_set import words_of
from worker.store.stats import parse_counts

ITEMS = ["a1", "a2", "a3"]


@pytest.fixture
def items(stack):
    """The stack with three items."""
    stack.import_items([stack.item(item) for item in ITEMS])
    return stack


def now_ms():
    return int(time.time() * 1000)


def event(user="u1", name="impression", item="a1", **fields):
    """One record; ``ts`` is now unless given."""
    record = {"user": user, "event": name, "item": item, "ts": now_ms(), **fields}
    return {field: value for field, value in record.items() if value is not None}


def ndjson(records):
    """Records as lines; text stands as it is."""
    return "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)


def load(stack, records, *args, check=True):
    """Import ``records``; the JSON answer."""
    done = stack.worker("events", "import", "-", "--json", *args, input=ndjson(records), check=check)
    return json.loads(done.stdout.splitlines()[-1])


READ = {
    "seen": lambda pipe, key: pipe.get(key),
    "acts": lambda pipe, key: pipe.hgetall(key),
    "count": lambda pipe, key: pipe.get(key),
    "searches": lambda pipe, key: pipe.lrange(key, 0, -1),
    "users": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
}


def everything(stack):
    """All keys of partitions with their values."""
    keys = [key for key in stack.redis.scan_iter("*", count=1000) if b"{c}" not in key]
    pipe = stack.redis.pipeline(transaction=False)
    for key in keys:
        READ[key.split(b":")[0].decode()](pipe, key)
    values = dict(zip(keys, pipe.execute(), strict=True))
    in_any_order = {"seen": lambda raw: set(words_of(raw).tolist()), "count": lambda raw: parse_counts(raw).tolist()}
    for key, raw in values.items():
        values[key] = in_any_order.get(key.split(b":")[0].decode(), lambda raw: raw)(raw)
    return values


def seen(stack, user):
    return set(edge_state.seen_items(stack, user))


def totals(stack):
    """Counters by letter, over all partitions and days."""
    sums = {}
    for counters in edge_state.totals(stack).values():
        for letter, by in counters.items():
            sums[letter] = sums.get(letter, 0) + by
    return sums


def test_good_lines_are_stored_and_summed_up(items):
    records = [event(), event("u2"), event("u1", "click"), event("u1", item="a2", position=3, list=17),
               event("u1", "dwell", ms=5000), event("u2", "search", None, query="sourdough")]
    done = items.worker("events", "import", "-", input=ndjson(records))
    assert done.stdout == "stored 6, refused 0, impressions 3, clicks 1, repeats 0\n"
    assert done.stderr == ""
    assert len(seen(items, "u1")) == 2
    assert totals(items) == {"i": 3, "c": 1, "d": 5000}


def test_bad_lines_are_told_by_number_and_the_good_ones_stored(items):
    records = [event(), "{", "", event(item="nowhere"), event(ts=5), event("u2", "view"), event("u2")]
    done = items.worker("events", "import", "-", input=ndjson(records), check=False)
    assert done.returncode == 1
    assert done.stdout == "stored 2, refused 4, impressions 2, clicks 0, repeats 0\n"
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["line 2", "line 4", "line 5", "line 6"]
    assert "not JSON" in lines[0]
    assert "there is no item nowhere" in lines[1]
    assert "looks like seconds" in lines[2]
    assert 'event is "view"' in lines[3]


def test_json_says_the_same(items):
    answer = load(items, [event(), event(), event(item="nowhere")], check=False)
    assert {name: answer[name] for name in ("stored", "refused", "impressions", "clicks", "repeats", "shift_ms")} == {
        "stored": 2, "refused": 1, "impressions": 1, "clicks": 0, "repeats": 1, "shift_ms": 0}
    assert answer["errors"] == [{"line": 3, "error": "there is no item nowhere: import the catalogue first"}]
    assert answer["seconds"] > 0
    assert answer["events_per_second"] > 0


def test_a_hundred_bad_lines_are_shown_unless_all_are_wanted(items):
    bad = ["{"] * 130
    done = items.worker("events", "import", "-", input=ndjson(bad), check=False)
    assert len(done.stderr.splitlines()) == 101
    assert "30 more bad lines" in done.stderr.splitlines()[-1]
    assert len(load(items, bad, check=False)["errors"]) == 100
    assert len(load(items, bad, "--all-errors", check=False)["errors"]) == 130


def test_a_removed_item_is_unknown_and_a_hidden_one_is_not(items):
    items.worker("items", "remove", "a1")
    items.worker("items", "hide", "a2")
    answer = load(items, [event(item="a1"), event(item="a2")], check=False)
    assert answer["stored"] == 1
    assert [each["line"] for each in answer["errors"]] == [1]


def a_log(length, users=7, days=50, seed=1):
    """A log of every kind of event over ``days``, oldest first."""
    rng, last = random.Random(seed), now_ms() - 1000
    moments = sorted(last - rng.randrange(days * DAY_MS) for _ in range(length))
    for ts in moments:
        name = rng.choice(["impression", "impression", "click", "dwell", "reaction", "conversion", "hide", "search"])
        extra = {"dwell": {"ms": rng.randrange(1, 90_000)}, "reaction": {"kind": "like"}}.get(name, {})
        if name == "search":
            extra = {"query": f"query {rng.randrange(80)}"}
        yield event(f"u{rng.randrange(users)}", name, None if name == "search" else rng.choice(ITEMS), ts=ts, **extra)


def test_importing_a_log_again_changes_nothing(items):
    log = list(a_log(1500))
    first = load(items, log)
    stored = everything(items)
    again = load(items, log)
    assert everything(items) == stored
    assert (first["impressions"], again["impressions"], again["clicks"]) == (len(ITEMS) * 7, 0, 0)


def test_an_import_that_broke_off_is_simply_run_again(items):
    """Whole log; or its first part, killed anywhere, then all of it: the same store."""
    log = list(a_log(800, seed=2))
    load(items, log)
    expected = everything(items)
    for key in items.redis.scan_iter("*"):
        if b"{c}" not in key:
            items.redis.delete(key)
    load(items, log[:317])
    load(items, log)
    assert everything(items) == expected


def test_a_killed_import_leaves_whole_calls_and_can_be_run_again(items, tmp_path):
    log = tmp_path / "log.ndjson"
    log.write_text(ndjson(a_log(12_000, users=3000, seed=3)))
    command = [str(WORKER), "events", "import", str(log)]
    started = subprocess.Popen(command, env=items.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    items.until(lambda: next(items.redis.scan_iter("seen:*", count=1000), None))
    started.kill()
    started.wait()
    items.worker("events", "import", str(log))
    interrupted = everything(items)
    items.empty()
    items.import_items([items.item(item) for item in ITEMS])
    items.worker("events", "import", str(log))
    assert everything(items) == interrupted


def test_shift_now_moves_the_last_event_to_now(items, tmp_path):
    old = 1_400_000_000_000
    log = tmp_path / "log.ndjson"
    moments = {"u1": old - 10 * DAY_MS, "u2": old, "u3": old - 90 * DAY_MS}
    log.write_text(ndjson([*(event(user, ts=ts) for user, ts in moments.items()), "{"]))
    before = now_ms()
    done = items.worker("events", "import", str(log), "--shift", "now", "--json", check=False)
    after, answer = now_ms(), json.loads(done.stdout)
    assert before <= old + answer["shift_ms"] <= after
    assert f"--shift {answer['shift_ms']}" in done.stderr
    assert (answer["stored"], answer["refused"]) == (2, 2)
    assert "after the shift, ts is" in answer["errors"][0]["error"]
    last_seen = items.redis.zscore(f"users:{{{partition_of('u2')}}}", "u2")
    assert last_seen == visit_of(old + answer["shift_ms"])
    assert items.redis.zscore(f"users:{{{partition_of('u1')}}}", "u1") == last_seen - 10 * DAY_MS


def test_a_shifted_log_goes_on_with_the_same_shift(items):
    log = [event("u1", "dwell", ts=1_400_000_000_000, ms=2000), event("u1", ts=1_400_000_000_500)]
    shift = load(items, log, "--shift", "now")["shift_ms"]
    stored = everything(items)
    assert load(items, log, "--shift", str(shift))["shift_ms"] == shift
    assert everything(items) == stored


def test_shift_now_reads_standard_input_twice(items):
    assert load(items, [event(ts=1_400_000_000_000)], "--shift", "now")["stored"] == 1
    assert load(items, [], "--shift", "now") | {"seconds": 0} == {
        "stored": 0, "refused": 0, "impressions": 0, "clicks": 0, "repeats": 0, "erased": 0, "shift_ms": 0,
        "seconds": 0,
        "events_per_second": 0, "errors": []}


def test_events_of_days_long_past_keep_their_counters_for_the_next_run(items):
    load(items, [event(ts=now_ms() - 59 * DAY_MS)])
    assert totals(items) == {"i": 1}


def test_a_file_with_a_byte_order_mark_and_windows_line_ends(items, tmp_path):
    log = tmp_path / "log.ndjson"
    log.write_bytes(b"\xef\xbb\xbf" + ndjson([event(), event("u2")]).replace("\n", "\r\n").encode())
    assert items.worker("events", "import", str(log)).stdout.startswith("stored 2, refused 0")


def test_a_line_without_an_end_is_bounded(items):
    log = ndjson([event()]) + '{"x": "' + "y" * 300_000 + '"}\n' + json.dumps(event("u2"))
    done = items.worker("events", "import", "-", input=log, check=False)
    assert done.stdout.startswith("stored 2, refused 1")
    assert done.stderr == "line 2: the line is longer than 65536 bytes\n"


def test_wrong_use_is_exit_2(items):
    assert items.worker("events", "import", "/nonexistent", check=False).returncode == 2
    wrong = items.worker("events", "import", "-", "--shift", "tomorrow", input="", check=False)
    assert wrong.returncode == 2
    assert "neither 'now' nor a number of milliseconds" in wrong.stderr


def test_a_refused_call_ends_the_import_with_the_reason(items):
    items.redis.set(f"users:{{{partition_of('u1')}}}", "not a sorted set")
    done = items.worker("events", "import", "-", input=ndjson([event("u2"), event()]), check=False)
    assert done.returncode == 1
    assert "Redis refused events of user u1" in done.stderr
    assert "run the same import again" in done.stderr
    assert seen(items, "u1") == set()


def test_a_terminal_shows_progress(items, tmp_path):
    log = tmp_path / "log.ndjson"
    log.write_text(ndjson([event()]))
    reader, terminal = pty.openpty()
    subprocess.run([str(WORKER), "events", "import", str(log)], env=items.environ(), stderr=terminal,
                   stdout=subprocess.DEVNULL, check=True)
    os.close(terminal)
    assert b"1 stored, 0 refused" in os.read(reader, 4096)
    os.close(reader)


def test_an_imported_impression_keeps_the_item_out_of_the_feed(items):
    assert "a1" in {each["id"] for each in items.feed("u1")["items"]}
    load(items, [event("u1")])
    assert "a1" not in {each["id"] for each in items.feed("u1")["items"]}


def test_the_edge_and_the_import_count_one_event_once(items):
    ts = now_ms()
    records = [event("u1", ts=ts), event("u1", "click", ts=ts), event("u1", "dwell", ts=ts, ms=4000),
               event("u1", "reaction", ts=ts, kind="like"), event("u1", "conversion", ts=ts),
               event("u1", "hide", ts=ts), event("u1", "search", None, ts=ts, query="brötchen")]
    assert items.beacon("u1", records).status_code == 204
    stored = everything(items)
    assert load(items, records)["repeats"] == 1
    assert everything(items) == stored
