"""What the fuzzers share: how many examples, what an answer must look like, and that no process died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.security.wire import Answer
from tests.stack_fixture import Stack

FULL = os.environ.get("NIGHTFEED_FAULTS") == "full"
# Refusals of nginx's own that stand in the 500s although the request is at fault: transfer encoding, HTTP version.
CLIENTS_FAULT = {501: "this transfer encoding is not supported", 505: "this version of HTTP is not supported"}


def examples(short: int, full: int) -> settings:
    """How many examples are tried in the short form and in the full one."""
    return settings(max_examples=full if FULL else short, print_blob=True,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


def pids(stack: Stack) -> dict[str, set[int]]:
    """Each part's main process and its children."""
    found = {}
    for part in stack.parts():
        pid = part.pid()
        assert pid is not None, f"{part.name} does not run"
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            found[part.name] = {pid, *map(int, children.read().split())}
    return found


@contextmanager
def nothing_dies(stack: Stack) -> Iterator[None]:
    """The processes of the stack are the same ones afterwards."""
    before = pids(stack)
    yield
    assert pids(stack) == before, "a process died, or was started again"


def check_answer(answer: Answer, sent: object = None) -> None:
    """Below 500, and every error is JSON that says what is wrong."""
    if answer.status in CLIENTS_FAULT:
        assert CLIENTS_FAULT[answer.status] in answer.json()["error"], sent
    else:
        assert answer.status < 500, (answer, sent)
    if answer.status >= 400 and answer.body:
        assert answer.one("content-type") == "application/json", (answer, sent)
        assert isinstance(answer.json()["error"], str), (answer, sent)


# What JSON itself can say: no NaN, no half of a surrogate pair, not nested beyond what is read.
words = st.text(st.characters(codec="utf-8"), max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=6,
)
# Numbers at which something may break: widths of integers, sizes of tables, signs, and what a double cannot hold.
EDGES = [0, 1, 2, 19, 20, 21, 31, 32, 33, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**29 - 1, 2**29, 2**31 - 1,
         2**31, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63, 2**64, 10**30]  # fmt: skip
