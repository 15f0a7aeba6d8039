"""What matters most: nobody ever gets an item again once its impression was acknowledged, whatever else goes on."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests import edge_state
from tests.stack_fixture import REDIS_AWAY
from worker import keyspace
from worker.store.connect import open_store
from worker.store.users import seen

CLIENTS = 50
ITEMS = 1500


class Client:
    """One person: reads pages, reports what they saw, and remembers what the edge has acknowledged."""

    def __init__(self, stack, number, counts):
        self.user = f"person-{number}"
        self._headers = stack.bearer(self.user)
        self._rng = random.Random(number)
        self._counts = counts
        self.acknowledged = set()
        self.broken = []

    async def live(self, http, ended):
        """Read and report until ``ended``; a page that could not be had is tried again, as a browser would."""
        while not ended.is_set():
            cursor = None
            for _ in range(self._rng.randint(1, 4)):
                page = await self._read(http, cursor)
                if page is None:
                    break
                await self._report(http, page)
                cursor = page["cursor"]
                if cursor is None:
                    break
            await asyncio.sleep(self._rng.random() * 0.05)

    async def _read(self, http, cursor):
        before = set(self.acknowledged)
        params = {"n": 10, **({"cursor": cursor} if cursor else {})}
        try:
            answer = await http.get("/feed", params=params, headers=self._headers)
        except httpx.TransportError:
            self._counts["feed unreachable"] += 1
            await asyncio.sleep(0.1)
            return None
        self._counts[f"feed {answer.status_code}"] += 1
        if answer.status_code != 200:
            self.broken.append(f"/feed answered {answer.status_code}: {answer.text}")
            return None
        page = answer.json()
        self._counts[page["source"]] += 1
        if page["user"] != self.user:
            self.broken.append(f"{self.user} got the page of {page['user']}")
        again = before.intersection(item["id"] for item in page["items"])
        if again:
            self.broken.append(f"{self.user} got {sorted(again)} again ({page['source']}, {page['generation']})")
        return page

    async def _report(self, http, page):
        ids = [item["id"] for item in page["items"] if self._rng.random() < 0.4]
        if not ids:
            return
        now = int(time.time() * 1000)
        events = [{"event": "impression", "item": item, "ts": now} for item in ids]
        try:
            answer = await http.post("/beacon", content=json.dumps({"events": events}), headers=self._headers)
        except httpx.TransportError:
            self._counts["beacon unreachable"] += 1
            return
        self._counts[f"beacon {answer.status_code}"] += 1
        if answer.status_code == 204:
            self.acknowledged.update(ids)
        elif answer.status_code != 503:
            self.broken.append(f"/beacon answered {answer.status_code}: {answer.text}")


async def disturb(stack, clients):
    """A nightly run, then Redis, the API and nginx restarted, and a second run, under the clients' load."""
    for step in (
        lambda: stack.worker("nightly"),
        lambda: stack.restart("redis"),
        lambda: stack.worker("nightly"),
        lambda: stack.restart("api"),
        lambda: stack.restart("nginx"),
    ):
        await asyncio.to_thread(step)
        reached = sum(len(client.acknowledged) for client in clients)
        await asyncio.sleep(1.5)
        assert sum(len(client.acknowledged) for client in clients) > reached, "after each step the clients go on"


async def crowd(stack, clients):
    """All clients at once, until the disturbances are through."""
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=stack.url, limits=limits, timeout=60) as http:
        ended = asyncio.Event()
        tasks = [asyncio.create_task(client.live(http, ended)) for client in clients]
        try:
            await asyncio.sleep(1.5)
            await disturb(stack, clients)
        finally:
            ended.set()
            await asyncio.gather(*tasks)


def test_nobody_gets_an_item_again_through_a_night_and_restarts(stack):
    """50 clients at once; every acknowledged impression is in Redis afterwards, and counted once."""
    stack.expect_log(REDIS_AWAY)
    stack.import_items([stack.item(f"i{n}", category=f"c{n % 13}", kind=("timely", "evergreen")[n % 2])
                        for n in range(ITEMS)])
    counts = Counter()
    clients = [Client(stack, number, counts) for number in range(CLIENTS)]
    # A loop of its own in a thread of its own: the browser of other tests has one in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(crowd(stack, clients))).result()
    print(dict(counts))
    assert [fault for client in clients for fault in client.broken] == []
    assert counts["list"] > CLIENTS, "the lists of the runs were served"
    store = open_store(stack.run)
    numbers = {name.decode(): int(n) for name, n in stack.redis.hgetall(keyspace.key("ids")).items()}
    stored = {client.user: seen(store, client.user) for client in clients}
    for client in clients:
        assert {numbers[item] for item in client.acknowledged} <= stored[client.user], client.user
    counted = sum(counters["i"] for counters in edge_state.totals(stack).values())
    assert counted == sum(len(items) for items in stored.values())
