"""First pages of the feed as people get them: of which size, from where, and whether they are right."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.bench.edge_site import Site
from scripts.stack_process import StackError
from worker import credentials, tokens
from worker.store import users

PATH = "/feed?n=20"
SAMPLE = 200
# nginx makes these itself for every answer.
OWN_HEADERS = {"date", "server", "connection", "content-length", "transfer-encoding", "content-type"}


@dataclass(frozen=True)
class Page:
    """One answer of /feed: its body, its content type, and the headers that the handler set."""

    body: str
    type: str
    headers: tuple[tuple[str, str], ...]


def sample(site: Site) -> tuple[Page, dict[str, Any]]:
    """The page of median size of some random users, and what their pages are like.

    Raises StackError when a page shows what its user has seen, or is no page.
    """
    rng = np.random.default_rng([site.options.seed, 6])
    chosen = [site.users[row] for row in rng.choice(len(site.users), min(SAMPLE, len(site.users)), replace=False)]
    connection = http.client.HTTPConnection("127.0.0.1", site.stack.port, timeout=10)
    try:
        pages = sorted((_page(site, connection, user) for user in chosen), key=lambda found: len(found[0].body))
    finally:
        connection.close()
    median = pages[len(pages) // 2][0]
    sources, items = Counter(source for _, source, _ in pages), [count for _, _, count in pages]
    return median, {"bytes": len(median.body.encode()), "items": sum(items) / len(items), "sources": dict(sources),
                    "sampled": len(pages), "seen_again": 0}


def _page(site: Site, connection: http.client.HTTPConnection, user: str) -> tuple[Page, str, int]:
    """A user's first page, its source, and how many items it has."""
    token = tokens.sign(credentials.load(site.stack.run).keyring, user, int(time.time()))
    connection.request("GET", PATH, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    if answer.status != 200:
        raise StackError(f"/feed answered {answer.status} before the measurement: {body[:200]}")
    found = json.loads(body)
    again = users.seen(site.stack.store, user) & {int(item["id"].removeprefix("item-")) for item in found["items"]}
    if again or found["user"] != user:
        raise StackError(f"the feed of {user} is wrong: it is that of {found['user']} and repeats {sorted(again)}")
    kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in OWN_HEADERS)
    return Page(body, answer.headers["Content-Type"], kept), found["source"], len(found["items"])
