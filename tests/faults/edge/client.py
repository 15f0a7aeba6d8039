"""One of those who look at items all the time: every event a pair of user and item of its own, each answer remembered.

It sends a batch until it is acknowledged, as beacon.js does, and then the next one; now and then it asks for its feed,
which must never hold what was acknowledged to it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from tests.edge_state import now_ms
from tests.faults.edge.ledger import Pair
from tests.faults.edge.raw import Answer, Connection, GoneError, beacon_body, request
from tests.stack_fixture import Stack

ITEMS = [f"i{n}" for n in range(200)]
BATCH = 4
FEED_EVERY = 4
PACE = 0.002  # between requests, in seconds: the machine is not ours alone
PAUSE = 0.01  # after a refusal
SLOWEST = 30.0  # for an answer
DRAIN = 60.0


class Client:
    """One of them, in a thread of its own. A new connection for each request unless ``keepalive``."""

    def __init__(self, stack: Stack, name: str, keepalive: bool) -> None:
        self.acknowledged: dict[Pair, float] = {}  # when, Unix s
        self.people: list[str] = []
        self.answers: Counter[int] = Counter()  # beacons by status
        self.sources: Counter[str] = Counter()  # feeds by source
        self.repeats: list[tuple[Pair, float]] = []
        self.wrong: list[str] = []
        self.stale = self.failed = 0  # requests without an answer, on a used connection and on a new one
        self._stack, self._name, self._keepalive = stack, name, keepalive
        self._connection: Connection | None = None
        self._batches = 0

    def run(self, ended: threading.Event) -> None:
        """Until ``ended``, and then until the last batch is acknowledged."""
        while not ended.is_set():
            user, items = self._next()
            headers = self._stack.bearer(user)
            body = beacon_body({"event": "impression", "item": item, "ts": now_ms()} for item in items)
            feed = request("GET", "/feed?n=100", headers)
            if not self._deliver(user, request("POST", "/beacon", headers, body), feed, ended):
                self.wrong.append(f"{user}'s {items} was not taken for {DRAIN} s after the end")
                return
            self.acknowledged |= {(user, item): time.time() for item in items}
            if self._batches % FEED_EVERY == 0:
                self._feed(user, feed)
            time.sleep(PACE)

    def _next(self) -> tuple[str, list[str]]:
        per_person = len(ITEMS) // BATCH
        person, place = divmod(self._batches, per_person)
        self._batches += 1
        if place == 0:
            self.people.append(f"{self._name}-{person}")
        return self.people[-1], ITEMS[place * BATCH:(place + 1) * BATCH]

    def _deliver(self, user: str, data: bytes, feed: bytes, ended: threading.Event) -> bool:
        last = None
        while last is None or time.monotonic() < last:
            answer = self._ask(data)
            if answer is not None:
                self.answers[answer.status] += 1
                if answer.status == 204:
                    return True
                self._check_refusal(answer)
                self._feed(user, feed)
            time.sleep(PAUSE)
            if last is None and ended.is_set():
                last = time.monotonic() + DRAIN
        return False

    def _check_refusal(self, answer: Answer) -> None:
        if answer.status != 503 or not answer.headers.get("retry-after", "").isdigit() or "error" not in answer.json():
            self.wrong.append(f"a beacon was answered {answer.status} {answer.headers} {answer.body!r}")

    def _feed(self, user: str, data: bytes) -> None:
        answer = self._ask(data)
        if answer is None:
            return
        if answer.status != 200 or answer.json()["user"] != user:
            self.wrong.append(f"{user}'s feed was answered {answer.status} {answer.body[:200]!r}")
            return
        page = answer.json()
        self.sources[page["source"]] += 1
        pairs = [(user, item["id"]) for item in page["items"]]
        self.repeats += [(pair, self.acknowledged[pair]) for pair in pairs if pair in self.acknowledged]

    def _ask(self, data: bytes) -> Answer | None:
        used = self._connection is not None and self._connection.used
        try:
            if self._connection is None:
                self._connection = Connection(self._stack.port, SLOWEST)
            answer = self._connection.ask(data)
        except GoneError:
            self.stale, self.failed = self.stale + used, self.failed + (not used)
            self._close()
            return None
        if not self._keepalive or answer.headers.get("connection") == "close":
            self._close()
        return answer

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.leave()
            self._connection = None
