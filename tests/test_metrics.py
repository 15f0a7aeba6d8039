"""What the edge says about itself: /metrics, and two logs that name nobody and stay small."""

from __future__ import annotations

import json
import re
import signal
import time

import httpx

from tests.stack_fixture import REDIS_AWAY, Stack


def impression(item: str) -> dict[str, str]:
    return {"event": "impression", "item": item}


def metrics(stack: Stack) -> dict[str, float]:
    """Each sample by name and labels; checks the text format on the way."""
    answer = stack.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, float] = {}
    described: set[str] = set()
    typed: set[str] = set()
    for line in answer.text.splitlines():
        if match := re.fullmatch(r"# (HELP|TYPE) ([a-z_]+) (.+)", line):
            (described if match[1] == "HELP" else typed).add(match[2])
            continue
        match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z]+="[^"\\]*",?)+\})? (\d+(?:\.\d+)?)', line)
        assert match, line
        assert re.sub(r"_(bucket|sum|count)$", "", match[1]) in described | {match[1]} & described, line
        samples[match[1] + (match[2] or "")] = float(match[3])
    assert described == typed
    return samples


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def test_metrics_count_events_by_kind_and_outcome(stack: Stack) -> None:
    """Stored, and rejected by reason; repeats; answers by route and status; drops by reason."""
    stack.import_items([stack.item("a1")])
    before = metrics(stack)
    stack.beacon("u1", [impression("a1"), impression("a1"), impression("zz"), {"event": "wave"},
                        {"event": "click", "item": "a1"}])
    stack.http.post("/beacon", content="nonsense")
    stack.http.get("/pixel.gif?item=zz")
    stack.http.get("/nothing")
    expected: dict[str, float | None] = {
        'nightfeed_events_total{event="impression",outcome="stored"}': 2,
        'nightfeed_events_total{event="impression",outcome="unknown_item"}': 2,
        'nightfeed_events_total{event="unknown",outcome="event"}': 1,
        'nightfeed_events_total{event="click",outcome="stored"}': 1,
        "nightfeed_impressions_total": 1,
        "nightfeed_clicks_total": 1,
        "nightfeed_repeat_impressions_total": 1,
        'nightfeed_requests_total{route="beacon",status="200"}': 1,
        'nightfeed_requests_total{route="beacon",status="400"}': 1,
        'nightfeed_requests_total{route="pixel",status="422"}': 1,
        'nightfeed_requests_total{route="other",status="404"}': 1,
        'nightfeed_dropped_beacons_total{reason="malformed"}': 1,
        'nightfeed_dropped_beacons_total{reason="invalid"}': 1,
        'nightfeed_request_seconds_count{route="beacon"}': 2,
        'nightfeed_request_seconds_bucket{route="beacon",le="+Inf"}': 2,
    }

    def found() -> dict[str, float | None]:
        more = grown(before, metrics(stack))
        return {name: more.get(name) for name in expected}

    stack.settles(found, expected)


def test_buckets_of_a_histogram_add_up(stack: Stack) -> None:
    """Cumulative, and the last one is the count."""
    stack.http.post("/beacon", content="nonsense")
    samples = metrics(stack)
    for route in ("beacon", "feed", "pixel"):
        name = f'nightfeed_request_seconds_bucket{{route="{route}",le='
        values = [value for key, value in samples.items() if key.startswith(name)]
        assert values == sorted(values)
        assert values[-1] == samples[f'nightfeed_request_seconds_count{{route="{route}"}}']


def test_metrics_tell_the_generation_and_its_age(stack: Stack) -> None:
    """So that an alert can watch it."""
    stack.import_items([stack.item("a1")])
    stack.worker("nightly")
    samples = stack.until(lambda: (m := metrics(stack)).get("nightfeed_generation") and m)
    assert samples["nightfeed_generation"] >= 1
    assert 0 <= samples["nightfeed_list_age_seconds"] < 600


def test_a_store_that_fails_is_counted_as_unstored_events(stack: Stack) -> None:
    """Every drop is counted with its reason."""
    stack.expect_log(REDIS_AWAY)
    before = metrics(stack)
    stack.signal("redis", signal.SIGSTOP)
    stack.beacon("u1", [{"event": "search", "query": "x"}])
    stack.signal("redis", signal.SIGCONT)
    stack.settles(lambda: grown(before, metrics(stack)).get('nightfeed_dropped_beacons_total{reason="store"}'), 1)
    more = grown(before, metrics(stack))
    assert more['nightfeed_events_total{event="search",outcome="unstored"}'] == 1
    assert more["nightfeed_store_failures_total"] >= 1


def test_metrics_are_for_the_host_itself(stack: Stack) -> None:
    """Another address gets 403, whatever it claims in headers."""
    stack.expect_log("access forbidden by rule")
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=transport, base_url=stack.url) as stranger:
        claims = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Host": "localhost"}
        answer = stranger.get("/metrics", headers=claims)
    assert answer.status_code == 403
    assert "127.0.0.1" in answer.json()["error"]


def access_log(stack: Stack) -> list[str]:
    return (stack.run / "log/nginx-access.log").read_text().splitlines()


def test_the_access_log_names_nobody(stack: Stack) -> None:
    """JSON with route, method, status, size and time; no user, address, item, query or token."""
    start = len(access_log(stack))
    token = stack.token("visible-user")
    stack.http.get("/feed?n=3&cursor=visible-cursor", headers={"Authorization": f"Bearer {token}"})
    stack.http.get("/pixel.gif?item=visible-item", headers={"Cookie": f"__Host-nightfeed={token}"})
    stack.http.get("/api/users/visible-user", headers={"Referer": "http://visible.example/"})
    stack.http.delete("/visible-path", headers={"User-Agent": "visible-agent"})
    wanted = {("GET", "feed"), ("GET", "pixel"), ("GET", "api"), ("DELETE", "other")}

    def written() -> list[str]:
        """The log's new lines once the four are among them: each worker writes its own by the second, earlier
        tests' requests too."""
        lines = access_log(stack)[start:]
        found = {(row["method"], row["route"]) for row in map(json.loads, lines)}
        return lines if found >= wanted else []

    lines = stack.until(written)
    assert not [line for line in lines if "visible" in line or "127.0.0.1" in line or "v1." in line]
    assert all(set(json.loads(line)) == {"time", "method", "route", "status", "bytes", "seconds"} for line in lines)


def test_a_redis_that_is_down_does_not_fill_the_error_log(stack: Stack) -> None:
    """A few lines a second, however many requests fail."""
    stack.expect_log(REDIS_AWAY)
    log = stack.run / "log/nginx-error.log"
    stack.signal("redis", signal.SIGKILL)
    stack.until(lambda: stack.part("redis").pid() is None)
    lines, start = len(log.read_text().splitlines()), time.monotonic()
    for _ in range(400):
        assert stack.beacon("u1", [{"event": "search", "query": "x"}]).status_code == 503
    more = len(log.read_text().splitlines()) - lines
    # Each of the two workers may say it once a second and nginx twice, and each follows Redis in the background.
    assert more <= 2 * 6 * (time.monotonic() - start + 2)
    stack.script("up")
    stack.until(lambda: stack.beacon("u1", [{"event": "search", "query": "x"}]).status_code == 204)
