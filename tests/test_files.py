"""The client script and the demo page: types, caching and policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack_fixture import Stack


def test_the_script_is_cached_shortly_and_revalidated_cheaply(stack: Stack) -> None:
    """Five minutes, then an ETag; compressed for who takes it."""
    answer = stack.http.get("/beacon.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-encoding"] == "gzip"
    again = stack.http.get("/beacon.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.fixture
def demo_files(stack: Stack) -> Iterator[Path]:
    """What the demo's generator puts into the run directory."""
    folder = stack.run / "demo"
    (folder / "pictures").mkdir(mode=0o700, exist_ok=True)
    (folder / "pictures/p-1.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "pictures/p-1.txt").write_text("no picture")
    (folder / "people.json").write_text('{"people": []}')
    yield folder
    for path in (folder / "pictures/p-1.svg", folder / "pictures/p-1.txt", folder / "people.json"):
        path.unlink()


def test_the_demo_page_may_only_load_from_here(stack: Stack, demo_files: Path) -> None:
    """Its policy, types and caching."""
    page = stack.http.get("/demo?as=u1")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert stack.http.get("/demo/").headers["location"] == "/demo"
    people = stack.http.get("/demo/people.json")
    assert (people.json(), people.headers["cache-control"]) == ({"people": []}, "no-store")
    picture = stack.http.get("/demo/pictures/p-1.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["content-security-policy"].startswith("default-src 'none'")
    assert stack.http.get("/demo/pictures/p-1.txt").status_code == 404
