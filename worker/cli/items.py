"""``worker items``: the catalogue from files, and one item at a time."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, BinaryIO, cast

import click
import orjson

from worker.catalogue import FORMATS, detect, read
from worker.store.connect import open_store
from worker.store.imports import Imported, put_lines
from worker.store.item_pages import page
from worker.store.items import get_many, remove, set_hidden

SHOWN_ERRORS = 100
PAGE = 500
BAR_FROM = 1_000_000  # bytes: a smaller file is in before a bar could be drawn


@click.group(help="The catalogue: import, list, show, hide, unhide, remove.")
def command() -> None:
    """The group."""


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "form", type=click.Choice(FORMATS), help="By default the file's name or first byte says it.")
@click.option("--all-errors", is_flag=True, help=f"Name every bad line, not the first {SHOWN_ERRORS} only.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def import_(file: BinaryIO, form: str | None, all_errors: bool, as_json: bool) -> None:
    """Put items from FILE (or - for standard input), NDJSON or CSV, into the catalogue.

    Good lines are imported, bad ones are named by number. A record replaces the whole item, `hidden` included.
    Exit 0 when every line was imported, 1 when some were refused.
    """
    stream = io.BufferedReader(cast(io.RawIOBase, file)) if not hasattr(file, "peek") else file
    form = form or detect(file.name, cast(io.BufferedReader, stream).peek(256))
    with _Progress(stream) as watched:
        result = put_lines(open_store(), read(cast(BinaryIO, watched), form), None if all_errors else SHOWN_ERRORS)
    _report(result, as_json)
    if result.refused:
        sys.exit(1)


def _report(result: Imported, as_json: bool) -> None:
    if as_json:
        errors = [{"line": line, "error": error} for line, error in result.errors]
        _print_json({"imported": result.imported, "refused": result.refused, "errors": errors})
        return
    for line, error in result.errors:
        click.echo(f"line {line}: {error}", err=True)
    hidden = result.refused - len(result.errors)
    if hidden:
        click.echo(f"and {hidden} more bad lines (--all-errors names them)", err=True)
    click.echo(f"imported {result.imported}, refused {result.refused}")


class _Progress:
    """A stream whose reading moves a bar on the terminal; without a terminal or a size, the stream alone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        size = _size(self._stream)
        if size > BAR_FROM and sys.stderr.isatty():
            self._bar = click.progressbar(length=size, label="items", file=sys.stderr, update_min_steps=size // 200)
            self._bar.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._bar is not None:
            self._bar.update_min_steps = 1  # the last bytes are fewer than a step
            self._bar.update(0)
            self._bar.__exit__(*failure)

    def readline(self, limit: int) -> bytes:
        """The stream's next line, or so many bytes of it."""
        line: bytes = self._stream.readline(limit)
        if self._bar is not None:
            self._bar.update(len(line))
        return line


def _size(stream: Any) -> int:
    """Bytes of a regular file; 0 for a pipe or a terminal."""
    try:
        return os.fstat(stream.fileno()).st_size
    except (OSError, AttributeError):
        return 0


@command.command("list")
@click.option("--category", help="Only items of this category.")
@click.option("--kind", type=click.Choice(["evergreen", "timely"]), help="Only items of this kind.")
@click.option("--hidden", is_flag=True, help="Only hidden items.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="At most so many; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="One full record a line, which `items import` takes back.")
def list_(category: str | None, kind: str | None, hidden: bool, limit: int, as_json: bool) -> None:
    """Items in the order in which they were first put."""
    store, after, left = open_store(), 0, limit or sys.maxsize
    while left:
        records, more = page(store, after, min(left, PAGE), category, kind, hidden or None)
        for record in records:
            _print_json(record) if as_json else click.echo(_line(record))
        left -= len(records)
        if more is None:
            return
        after = more


def _line(record: dict[str, Any]) -> str:
    marks = ["hidden"] if record["hidden"] else []
    marks += [f"until {record['expires_at']}"] if record["expires_at"] else []
    columns = (record["posted_at"], f"{record['kind']:9}", f"{record['category']:16}", record["id"], ", ".join(marks))
    return "  ".join(columns).rstrip()


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="One record a line.")
def show(ids: tuple[str, ...], as_json: bool) -> None:
    """Full records. Exit 1 when an id is not in the catalogue."""
    found = get_many(open_store(), ids)
    for item_id in ids:
        if item_id in found:
            _print_json(found[item_id], 0 if as_json else orjson.OPT_INDENT_2)
    _name_unknown([item_id for item_id in ids if item_id not in found])


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def hide(ids: tuple[str, ...], as_json: bool) -> None:
    """Take items out of every feed, until `unhide` or until they are put again without `hidden`."""
    _finish("hidden", ids, set_hidden(open_store(), ids, True), as_json)


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def unhide(ids: tuple[str, ...], as_json: bool) -> None:
    """Show hidden items again."""
    _finish("unhidden", ids, set_hidden(open_store(), ids, False), as_json)


@command.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def remove_(ids: tuple[str, ...], as_json: bool) -> None:
    """Take items out of the catalogue. One that comes back is still known as seen."""
    _finish("removed", ids, remove(open_store(), ids), as_json)


def _finish(done: str, ids: tuple[str, ...], unknown: list[str], as_json: bool) -> None:
    count = len(set(ids)) - len(set(unknown))
    if as_json:
        _print_json({done: count, "unknown": unknown})
    else:
        click.echo(f"{done} {count}")
    _name_unknown(unknown)


def _name_unknown(ids: list[str]) -> None:
    for item_id in ids:
        click.echo(f"worker: there is no item {item_id!r} in the catalogue", err=True)
    if ids:
        sys.exit(1)


def _print_json(value: Any, option: int = 0) -> None:
    click.echo(orjson.dumps(value, option=option).decode())
