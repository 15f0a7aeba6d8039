"""Physical lines of a stream, of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from worker.catalogue.item import ItemError

MAX_RECORD = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class Lines(Iterator[bytes]):
    """The lines of a stream without a byte order mark; ``number`` is that of the last one, from 1.

    A line longer than MAX_RECORD raises ItemError and is passed over; the next call goes on behind it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0

    def __next__(self) -> bytes:
        """The next line with its line end. Raises StopIteration at the end, ItemError for one that is too long."""
        line = self._stream.readline(MAX_RECORD + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_RECORD and not line.endswith(b"\n"):
            self._skip()
            raise ItemError(f"longer than {MAX_RECORD} bytes")
        return line.removeprefix(_BOM) if self.number == 1 else line

    def _skip(self) -> None:
        while rest := self._stream.readline(MAX_RECORD):
            if rest.endswith(b"\n"):
                return
