"""``worker user``: everything that is known of a person, why they see what they see, and erasure."""

import json
import time
from datetime import UTC, datetime

import pytest

from worker.keyspace import BUCKET_DAYS, DAY_MS, bucket_of, live_buckets, partition_of, user_key
from worker.seen_set import packed, word_of
from worker.store import users
from worker.store.connect import Store
from worker.store.lists import list_key

TODAY = int(time.time()) // 86_400


def ago(days):
    """That long before now, in Unix ms."""
    return int(time.time() * 1000 - days * DAY_MS)


def stamp(ms):
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def day_text(day):
    return stamp(day * DAY_MS)[:10]


def record(stack, *events, user="u1"):
    """Import events of one user."""
    lines = "".join(json.dumps({"user": user, **event}) + "\n" for event in events)
    stack.worker("events", "import", "-", input=lines)


def answer(stack, *args):
    """The JSON a user command prints."""
    return json.loads(stack.worker("user", *args, "--json").stdout)


def keys_of(stack, user):
    """Every key and sorted-set member that names the user."""
    keys = {key.decode() for key in stack.redis.scan_iter("*") if key.endswith(f":{user}".encode())}
    named = stack.redis.zscore(f"users:{{{partition_of(user)}}}", user)
    return keys | ({"users"} if named is not None else set())


@pytest.fixture
def visited(stack):
    """The stack with three items, and what u1 did with them 30 days ago and just now."""
    stack.import_items([stack.item(name, category="food") for name in ("a1", "a2", "a3")])
    old = ago(30)
    record(
        stack,
        {"event": "impression", "item": "a1", "ts": old},
        {"event": "click", "item": "a1", "ts": old},
        {"event": "dwell", "item": "a1", "ts": old, "ms": 12_000},
        {"event": "dwell", "item": "a1", "ts": old + 1, "ms": 8_000},
        {"event": "hide", "item": "a2", "ts": ago(0)},
        {"event": "impression", "item": "a1", "ts": ago(0)},
        {"event": "search", "query": "rye  bread", "ts": ago(1)},
        {"event": "search", "query": "brötchen", "ts": ago(0)},
    )
    record(stack, {"event": "impression", "item": "a3", "ts": ago(0)}, user="u2")
    return stack


def nights(stack, extra=()):
    """A catalogue of 40 items, a visit of u1 five days ago that saw two of them, and a nightly run."""
    items = [stack.item(f"item{n}", category=f"c{n % 5}", posted_at=stamp(ago(6 + n))) for n in range(40)]
    fresh = [stack.item(f"new{n}", category=f"c{n % 3}", kind="timely", posted_at=stamp(TODAY * DAY_MS - 3_600_000))
             for n in range(4)]
    stack.import_items([*items, *fresh, *extra])
    record(stack, *({"event": "impression", "item": f"item{n}", "ts": ago(5)} for n in (0, 1)))
    stack.worker("nightly", "--force")


def test_show_sums_up_what_is_known(visited):
    shown = answer(visited, "show", "u1")
    assert {name: shown[name] for name in ("user", "seen", "clicked", "dwell_s", "searches", "list_items")} == {
        "user": "u1", "seen": 2, "clicked": 1, "dwell_s": 20.0, "searches": 2, "list_items": 0}
    assert shown["last_seen"].startswith(day_text(TODAY)[:7])
    text = visited.worker("user", "show", "u1").stdout
    assert "dwell_s            20.0" in text


def test_export_names_every_item_with_when_and_how(visited):
    exported = json.loads(visited.worker("user", "export", "u1").stdout)
    old, new = bucket_of(ago(30)), bucket_of(ago(0))
    periods = [{"from": day_text(bucket * BUCKET_DAYS), "to": day_text(bucket * BUCKET_DAYS + BUCKET_DAYS - 1)}
               for bucket in (new, old)]
    assert exported["seen"] == [
        {"item": "a1", "periods": periods, "clicked": True, "impression_counted": True},
        {"item": "a2", "periods": periods[:1], "clicked": False, "impression_counted": False},
    ]
    assert exported["acts"] == [
        {"item": "a2", **periods[0], "dwell_ms": 0, "counted": 1},
        {"item": "a1", **periods[1], "dwell_ms": 20_000, "counted": 2},
    ]
    assert [search["query"] for search in exported["searches"]] == ["rye  bread", "brötchen"]
    assert exported["last_seen"] == stamp(exported["last_seen_ms"])
    assert exported["list"] is None
    assert "a3" not in json.dumps(exported)


def test_export_names_items_that_were_removed(visited):
    visited.worker("items", "remove", "a1")
    assert [row["item"] for row in answer(visited, "export", "u1")["seen"]] == ["a1", "a2"]


def test_export_holds_the_list_by_item_id(stack):
    nights(stack)
    published = answer(stack, "export", "u1")["list"]
    assert published["generation"] == 1
    assert len(published["items"]) == len(set(published["items"])) == 42
    assert not {"item0", "item1"} & set(published["items"])


def test_seen_reads_all_live_buckets_and_no_others(visited):
    store = Store(visited.redis, visited.settings, visited.run)
    a1, a2 = (int(number) for number in visited.redis.hmget("ids:{c}", "a1", "a2"))
    assert users.seen(store, "u1") == {a1, a2}
    many, key = range(1000, 42_000), user_key("seen", "u1")
    visited.redis.append(key, packed(word_of(item, bucket_of(ago(item % 59))) for item in many))
    visited.redis.append(key, packed(word_of(item, bucket_of(ago(80))) for item in range(50_000, 50_010)))
    assert users.seen(store, "u1") == {a1, a2, *many}
    assert users.seen(store, "stranger") == set()


def test_forget_erases_every_trace_of_one_person_and_of_nobody_else(visited):
    visited.redis.hset(list_key("u1"), "u1", b"\x01\x00\x00\x00" + bytes(8))
    other = keys_of(visited, "u2")
    gone = answer(visited, "forget", "u1", "--yes")
    assert gone == {"user": "u1", "seen": 2, "acts": 2, "searches": 2, "lists": 1, "visits": 1, "keys": 4}
    assert keys_of(visited, "u1") == set()
    assert keys_of(visited, "u2") == other
    assert visited.worker("user", "show", "u1", check=False).returncode == 1
    assert {item["id"] for item in visited.feed("u1")["items"]} == {"a1", "a2", "a3"}


def test_forget_erases_what_a_wider_window_had_kept(visited):
    old = user_key("acts", "u1", bucket_of(ago(88)))
    visited.redis.hset(old, 1, bytes(4))
    assert bucket_of(ago(88)) not in live_buckets(ago(0), 60)
    visited.worker("user", "forget", "u1", "--yes")
    assert visited.redis.exists(old) == 0


def test_forget_asks_first(visited):
    refused = visited.worker("user", "forget", "u1", input="n\n", check=False)
    assert refused.returncode == 1
    assert "Erase u1, 2 seen items and all else?" in refused.stderr
    assert keys_of(visited, "u1")
    assert visited.worker("user", "forget", "u1", input="y\n").stdout == (
        "forgot u1: 2 seen items, 2 acts, 2 searches, 0 list\n")
    assert keys_of(visited, "u1") == set()


def test_forgetting_twice_tells_that_nothing_is_known(visited):
    visited.worker("user", "forget", "u1", "--yes")
    assert visited.worker("user", "forget", "u1", "--yes", check=False).returncode == 1


@pytest.mark.parametrize("command", ["show", "export", "explain", "forget"])
def test_a_stranger_is_exit_1_with_a_clear_sentence(stack, command):
    done = stack.worker("user", command, "stranger", check=False)
    assert done.returncode == 1
    assert "nothing is known of user stranger" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["show", "export", "explain", "forget"])
def test_what_is_no_id_is_wrong_use(stack, command):
    done = stack.worker("user", command, "no id!", check=False)
    assert done.returncode == 2
    assert "is not an id" in done.stderr


def test_explain_gives_a_reason_for_every_position_of_the_published_list(stack):
    nights(stack)
    explained = answer(stack, "explain", "u1")
    published = answer(stack, "export", "u1")["list"]["items"]
    assert [row["item"] for row in explained["items"]] == published
    assert [row["position"] for row in explained["items"]] == list(range(1, len(published) + 1))
    assert {row["item"] for row in explained["items"] if row["reason"] == "new"} == {f"new{n}" for n in range(4)}
    ranks = {row["rank"] for row in explained["items"] if row["rank"]}
    assert len(ranks) == 38
    for row in explained["items"]:
        assert (row["score"] is None) == (row["rank"] is None)
        assert row["blocked"] is None
        assert row["why"]
    assert explained["source"] == "list"
    assert 4 <= explained["days_away"] <= 5


def test_explain_tells_the_reasons_that_the_feed_gives(stack):
    nights(stack)
    explained = {row["item"]: row["reason"] for row in answer(stack, "explain", "u1")["items"]}
    feed = stack.feed("u1", n=40)["items"]
    assert {item["id"]: item["reason"] for item in feed} == {item["id"]: explained[item["id"]] for item in feed}


def test_explain_as_text_has_a_line_a_position(stack):
    nights(stack)
    stack.worker("items", "hide", "item7")
    lines = stack.worker("user", "explain", "u1").stdout.splitlines()
    assert lines[0].startswith("u1: their list, generation 1 of the run of ")
    assert len(lines) == 2 + 42
    assert next(line for line in lines if "item7 " in line).endswith("[passed over: hidden]")


def test_explain_an_item_says_why_it_is_or_is_not_shown(stack):
    hidden, future = stack.item("hidden", hidden=True), stack.item("future", posted_at=stamp(ago(-3)))
    nights(stack, [hidden, future])
    stack.import_items([stack.item("fresh", posted_at=stamp(ago(0)))])
    verdicts = {item: answer(stack, "explain", "u1", item)["verdict"]
                for item in ("item0", "item9", "hidden", "future", "fresh", "nowhere")}
    assert verdicts == {"item0": "seen", "item9": "listed", "hidden": "hidden", "future": "not_out",
                        "fresh": "fresh", "nowhere": "unknown"}
    text = stack.worker("user", "explain", "u1", "item0").stdout
    assert text.startswith("item0 for u1: seen: seen between ")


def test_explain_for_someone_without_a_list_tells_of_the_default_list(stack):
    nights(stack)
    record(stack, {"event": "impression", "item": "item3", "ts": ago(0)}, user="newcomer")
    explained = answer(stack, "explain", "newcomer")
    assert explained["source"] == "default"
    assert {row["item"]: row["blocked"] for row in explained["items"] if row["blocked"]} == {"item3": "seen"}
    assert "no list of their own" in stack.worker("user", "explain", "newcomer").stdout


def test_explain_before_any_run_says_so(visited):
    assert "no nightly run has published yet" in visited.worker("user", "explain", "u1").stdout
    assert answer(visited, "explain", "u1")["source"] == "none"
