"""A stack whose rendered configuration of nginx is changed by hand, for what no setting says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.edge.processes import children, main_pid
from tests.stack_fixture import PATIENCE_S, Stack


def change(stack: Stack, *replacements: tuple[str, str]) -> None:
    """Replace text in RUN/nginx/edge.conf or nginx.conf, and wait until only workers that read it are there."""
    found = 0
    for name in ("edge.conf", "nginx.conf"):
        path = stack.run / "nginx" / name
        text = path.read_text()
        for old, new in replacements:
            found += old in text
            text = text.replace(old, new)
        path.write_text(text)
    assert found == len(replacements), f"not all of these are in the configuration: {replacements}"
    master = main_pid(stack, "nginx")
    old_workers = set(children(master))
    stack.part("nginx").reload()
    stack.http.close()
    stack.http = type(stack.http)(base_url=stack.url, timeout=PATIENCE_S)
    stack.until(lambda: len(children(master)) == 2 and not old_workers & set(children(master)))
    stack.sync()


@contextmanager
def changed_stack(*replacements: tuple[str, str], **settings: Any) -> Iterator[Stack]:
    """A stack with such a configuration, for the tests of a file; each of them checks its log itself."""
    stack = Stack(**settings)
    try:
        stack.up()
        change(stack, *replacements)
        yield stack
    finally:
        stack.close()


def emptied(stack: Stack) -> Iterator[Stack]:
    """The stack without data, for one test, which must announce what it leaves in the error log."""
    stack.empty()
    yield stack
    assert stack.unexpected_log() == []
