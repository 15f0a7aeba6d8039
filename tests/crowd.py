"""Visitors with addresses of their own: a stack that trusts this host as a proxy, and what its edge counted."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.edge_state import now_ms
from tests.stack_fixture import Stack

SAMPLE = re.compile(r'(\w+(?:\{[^}]*\})?) (\d+(?:\.\d+)?)')
# Trusting this host, tests can have any address; limits are on.
TRUSTING: dict[str, Any] = {"trusted_proxies": "127.0.0.0/8", "rate_limit": "1000000"}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


_networks = itertools.count(1)


def fresh_address() -> str:
    """An IPv4 address in a /24 that no other test has had."""
    number = next(_networks)
    return f"10.{number >> 8}.{number & 255}.1"


@contextmanager
def running(**settings: Any) -> Iterator[Stack]:
    """A stack that trusts this host as a proxy, with these settings; at its end its error log must be clean."""
    stack = Stack(**{**TRUSTING, **settings})
    try:
        yield stack.up()
        unexpected = stack.unexpected_log()
        assert not unexpected, unexpected
    finally:
        stack.close()


class Visitor:
    """Someone at an address. ``token``: the identity that the edge gave, sent along; None: cookies are dropped."""

    def __init__(self, stack: Stack, address: str, token: str | None = None, **headers: str) -> None:
        self.stack, self.token = stack, token
        self.headers = {"X-Forwarded-For": address, "User-Agent": BROWSER, **headers}

    def _ask(self, method: str, path: str, **kw: Any) -> httpx.Response:
        who = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return self.stack.http.request(method, path, headers={**self.headers, **who}, **kw)

    def feed(self, **params: Any) -> httpx.Response:
        """GET /feed."""
        return self._ask("GET", "/feed", params=params)

    def arrive(self) -> Visitor:
        """Ask for a first page and keep the token that comes with it."""
        self.token = self.feed().headers.get("nightfeed-token")
        return self

    def beacon(self, *events: dict[str, Any]) -> httpx.Response:
        """POST /beacon; an event without a ``ts`` happened now."""
        return self._ask("POST", "/beacon", content=json.dumps({"events": [{"ts": now_ms(), **one} for one in events]}))

    def pixel(self, item: str, **fields: Any) -> httpx.Response:
        """GET /pixel.gif."""
        return self._ask("GET", "/pixel.gif", params={"item": item, **fields})


def impression(item: str, **fields: Any) -> dict[str, Any]:
    """An impression event."""
    return {"event": "impression", "item": item, **fields}


def click(item: str, **fields: Any) -> dict[str, Any]:
    """A click event."""
    return {"event": "click", "item": item, **fields}


def samples(stack: Stack) -> dict[str, float]:
    """All samples of /metrics by name and labels."""
    return {name: float(value) for name, value in SAMPLE.findall(stack.http.get("/metrics").text)}


class Growth:
    """How much each sample has grown since this was made."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.before = stack, samples(stack)

    def __call__(self, name: str, **labels: str) -> int:
        """By how much, over all samples of the name that have these labels."""
        total = 0.0
        for sample, value in samples(self.stack).items():
            if re.split("[{]", sample)[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += value - self.before.get(sample, 0)
        return int(total)

    def dropped(self) -> dict[str, int]:
        """Beacons dropped, by reason."""
        found: dict[str, int] = {}
        for sample, value in samples(self.stack).items():
            reason = re.fullmatch(r'nightfeed_dropped_beacons_total\{reason="(\w+)"\}', sample)
            if reason and value > self.before.get(sample, 0):
                found[reason[1]] = int(value - self.before.get(sample, 0))
        return found
