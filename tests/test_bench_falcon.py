"""The beacon in falcon that make bench-edge measures beside the edge's does what it is compared for."""

from __future__ import annotations

import json
import time
from typing import Any

import falcon.testing
import pytest

from scripts.bench.falcon_beacon import create_app
from tests.edge_state import number
from tests.stack_fixture import Stack
from worker.keyspace import DAY_MS


@pytest.fixture
def client(stack: Stack) -> falcon.testing.TestClient:
    """The application on the session's Redis, which has the items a, b and c."""
    stack.import_items([stack.item(name) for name in "abc"])
    return falcon.testing.TestClient(create_app(stack.redis, stack.credentials.keyring, 60))


def impression(item: str, **changes: Any) -> dict[str, Any]:
    return {"event": "impression", "item": item, "ts": int(time.time() * 1000), **changes}


def post(client: falcon.testing.TestClient, stack: Stack, *events: Any, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token or stack.token('u1')}"}
    return client.simulate_post("/beacon", body=json.dumps({"events": list(events)}), headers=headers).status_code


def test_what_is_acknowledged_is_in_redis(client: falcon.testing.TestClient, stack: Stack) -> None:
    moment = impression("a")["ts"]
    assert post(client, stack, impression("a", ts=moment), impression("b", ts=moment)) == 204
    assert post(client, stack, impression("a", ts=moment - 5)) == 204
    seen = {int(member) for member in stack.redis.smembers("falcon:seen:u1")}
    assert seen == {number(stack, "a"), number(stack, "b")}
    assert 0 < stack.redis.ttl("falcon:seen:u1") <= 60 * 86_400
    assert stack.redis.zscore("falcon:users", "u1") == moment
    counted = stack.redis.hgetall(f"falcon:count:{moment // DAY_MS}")
    assert counted[str(number(stack, "b")).encode()] == b"1"


def test_nothing_is_written_for_a_wrong_token_or_event(client: falcon.testing.TestClient, stack: Stack) -> None:
    assert post(client, stack, impression("a"), token=stack.token("u1")[:-1] + "!") == 401
    bad = [impression("z"), impression("a b"), impression("a", ts=1), impression("a", ts="1"), {"event": "impression"},
           impression("a", event="click"), 7]  # fmt: skip
    for event in bad:
        assert post(client, stack, impression("a"), event) == 400, event
    assert post(client, stack) == 400
    assert post(client, stack, *[impression("a")] * 101) == 400
    assert list(stack.redis.scan_iter("falcon:*")) == []
