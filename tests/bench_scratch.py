"""What tests of benchmarks share: a place where a benchmark must leave nothing, and a look at what it left."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short path (sockets), where a benchmark must leave nothing."""
    folder = Path(tempfile.mkdtemp(prefix="nf-"))
    yield folder
    shutil.rmtree(folder)


def processes_of(folder: Path) -> list[str]:
    """Living processes that were started with ``folder`` as their directory for temporary files."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}\0".encode() in file.read_bytes():
                found.append(file.with_name("cmdline").read_text())
    return found
