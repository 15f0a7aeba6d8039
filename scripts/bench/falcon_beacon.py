"""The beacon as one would write it without an edge: falcon under gunicorn, redis-py, one pipeline a request.

It does what lua/edge/beacon.lua and lua/redis/events.lua do for impressions, as far as one pipeline can: it checks the
token and every event, keeps what each person saw, when they were here, and counts. It counts a second impression
of the same item again, knows no erasures, and one client's rejected event refuses the whole request. Its keys begin
with "falcon:". gunicorn "scripts.bench.falcon_beacon:get_app()" with NIGHTFEED_RUN.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import falcon
import orjson
import redis

from worker import config, credentials, keyspace, tokens
from worker.keyspace import AHEAD_MS, DAY_MS

MAX_EVENTS = 100
MAX_BYTES = 65_536
ITEM = re.compile(r"[A-Za-z0-9._~:-]{1,128}")


class Beacon:
    """POST /beacon."""

    def __init__(self, client: redis.Redis, keyring: tokens.Keyring, window_days: int) -> None:
        self._redis, self._keyring, self._window_ms = client, keyring, window_days * DAY_MS
        self._numbers: dict[str, int] = {}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """204 when everything is in Redis."""
        known = tokens.verify(self._keyring, (req.auth or "").removeprefix("Bearer "))
        if known is None:
            raise falcon.HTTPUnauthorized(title="no valid token")
        now_ms = int(time.time() * 1000)
        events = self._events(req.bounded_stream.read(MAX_BYTES + 1), now_ms)
        self._write(known.user, events, now_ms)
        resp.status = falcon.HTTP_204

    def _events(self, body: bytes, now_ms: int) -> list[tuple[int, int]]:
        """Item number and ts of each event; 400 for a body that is not right."""
        if len(body) > MAX_BYTES:
            raise falcon.HTTPContentTooLarge()
        try:
            events = orjson.loads(body)["events"]
            if not 1 <= len(events) <= MAX_EVENTS:
                raise ValueError(f"{len(events)} events")
            return [self._event(event, now_ms) for event in events]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise falcon.HTTPBadRequest(title=str(error)) from error

    def _event(self, event: dict[str, Any], now_ms: int) -> tuple[int, int]:
        item, ts = event["item"], event["ts"]
        if event["event"] != "impression" or not ITEM.fullmatch(item):
            raise ValueError("not an impression of an item")
        if type(ts) is not int or not now_ms - self._window_ms <= ts <= now_ms + AHEAD_MS:
            raise ValueError("ts is out of range")
        return self._number(item), ts

    def _number(self, item: str) -> int:
        if item not in self._numbers:
            number: Any = self._redis.hget(keyspace.key("ids"), item)
            if number is None:
                raise ValueError("unknown item")
            self._numbers[item] = int(number)
        return self._numbers[item]

    def _write(self, user: str, events: list[tuple[int, int]], now_ms: int) -> None:
        pipe = self._redis.pipeline(transaction=True)
        seen, newest = f"falcon:seen:{user}", max(ts for _, ts in events)
        pipe.sadd(seen, *(number for number, _ in events))
        pipe.pexpireat(seen, now_ms + self._window_ms)
        pipe.zadd("falcon:users", {user: newest}, gt=True)
        for number, ts in events:
            pipe.hincrby(f"falcon:count:{ts // DAY_MS}", str(number), 1)
        pipe.execute()


def create_app(client: redis.Redis, keyring: tokens.Keyring, window_days: int) -> falcon.App[Any, Any]:
    """The application on an open Redis."""
    app: falcon.App[Any, Any] = falcon.App()
    app.add_route("/beacon", Beacon(client, keyring, window_days))
    return app


def get_app() -> falcon.App[Any, Any]:
    """The application on the run directory that NIGHTFEED_RUN names."""
    run: Path = config.run_directory()
    secrets = credentials.load(run)
    client = redis.Redis(unix_socket_path=str(run / "sock/redis.sock"), username="worker",
                         password=secrets.redis["worker"], socket_timeout=5)
    return create_app(client, secrets.keyring, config.load(run).window_days)
