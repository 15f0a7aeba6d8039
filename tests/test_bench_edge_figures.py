"""What make bench-edge makes of what it measured: known answers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import edge_load, edge_open, edge_profile, edge_server, edge_usage, edge_wrk
from scripts.bench.edge import verdict
from scripts.bench.edge_load import Load
from scripts.bench.edge_mixed import latencies
from scripts.bench.edge_page import Page
from scripts.bench.edge_usage import Usage
from scripts.stack_process import StackError

REPORT = ('{"answers":9,"seconds":1.5,"beacons":6,"others":4,"sending":1.0,"preparing":0.25,'
          '"connect":0,"read":1,"write":0,"timeout":0,"status":2}')  # fmt: skip


# --- counting -------------------------------------------------------------------------------------------------------


def test_a_failed_request_or_a_lost_event_makes_the_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    good = {"errors": 0, "complaints": [], "beacon20": {"all_found": True}}
    assert verdict(good) == 0
    assert verdict({"errors": 0, "complaints": []}) == 0
    assert verdict({**good, "errors": 2, "complaints": ["[warn] Redis is slow"]}) == 1
    assert "2 requests failed" in (said := capsys.readouterr().err)
    assert "Redis is slow" in said
    assert verdict({**good, "beacon20": {"all_found": False, "acknowledged": 40, "counted": 39}}) == 1
    assert "40 events were acknowledged and 39 counted" in capsys.readouterr().err


def test_the_report_of_wrk_is_found_among_what_it_prints() -> None:
    report = edge_wrk.parse(f"Running 1s test\n  2 threads\n\n{REPORT}\n", Usage(1.0, 2.0, 3))
    assert report.usage == Usage(0.75, 2.0, 3)
    assert (report.answers, report.requests, report.seconds, report.sending) == (9, 10, 1.5, 1.0)
    assert report.faults == {"read": 1, "status": 2}
    with pytest.raises(StackError, match="wrk reported nothing; it printed: unable to connect"):
        edge_wrk.parse("unable to connect\n", Usage())


def test_statuses_that_the_edge_counted_are_faults_by_name_and_none_counts_twice() -> None:
    before = {("beacon", 204): 10, ("beacon", 503): 1, ("feed", 200): 5}
    after = {("beacon", 204): 15, ("beacon", 503): 4, ("feed", 200): 5, ("beacon", 200): 2}
    grown = edge_load.growth(before, after)
    assert grown == {("beacon", 204): 5, ("beacon", 503): 3, ("beacon", 200): 2}
    assert edge_load.named({"status": 3}, grown) == {"beacon 200": 2, "beacon 503": 3}
    found = edge_load.named({"status": 4, "read": 1}, grown)
    assert found == {"status": 1, "read": 1, "beacon 200": 2, "beacon 503": 3}


def test_the_summary_has_medians_of_rates_and_sums_of_counts() -> None:
    report = edge_wrk.parse(REPORT, Usage())
    load = Load(100, 2.0, {"read": 1}, 0, {"nginx": {"us": 1.0}}, 0.5, report)
    slow = dataclasses.replace(load, count=20, cost={"nginx": {"us": 9.0}}, faults={})
    fast = dataclasses.replace(load, count=400, other_work_cores=0.0)
    found = edge_load.summary([slow, fast, load])
    assert found["requests_per_second"] == 50
    assert found["repeats"] == [10, 200, 50]
    assert (found["requests"], found["errors"], found["faults"]) == (520, 2, {"read": 2})
    assert found["cost_per_request"] == {"nginx": {"us": 1.0}}
    assert found["other_work_cores"] == [0.5, 0.0, 0.5]


# --- measuring ------------------------------------------------------------------------------------------------------


def test_percentiles_are_from_when_requests_were_due() -> None:
    """1,000 requests a millisecond apart, answered after 1 ms, 2 ms, … 1,000 ms; the first 0.5 s are left out."""
    number = np.arange(1000)
    due = 7 + number / 1000
    rows = np.stack([due, due + 0.0005, due + (number + 1) / 1000, np.full(1000, 204), np.zeros(1000)], axis=1)
    rows[3, 3] = 503
    found = latencies(rows, 0.4995)
    assert (found["requests"], found["errors"]) == (500, 1)
    assert found["p50_ms"] == pytest.approx(750.5)
    assert found["p99_ms"] == pytest.approx(995.01)
    assert found["p999_ms"] == pytest.approx(999.501)
    assert found["max_ms"] == 1000.0
    assert found["sent_late_p99_ms"] == 0.5
    assert found["by_kind"]["feed"] == {"p50_ms": 0.0, "p99_ms": 0.0, "p999_ms": 0.0, "max_ms": 0.0}


def test_a_page_answered_as_a_beacon_is_an_error() -> None:
    answers = [(204, 1), (200, 0), (200, 1), (204, 0)]
    rows = np.array([[0.0, 0.0, 0.1, status, kind] for status, kind in answers])
    assert latencies(rows, 0.0)["errors"] == 2
    assert latencies(rows[:0], 0.0)["requests"] == 0


def test_usage_is_read_whatever_a_process_is_called() -> None:
    fields = " ".join(["S", *map(str, range(4, 14)), "250", "50", "9", "9"])
    assert edge_usage.parsed_stat(f"77 (a) name (b)) {fields}\n") == (250 * edge_usage.TICK, 50 * edge_usage.TICK)
    assert Usage(0.5, 0.25, 10).each(1000) == {"us": 750.0, "user_us": 500.0, "system_us": 250.0, "switches": 0.01}
    assert Usage(3, 2, 5) - Usage(1, 1, 1) + Usage(0, 0, 1) == Usage(2, 1, 5)


def test_usage_and_memory_of_a_process_and_its_children_grow_with_what_they_do() -> None:
    code = "import sys; block = bytearray(b'x' * 30_000_000); n = sum(range(2_000_000)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert edge_usage.of_family(process.pid).user > 0
        assert edge_usage.of_family(process.pid).switches > 0
        assert edge_usage.private_bytes([process.pid]) > 30_000_000
        process.communicate(b"\n")
    assert edge_usage.of([process.pid]) == Usage()
    assert edge_usage.private_bytes([process.pid]) == 0


def test_what_perf_counted_is_divided_by_the_requests() -> None:
    text = ("# started on Sat Nov 21 2026\n\n5000,,instructions:u,1000,100.00,,\n"
            "<not supported>,,instructions:k,0,100.00,,\n42,,raw_syscalls:sys_enter,1000,100.00,,\n")  # fmt: skip
    assert edge_profile.per_request(text, 10) == {"instructions_user": 500.0, "instructions_kernel": None,
                                                  "syscalls": 4.2}
    assert edge_profile.per_request("", 10) == dict.fromkeys(("instructions_user", "instructions_kernel", "syscalls"))


# --- the server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("connections", "hard", "expected"), [
    (50_000, 1_048_576, (70_000, 1)),  # one worker has room
    (50_000, 20_000, (9_000, 8)),  # 70,000 places, and 9,000 a worker
    (100, 20_000, (512, 1)),
])  # fmt: skip
def test_workers_have_room_for_all_connections(connections: int, hard: int, expected: tuple[int, int]) -> None:
    each, workers = edge_open.room(connections, hard)
    assert (each, workers) == expected
    assert 2 * each + 2000 <= hard


def test_connections_that_are_missing_are_errors() -> None:
    opened = {"tried": 98, "open": 98, "answers": 98, "faults": 0, "p50_ms": 1.0, "p99_ms": 2.0, "max_ms": 3.0}
    used = {**opened, "open": 97, "answers": 97, "faults": 1}
    found = edge_open.result(100, opened, used, 9800, 19600)
    assert (found["open"], found["lost"], found["errors"], found["answers"]) == (97, 3, 3, 195)
    assert (found["nginx_bytes_per_connection"], found["nginx_bytes_per_connection_used"]) == (100, 200)


def test_the_fixed_body_is_as_long_as_the_page_and_means_nothing_to_nginx() -> None:
    body = '{"a":"$x\\\\ grün\n"}' * 400
    assert len(edge_server.plain(body)) == len(body.encode())
    assert not set(edge_server.plain(body)) & set('"$\\\n')
    page = Page(body, "application/json", (("Cache-Control", "private"),))
    text = edge_server.configuration(page, 8123, 8124, Path("/run/page"))
    assert "listen 127.0.0.1:8123" in text
    assert "listen 127.0.0.1:8124" in text
    assert "alias /run/page;" in text
    assert text.count('add_header Cache-Control "private";') == 2
    assert max(map(len, text.split('"'))) <= 4000
