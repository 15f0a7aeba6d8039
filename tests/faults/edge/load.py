"""Load: clients in threads, and what became of all that they sent."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from types import TracebackType

from tests.faults.edge import ledger
from tests.faults.edge.client import BATCH, DRAIN, ITEMS, Client
from tests.faults.edge.ledger import Pair
from tests.stack_fixture import Stack


class Load:
    """Clients from ``with`` on until its end, which fails when any answer was wrong; then what became of it all."""

    def __init__(self, stack: Stack, clients: int = 6, keepalive: bool = True, name: str = "c") -> None:
        self.clients = [Client(stack, f"{name}{n}", keepalive) for n in range(clients)]
        self._stack = stack
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=client.run, args=(self._ended,)) for client in self.clients]

    def __enter__(self) -> Load:
        self._before = ledger.events(self._stack), ledger.dropped(self._stack)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            assert not (wrong := [each for client in self.clients for each in client.wrong]), wrong[:3]
            assert self.answers[204] > len(self.clients), "hardly anything was sent"

    def wait(self, status: int, seconds: float = DRAIN) -> None:
        """Until each client has had two more beacons answered with that status: one was sent after this call."""
        before = [client.answers[status] for client in self.clients]
        self._stack.until(lambda: all(client.answers[status] > count + 1
                                      for client, count in zip(self.clients, before, strict=True)), seconds)

    @contextlib.contextmanager
    def refused(self, source: str) -> Iterator[None]:
        """From when each client was refused until the block's end, no beacon is taken; feeds go on from ``source``."""
        self.wait(503)
        answers, sources = self.answers, self.sources
        yield
        assert set(self.answers - answers) == {503}
        assert set(self.sources - sources) == {source}

    @property
    def answers(self) -> Counter[int]:
        """Answers to beacons, by status."""
        return sum((client.answers for client in self.clients), Counter())

    @property
    def sources(self) -> Counter[str]:
        """Feeds, by source."""
        return sum((client.sources for client in self.clients), Counter())

    @property
    def acknowledged(self) -> dict[Pair, float]:
        """Each acknowledged event with the moment of its acknowledgement, Unix s."""
        return {pair: at for client in self.clients for pair, at in list(client.acknowledged.items())}

    @property
    def repeats(self) -> list[tuple[Pair, float]]:
        """What a feed held although it had been acknowledged, and when it had been."""
        return [repeat for client in self.clients for repeat in client.repeats]

    def unanswered(self) -> int:
        """Requests without an answer."""
        return sum(client.stale + client.failed for client in self.clients)

    def failed(self) -> int:
        """Those of them that had a connection of their own: no client would have sent them again by itself."""
        return sum(client.failed for client in self.clients)

    def lost(self, besides: int = 0) -> dict[Pair, float]:
        """Acknowledged minus present. Fails when anything is present that nobody sent, or counts twice.

        ``besides``: impressions in the counters that are no client's.
        """
        acknowledged = self.acknowledged
        there = ledger.present(self._stack, [user for client in self.clients for user in client.people])
        assert there <= acknowledged.keys(), f"nobody sent {sorted(there - acknowledged.keys())[:5]}"
        assert ledger.impressions(self._stack) == len(there) + besides
        return {pair: at for pair, at in acknowledged.items() if pair not in there}

    def check_counted(self) -> None:
        """Received = stored + dropped, each with its reason: where every request had an answer, to the last event."""
        assert self.unanswered() == 0
        taken, refused = self.answers[204], self.answers[503]
        expected = +Counter(stored=BATCH * taken, unstored=BATCH * refused), +Counter(store=refused)
        self._stack.settles(self._counted, expected)

    def _counted(self) -> tuple[Counter[str], Counter[str]]:
        events, beacons = self._before
        return ledger.events(self._stack) - events, ledger.dropped(self._stack) - beacons


def catalogue(stack: Stack) -> None:
    """The items that the clients look at, known to every nginx worker; feeds have them in the clients' order."""
    stack.import_items(stack.item(item, category=f"k{item}") for item in reversed(ITEMS))
