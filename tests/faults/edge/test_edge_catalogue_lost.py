"""The catalogue's last changes lost with a killed Redis: the edge does not go on with what is no longer so."""

from __future__ import annotations

import json
import os
import signal

from tests.edge_state import number
from tests.faults.edge.processes import children, main_pid
from tests.faults.redis_faults import kept, kill_redis, lose, restart_redis
from tests.stack_fixture import REDIS_AWAY, Stack


def put(stack: Stack, item: str, **changes: object) -> None:
    """One change of the catalogue, as one version of it; nobody waits for the edge."""
    body = {key: value for key, value in stack.item(item, **changes).items() if key != "id"}
    token = stack.credentials.api["catalogue"]
    answer = stack.http.put(f"/api/items/{item}", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 201)


def test_numbers_and_versions_that_are_given_again_are_not_taken_for_the_lost_ones(stack: Stack) -> None:
    """Lost: a new item and a hidden one. Then as many changes, before the edge looks: it counts as many versions."""
    stack.expect_log(REDIS_AWAY)
    stack.import_items(stack.item(item) for item in ("a1", "a2"))
    size = kept(stack)
    put(stack, "lost")
    put(stack, "a2", hidden=True)
    stack.sync()
    old = number(stack, "lost")
    assert stack.beacon("u1", [{"event": "impression", "item": "lost"}]).status_code == 204
    kill_redis(stack)
    lose(stack, size)
    workers = children(main_pid(stack, "nginx"))
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    restart_redis(stack)
    for item in ("b1", "b2"):
        stack.worker("items", "import", "-", input=record(stack, item))
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    assert number(stack, "b1") == old
    stack.until(lambda: ids(stack, "u2") == {"a1", "a2", "b1", "b2"})
    stack.until(lambda: all(stack.beacon("u3", [{"event": "impression", "item": "lost"}]).status_code == 422
                            for _ in range(20)))
    assert stack.beacon("u4", [{"event": "impression", "item": "b1"}]).status_code == 204
    assert ids(stack, "u4") == {"a1", "a2", "b2"}


def record(stack: Stack, item: str) -> str:
    """A line for the import."""
    return f"{json.dumps(stack.item(item))}\n"


def ids(stack: Stack, user: str) -> set[str]:
    """What the user is served, by whichever nginx worker."""
    return {item["id"] for item in stack.feed(user)["items"]}
