"""CSV with a header row of field names. ``data`` is a column of JSON, or columns ``data.title``, ``data.url`` …"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from worker.catalogue.item import FIELDS, REQUIRED, Item, ItemError, check, shown
from worker.catalogue.parse import decode
from worker.catalogue.text import Lines

_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_csv(stream: BinaryIO) -> Iterator[tuple[int, Item | ItemError]]:
    """Every row as (line it begins on, item or error); a header that cannot be used is one error and the end."""
    header: list[str] | None = None
    for line, row in _rows(Lines(stream)):
        if isinstance(row, ItemError):
            yield line, row
        elif header is None:
            header = row
            problem = _header_problem(header)
            if problem:
                yield line, ItemError(problem)
                return
        else:
            yield line, _item(header, row)


def _rows(lines: Lines) -> Iterator[tuple[int, list[str] | ItemError]]:
    """Rows that have any text, as cells; a row with a quoted line break is named by its first line."""
    # Bytes that are no UTF-8 pass through the CSV reader as surrogates, and are found in the cells.
    reader = csv.reader(map(_text, lines), strict=True)
    while True:
        first = lines.number + 1
        try:
            row = next(reader)
            if any(row):
                yield first, _checked(row)
        except ItemError as error:
            yield first, error
        except csv.Error as error:
            yield first, ItemError(f"not CSV: {error}{_span(first, lines.number)}")
        except StopIteration:
            return


def _span(first: int, last: int) -> str:
    return f"; a quote opened here was still open on line {last}, and nothing between was read" if last > first else ""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _checked(row: list[str]) -> list[str]:
    for cell in row:
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise ItemError("not valid UTF-8") from None
    return row


def _header_problem(header: list[str]) -> str:
    unknown = [name for name in header if name not in FIELDS and not re.fullmatch("data\\..+", name)]
    twice = {name for name in header if header.count(name) > 1}
    missing = [name for name in REQUIRED if name not in header]
    problems = [f"{shown(name)}: there is no such column" for name in unknown[:5]]
    problems += [f"{shown(name)}: given twice" for name in sorted(twice)]
    problems += [f"{name}: missing" for name in missing]
    if "data" in header and any(name.startswith("data.") for name in header):
        problems.append("data: either one column of JSON, or columns such as data.title")
    if not problems:
        return ""
    return f"the first row of CSV names the columns ({', '.join(FIELDS)} or data.…): {'; '.join(problems)}"


def _item(header: list[str], row: list[str]) -> Item | ItemError:
    if len(row) > len(header):
        return ItemError(f"{len(row)} cells, but the header has {len(header)} columns")
    record, problems = _record(header, row)
    try:
        item = check(record)
    except ItemError as error:
        return ItemError("; ".join([*problems, str(error)]))
    return ItemError(problems[0]) if problems else item


def _record(header: list[str], row: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The row's record as JSON values, and what could not be read; an empty cell is a field that is not given."""
    record: dict[str, Any] = {}
    problems: list[str] = []
    for name, cell in zip(header, row, strict=False):
        if not cell:
            continue
        if name.startswith("data."):
            record.setdefault("data", {})[name.removeprefix("data.")] = cell
        elif name == "data":
            try:
                record[name] = decode(cell.encode())
            except ItemError as error:
                problems.append(f"data: {error}")
        else:
            record[name] = _value(name, cell)
    return record, problems


def _value(name: str, cell: str) -> Any:
    if name == "social" and _WHOLE.fullmatch(cell):
        return int(cell)
    return _WORDS.get(cell.lower(), cell) if name == "hidden" else cell
