"""Fixtures: the real stack in a temporary directory, stacks of one's own, and a real browser."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from scripts import stack_parts
from tests.stack_fixture import Stack

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

# How long an example takes says how busy the machine is; the stack is shared by all examples, knowingly.
settings.register_profile("nightfeed", deadline=None, suppress_health_check=[
    HealthCheck.too_slow, HealthCheck.function_scoped_fixture])  # fmt: skip
settings.load_profile("nightfeed")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Files are made as `make up` and `make demo` make them. Without the programs under test there is nothing to test:
    that is a failure, not a skip."""
    os.umask(0o027)
    missing = [name for name, found in (
        ("redis-server", shutil.which("redis-server", path=stack_parts.SEARCH)),
        ("nginx or openresty", shutil.which("nginx", path=stack_parts.SEARCH)
         or shutil.which("openresty", path=stack_parts.SEARCH)),
    ) if not found]  # fmt: skip
    if missing:
        pytest.exit(f"not installed: {', '.join(missing)}; `make test` installs what the tests need", returncode=1)


@pytest.fixture(scope="session")
def _session_stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        yield stack.up()
    finally:
        stack.close()


@pytest.fixture
def stack(_session_stack: Stack) -> Iterator[Stack]:
    """The session's stack: everything runs, and there is no data in it. Its error log must stay clean."""
    _session_stack.heal()
    _session_stack.empty()
    yield _session_stack
    _check_logs([_session_stack])


@pytest.fixture
def fresh_stack() -> Iterator[Callable[..., Stack]]:
    """Makes stacks of a test's own: ``fresh_stack(gap=0)`` starts one with that setting; all end with the test."""
    made: list[Stack] = []

    def make(start: bool = True, **settings: Any) -> Stack:
        made.append(Stack(**settings))
        return made[-1].up() if start else made[-1]

    make.made = made  # type: ignore[attr-defined]
    yield make
    # Before they are closed, which removes the logs.
    unexpected = [line for stack in made for line in stack.unexpected_log()]
    for stack in made:
        stack.close()
    _fail_for(unexpected)


def _check_logs(stacks: list[Stack]) -> None:
    """No test leaves a line of level warn or worse in an edge's error log, except those it announced."""
    _fail_for([line for stack in stacks for line in stack.unexpected_log()])


def _fail_for(unexpected: list[str]) -> None:
    if unexpected:
        pytest.fail("the edge's error log has lines that this test did not announce:\n" + "\n".join(unexpected))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the last lines of its stacks' logs."""
    report = yield
    if report.when == "call" and report.failed:
        used = getattr(item, "funcargs", {})
        stacks = [used[name] for name in ("stack",) if name in used]
        stacks += getattr(used.get("fresh_stack"), "made", [])
        report.sections += [(f"logs of {stack.run}", stack.log_tails()) for stack in stacks]
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real, headless Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail("no Chromium is installed; `make test` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGS)
        yield browser
        browser.close()
