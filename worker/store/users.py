"""What the store knows of one person: reading all of it, and erasing all of it."""

from __future__ import annotations

import struct
import time
from typing import Any

from worker.keyspace import BUCKET_DAYS, live_buckets, partition_key, partition_of, user_key
from worker.packing import UserList, unpack_list, unpack_pool
from worker.person import Act, Bucket, Known, moment_text
from worker.seen_set import CLICKED, CODES, UNCOUNTED, Words, live_items, live_mask, parts_of, words_of
from worker.store import erasures
from worker.store.connect import Store, explained
from worker.store.erasures import Erasure
from worker.store.generations import read_plan
from worker.store.items import ids_of
from worker.store.lists import list_key
from worker.store.seen import read_seen

# Keys of any window that could have been set (at most 90 days), and one bucket more: expiry is spread over a day.
WIDEST_DAYS = 90 + BUCKET_DAYS


def seen(store: Store, user: str, now_ms: int | None = None) -> set[int]:
    """Numbers of the items that the user has seen within the window."""
    buckets = live_buckets(_now_ms(now_ms), store.settings.window_days)
    with explained("Redis"):
        words = read_seen(store, user)
    return set(live_items(words, live_mask(buckets)).tolist()) - {0}


def exists(store: Store, user: str) -> bool:
    """Whether anything is known of the user."""
    return load(store, user).found


@explained("Redis")
def load(store: Store, user: str, now_ms: int | None = None) -> Known:
    """All that is known of the user, also of buckets that no longer count and may still be there."""
    numbers = live_buckets(_now_ms(now_ms), WIDEST_DAYS)
    pipe = store.redis.pipeline(transaction=True)
    pipe.zscore(partition_key("users", partition_of(user)), user)
    pipe.lrange(user_key("searches", user), 0, -1)
    pipe.hget(list_key(user), user)
    pipe.get(user_key("seen", user))
    for number in numbers:
        pipe.hgetall(user_key("acts", user, number))
    last_seen, searches, published, raw, *acts = pipe.execute()
    buckets = _buckets(words_of(raw), dict(zip(numbers, acts, strict=True)))
    return Known(
        user, None if last_seen is None else int(last_seen), buckets,
        [_search(entry) for entry in searches], unpack_list(published) if published else None,
    )


def export(store: Store, user: str) -> dict[str, Any]:
    """All that is known of the user, by item id, as it goes to the person who asks for it. JSON types only."""
    known = load(store, user)
    items = list_numbers(store, known.published)
    acts = [(bucket, number, act) for bucket in known.buckets for number, act in bucket.acts.items()]
    names = ids_of(store, sorted(known.seen | set(items or []) | {number for _, number, _ in acts}))
    return {
        "user": user,
        "last_seen": None if known.last_seen_ms is None else moment_text(known.last_seen_ms // 1000),
        "last_seen_ms": known.last_seen_ms,
        "seen": [{"item": names.get(number), **known.seen_row(number)} for number in sorted(known.seen)],
        "acts": [{"item": names.get(number), **bucket.period, "dwell_ms": act.dwell_ms, "counted": act.counted}
                 for bucket, number, act in acts],
        "searches": [{"at": moment_text(ts // 1000), "ts": ts, "query": query} for ts, query in known.searches],
        "list": _list_row(known.published, items, names),
    }


def list_numbers(store: Store, published: UserList | None) -> list[int] | None:
    """Item numbers of a list in order; None when there is none, or its generation's pool is gone."""
    plan = read_plan(store, published.generation) if published else None
    if published is None or plan is None:
        return None
    numbers: list[int] = unpack_pool(plan["pool"]).items[published.positions].tolist()
    return numbers


def forget(store: Store, user: str) -> dict[str, int]:
    """Erase the user for good: events from before, when they come late, and a restored back-up don't bring them back.

    The ledger is written first. Raises StoreError when it or Redis fails; erasing again is harmless.
    """
    return erase(store, user, erasures.note(store.run, user, _now_ms(None)))


@explained("Redis")
def erase(store: Store, user: str, erasure: Erasure) -> dict[str, int]:
    """Erase the user in one step. Returns how many items seen, acts, searches, lists and keys are gone.

    Statistics of items stay: they are sums that name nobody. A nightly run that is writing lists at this very moment
    may still write one for the user, which holds item positions; it goes when the run ends.
    """
    numbers = live_buckets(_now_ms(None), WIDEST_DAYS)
    acts_keys = [user_key("acts", user, number) for number in numbers]
    seen_key, searches_key, lent_key = (user_key(name, user) for name in ("seen", "searches", "lent"))
    pipe = store.redis.pipeline(transaction=True)
    for acts_key in acts_keys:
        pipe.hlen(acts_key)
    pipe.get(seen_key)
    pipe.llen(searches_key)
    pipe.hdel(list_key(user), user)
    pipe.zrem(partition_key("users", partition_of(user)), user)
    pipe.unlink(seen_key, *acts_keys, searches_key, lent_key)
    erasures.mark(pipe, [erasure], _now_ms(None))
    replies = pipe.execute()
    acts, (raw, searches, lists, visits, keys) = replies[: len(numbers)], replies[len(numbers) :][:5]
    seen_items = {parts_of(word)[0] for word in words_of(raw).tolist()}
    return {"seen": len(seen_items), "acts": sum(acts), "searches": searches, "lists": lists, "visits": visits,
            "keys": keys}


def _buckets(words: Words, acts: dict[int, dict[bytes, bytes]]) -> list[Bucket]:
    """Non-empty buckets, newest first; ``acts`` by number of each bucket that there may be, newest first."""
    flags: dict[int, dict[int, int]] = {number: {} for number in acts}
    newest = max(flags)
    for item, code, flag in map(parts_of, words.tolist()):
        flags.setdefault(newest - (newest - code) % CODES, {})[item] = flag
    buckets = [_bucket(number, flags[number], acts.get(number, {})) for number in sorted(flags, reverse=True)]
    return [each for each in buckets if each.seen or each.acts]


def _bucket(number: int, flags: dict[int, int], acts: dict[bytes, bytes]) -> Bucket:
    return Bucket(
        number,
        frozenset(flags),
        frozenset(item for item, flag in flags.items() if flag & CLICKED),
        frozenset(item for item, flag in flags.items() if flag & UNCOUNTED),
        {int(item): Act(struct.unpack_from("<I", raw)[0], len(raw) // 4 - 1) for item, raw in sorted(acts.items())},
    )


def _search(entry: bytes) -> tuple[int, str]:
    ts, _, query = entry.decode().partition(" ")
    return int(ts), query


def _list_row(published: UserList | None, items: list[int] | None, names: dict[int, str]) -> dict[str, Any] | None:
    if published is None:
        return None
    return {"generation": published.generation, "made_at": moment_text(published.made_at),
            "items": None if items is None else [names.get(number) for number in items]}


def _now_ms(now_ms: int | None) -> int:
    return int(time.time() * 1000) if now_ms is None else now_ms
