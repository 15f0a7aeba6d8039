"""The load generators of make bench-edge send what they say, and hide neither waiting nor failures."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench import edge_wrk
from scripts.bench.edge_mixed import latencies
from scripts.stack_process import StackError
from tests.bench_server import Asked, asked

__all__ = ["asked"]  # a fixture

EVENT = re.compile(r'\{"event":"impression","item":"item-(\d+)","ts":\d{13},"position":\d+,"list":17\}')
USERS = 7


@pytest.fixture
def site(tmp_path: Path) -> dict[str, Any]:
    """Options of a site with USERS users and 40 new items from number 61 on."""
    (tmp_path / "tokens").write_text("".join(f"token-{user}\n" for user in range(USERS)))
    np.zeros(USERS, "<u4").tofile(tmp_path / "next")
    return {"users": tmp_path / "tokens", "next": tmp_path / "next", "first": 61, "items": 40, "beacons": 1,
            "others": 0, "events": 3, "ts": 1763740000123, "path": "/feed?n=20", "seconds": 0.3, "threads": 1,
            "full": 0}  # fmt: skip


def visits(asked: Asked, options: dict[str, Any]) -> edge_wrk.Report:
    return edge_wrk.run("visits.lua", f"http://127.0.0.1:{asked.port}/", 1, 4, int(options["threads"]), options)


def pairs(asked: Asked) -> list[tuple[str, int]]:
    """User and item of every event that arrived, each request checked to be whole."""
    found = []
    for path, token, body in asked.requests:
        assert path == "/beacon"
        events = json.loads(body)["events"]
        assert body == '{"events":[' + ",".join(match[0] for match in EVENT.finditer(body)) + "]}"
        found += [(token, int(event["item"].removeprefix("item-"))) for event in events]
    return found


def test_every_event_is_the_first_of_its_user_and_item(asked: Asked, site: dict[str, Any]) -> None:
    """Over two loads, the second with other threads; beacons stop when nobody has enough new items left."""
    first = visits(asked, {**site, "seconds": 0.02})
    assert first.beacons == first.answers == len(asked.requests) > 0
    assert np.fromfile(site["next"], "<u4").sum() == 3 * first.beacons
    second = visits(asked, {**site, "threads": 2, "seconds": 5})
    sent = pairs(asked)
    assert first.beacons + second.beacons == len(asked.requests) == USERS * (40 // 3)
    assert set(Counter(sent).values()) == {1}
    assert {item for _, item in sent} == set(range(61, 100))
    assert not first.faults
    assert not second.faults
    assert second.sending < 5


def test_beacons_and_pages_are_mixed_as_asked(asked: Asked, site: dict[str, Any]) -> None:
    report = visits(asked, {**site, "beacons": 4, "others": 1, "events": 1, "seconds": 0.05, "full": 1})
    paths = Counter(path for path, _, _ in asked.requests)
    assert paths["/beacon"] == report.beacons
    assert paths["/feed?n=20"] == report.others
    assert 0 <= report.beacons - 4 * report.others <= 4
    assert {token for _, token, _ in asked.requests} <= {f"token-{user}" for user in range(USERS)}


def test_bad_answers_are_counted(asked: Asked, site: dict[str, Any]) -> None:
    asked.status["POST"] = 503
    report = visits(asked, {**site, "seconds": 0.05})
    assert report.faults == {"status": report.beacons}


def test_wrk_that_fails_says_why(site: dict[str, Any], asked: Asked) -> None:
    with pytest.raises(StackError, match="exit code"):
        visits(asked, {**site, "users": "/does/not/exist"})


def open_loop(asked: Asked, site: dict[str, Any], **more: Any) -> Any:
    """Rows of due, sent, done, status and kind."""
    out = site["users"].with_name("rows")
    options = {**site, "beacons": 4, "others": 1, "events": 1, "seconds": 1, "rate": 200, "connections": 2,
               "port": asked.port, "out": out, **more}  # fmt: skip
    edge_wrk.execute("open_loop.lua", f"http://127.0.0.1:{asked.port}/", 1, 1, 1, options)
    return np.fromfile(out).reshape(-1, 5)


def test_the_open_loop_counts_the_waiting_of_requests_before_they_are_sent(asked: Asked, site: dict[str, Any]) -> None:
    """A server that stalls for 0.5 s holds both connections: those due meanwhile wait, too, and it shows."""
    asked.stall = 0.5
    rows = open_loop(asked, site)
    assert len(rows) == len(asked.requests) == 200
    assert Counter(rows[:, 4]) == {0.0: 160, 1.0: 40}
    assert set(rows[rows[:, 4] == 0, 3]) == {204.0}
    assert set(rows[rows[:, 4] == 1, 3]) == {200.0}
    due = rows[:, 0] - rows[0, 0]
    assert due == pytest.approx(np.arange(200) / 200, abs=1e-6)
    waited = (rows[:, 2] - rows[:, 0])[:100]
    assert np.all(waited[:100] >= 0.5 - due[:100] - 0.01)
    assert np.all(rows[:, 1] >= rows[:, 0])


def test_the_open_loop_counts_what_it_could_not_send(asked: Asked, site: dict[str, Any]) -> None:
    """A server that never answers in time: every request that was due is a row, lost."""
    asked.stall = 20
    rows = open_loop(asked, site, seconds=0.2, connections=1, patience=0.3)
    assert len(rows) == 40
    assert set(rows[:, 3]) == {0.0}
    assert latencies(rows, 0.0)["errors"] == 40


def test_many_connections_are_all_open_at_once_and_each_is_used(asked: Asked, site: dict[str, Any]) -> None:
    options = {**site, "beacons": 4, "others": 1, "events": 1, "connections": 40, "port": asked.port, "source": 2,
               "index": 1, "threads": 2}  # fmt: skip
    command = edge_wrk.command("open_many.lua", f"http://127.0.0.1:{asked.port}/", 1, 1, 1, options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        opened = json.loads(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
        used = json.loads(process.stdout.readline())
        process.stdin.write("\n")
    assert process.returncode == 0
    assert (opened["tried"], opened["open"], opened["answers"], opened["faults"]) == (40, 40, 40, 0)
    assert (used["open"], used["answers"], used["faults"]) == (40, 40, 0)
    assert Counter(path for path, _, _ in asked.requests) == {"/healthz": 40, "/beacon": 32, "/feed?n=20": 8}
    users = {token for _, token, _ in asked.requests} - {""}
    assert users <= {"token-3", "token-4", "token-5", "token-6"}
