"""People who read all the time: their lists in Redis, and pages through the edge; each is the old or the new one."""

from __future__ import annotations

import random
import threading
import time
from types import TracebackType

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.night import PAGE, READERS, Night
from worker.store.lists import list_key

SLOWEST = 30.0  # seconds


class Readers:
    """Reads in a thread from ``with`` on until its end, which raises what was wrong with any answer.

    ``away``: Redis may be away, so that lists can't be read and the edge answers with its last default list.
    """

    def __init__(self, night: Night, away: bool = False) -> None:
        self.lists = self.pages = self.fallbacks = 0
        self._night, self._away = night, away
        self._ended = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded)
        self._rng = random.Random(7)
        stack = night.stack
        self._redis = redis.Redis(
            unix_socket_path=str(stack.run / "sock/redis.sock"), username="worker",
            password=stack.credentials.redis["worker"], socket_timeout=0.3 if away else 60, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._redis.close()
        if self._fault is not None and error is None:
            raise self._fault
        assert error is not None or (self.pages and (self.lists or self._away)), "nothing was read"

    def _guarded(self) -> None:
        try:
            with httpx.Client(base_url=self._night.stack.url, timeout=SLOWEST) as client:
                while not self._ended.is_set():
                    with self._night.reading:
                        self._read(client, self._rng.choice(READERS))
                    time.sleep(0.005)
        except BaseException as fault:
            self._fault = fault

    def _read(self, client: httpx.Client, user: str) -> None:
        try:
            raw = self._redis.hget(list_key(user), user)
            self._night.check_list(user, raw, self._redis)
            self.lists += 1
        except redis.RedisError:
            assert self._away, "Redis did not answer"
        self._page(client, user)

    def _page(self, client: httpx.Client, user: str) -> None:
        answer = client.get("/feed", params={"n": PAGE}, headers=self._night.stack.bearer(user))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        ids = [item["id"] for item in page["items"]]
        assert len(set(ids)) == len(ids) > 0
        self.pages += 1
        if page["source"] == "list":
            reference = self._night.reference
            assert ids in (reference.old_pages[user], reference.new_pages[user]), f"{user} is served a mixture: {ids}"
        else:
            assert self._away, f"{user} was served {page['source']}"
            self.fallbacks += 1
