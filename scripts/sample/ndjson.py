"""NDJSON, one JSON object a line: reading with line numbers in the errors, and writing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import orjson


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file.

    Raises:
        ValueError: a line is not JSON (says which), or the file has no lines.
    """
    found = []
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            found.append(orjson.loads(text))
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
    if not found:
        raise ValueError(f"{path} is empty: one JSON object a line is expected")
    return found


def write(file: BinaryIO, records: Iterable[dict[str, Any]]) -> None:
    """Writes ``records`` to an open binary file."""
    file.writelines(orjson.dumps(record) + b"\n" for record in records)


def save(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes ``records`` to the file at ``path``, in place of what was there."""
    with path.open("wb") as file:
        write(file, records)
