"""One user whose events go through ``nightfeed_record``, and what Redis holds of them."""

from __future__ import annotations

import itertools
import time

from tests import edge_state
from worker.events import Event
from worker.keyspace import live_buckets, partition_key, partition_of, user_key
from worker.seen_set import CODES, parts_of, words_of
from worker.store.connect import Store
from worker.store.events import record

NOW = int(time.time() * 1000)
fresh = itertools.count(1)


class Person:
    """A user and three items that no other example knows."""

    def __init__(self, stack):
        self.index = next(fresh)
        self.user = f"person-{self.index}"
        self.numbers = {name: 1000 + 3 * self.index + at for at, name in enumerate("abc")}
        self.names = {number: name for name, number in self.numbers.items()}
        self.store = Store(stack.redis, stack.settings, stack.run)

    def event(self, happening):
        """The event record of a happening."""
        name, item, ts, detail = happening
        if name == "dwell":
            return Event(self.user, name, item, ts, ms=detail)
        if name == "search":
            return Event(self.user, name, "", ts, query=detail)
        return Event(self.user, name, item, ts, kind=detail)

    def deliver(self, events):
        """One call of the function."""
        return record(self.store, [self.event(each) for each in events], self.numbers, NOW)

    def key(self, name, *parts):
        """A key of this user."""
        return user_key(name, self.user, *parts)

    def words(self):
        """(item, bucket code) -> flags, as the seen set has them."""
        parts = [parts_of(word) for word in words_of(self.store.redis.get(self.key("seen"))).tolist()]
        found = {(self.names[number], code): flags for number, code, flags in parts}
        assert len(found) == len(parts), "an item has one word in a bucket"
        return found

    def seen(self):
        """Item names seen in any live bucket."""
        codes = {bucket % CODES for bucket in live_buckets(NOW, 60)}
        return {item for item, code in self.words() if code in codes}

    def totals(self):
        """(item, letter) -> counter, summed over days."""
        found = edge_state.totals(self.store, f"count:{{{partition_of(self.user)}}}:*")
        return {(self.names[number], letter): by for number, counters in found.items() if number in self.names
                for letter, by in counters.items()}

    def stored(self):
        """Everything the store holds about this user's items, comparable between runs."""
        searches = self.store.redis.lrange(self.key("searches"), 0, -1)
        last_seen = self.store.redis.zscore(partition_key("users", partition_of(self.user)), self.user)
        return self.words(), searches, last_seen, self.totals()
