"""``worker items`` on a real store: what goes in comes out, bad lines are named, and numbers never change."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.item_records import FULL
from tests.stack_fixture import WORKER, Stack


def lines(records: Iterable[dict[str, Any]]) -> str:
    """Records as NDJSON."""
    return "".join(json.dumps(record) + "\n" for record in records)


def ids(stack: Stack, *options: str) -> list[str]:
    """Ids that `items list` gives with these options."""
    return [json.loads(line)["id"] for line in stack.worker("items", "list", "--json", *options).stdout.splitlines()]


def shown(stack: Stack, item_id: str) -> dict[str, Any]:
    """The record that `items show` gives."""
    record: dict[str, Any] = json.loads(stack.worker("items", "show", "--json", item_id).stdout)
    return record


def written(terminal: int) -> bytes:
    """What was written to a pseudo-terminal whose other end is closed: its end is an error."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 65_536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts)


# --- import ---------------------------------------------------------------------------------------------------------


def test_what_was_imported_is_shown_again_field_by_field(stack: Stack) -> None:
    """Every field at its limit comes back as it was; a second import of the same changes nothing."""
    for _ in range(2):
        done = stack.worker("items", "import", "-", input=lines([FULL]))
        assert done.stdout == "imported 1, refused 0\n"
        assert done.stderr == ""
        assert shown(stack, "a1") == FULL
    assert stack.redis.hlen("ids:{c}") == 1


def test_an_import_replaces_the_whole_item(stack: Stack) -> None:
    """A field that the new record does not give is back at its default, `hidden` included."""
    stack.worker("items", "import", "-", input=lines([FULL]))
    stack.worker("items", "import", "-", input=lines([{name: FULL[name] for name in list(FULL)[:4]}]))
    assert shown(stack, "a1") == {**FULL, "social": 0, "expires_at": None, "hidden": False, "data": {}}


def test_the_last_line_of_an_id_wins(stack: Stack) -> None:
    """Also within one batch: one number, one record."""
    stack.worker("items", "import", "-", input=lines([{**FULL, "category": "old"}, {**FULL, "category": "new"}]))
    assert shown(stack, "a1")["category"] == "new"
    assert stack.redis.strlen("meta:{c}") == 16


def test_bad_lines_are_named_on_stderr_and_the_good_ones_imported(stack: Stack) -> None:
    """Exit 1 says that something is missing; the summary is the last line of standard output."""
    text = lines([stack.item("a")]) + "\nnonsense\n" + lines([stack.item("b", kind="x"), stack.item("c")])
    done = stack.worker("items", "import", "-", input=text, check=False)
    assert done.returncode == 1
    assert done.stdout == "imported 2, refused 2\n"
    assert done.stderr.splitlines()[0].startswith("line 3: not JSON: ")
    assert done.stderr.splitlines()[1] == "line 4: kind: must be evergreen or timely, not 'x'"
    assert ids(stack) == ["a", "c"]


def test_machines_get_one_json_object(stack: Stack) -> None:
    """Counts and errors by line."""
    done = stack.worker("items", "import", "-", "--json", input="[]\n" + lines([stack.item("a")]), check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "imported": 1, "refused": 1, "errors": [{"line": 1, "error": "a record is a JSON object, not a list"}]}


def test_only_the_first_hundred_bad_lines_are_named_unless_all_are_wanted(stack: Stack) -> None:
    """The count is always right."""
    text = "x\n" * 250
    short = stack.worker("items", "import", "-", "--format", "ndjson", input=text, check=False)
    assert short.stderr.splitlines()[99].startswith("line 100: ")
    assert short.stderr.splitlines()[100:] == ["and 150 more bad lines (--all-errors names them)"]
    assert short.stdout == "imported 0, refused 250\n"
    full = stack.worker("items", "import", "-", "--format", "ndjson", "--all-errors", input=text, check=False)
    assert len(full.stderr.splitlines()) == 250


def test_csv_and_ndjson_files_give_the_same_catalogue(stack: Stack, tmp_path: Path) -> None:
    """By name, or by the first byte of standard input."""
    table = ("id,category,kind,posted_at,social,expires_at,hidden,data\n"
             'a1,cooking,timely,2026-11-20T08:00:00Z,4294967295,2106-02-07T06:28:15Z,true,'
             f'"{json.dumps(FULL["data"]).replace(chr(34), chr(34) * 2)}"\n')
    (tmp_path / "x.csv").write_text(table)
    for source, text in ((str(tmp_path / "x.csv"), None), ("-", table), ("-", lines([FULL]))):
        stack.empty()
        stack.worker("items", "import", source, input=text)
        assert shown(stack, "a1") == FULL


def test_a_large_file_moves_a_bar_on_a_terminal_and_nowhere_else(stack: Stack) -> None:
    """The bar is on standard error; standard output has the summary alone."""
    text = {"text": "x" * 1000}
    path = stack.run / "large.ndjson"
    path.write_text(lines(stack.item(f"i{n}", data=text) for n in range(1200)))
    terminal, end = pty.openpty()
    done = subprocess.run([WORKER, "items", "import", path], env={**stack.environ(), "TERM": "xterm"}, stderr=end,
                          stdout=subprocess.PIPE, check=True)
    os.close(end)
    assert done.stdout == b"imported 1200, refused 0\n"
    assert b"100%" in written(terminal)
    assert stack.worker("items", "import", str(path)).stderr == ""


def test_wrong_use_is_exit_2_and_a_missing_file_says_so(stack: Stack) -> None:
    """Usage errors are not import errors."""
    for args in (["import"], ["import", "/nonexistent"], ["import", "-", "--format", "xml"], ["hide"],
                 ["list", "--kind", "x"]):
        done = stack.worker("items", *args, input="", check=False)
        assert done.returncode == 2, args
        assert "Usage:" in done.stderr


def test_without_redis_the_message_says_what_to_do(stack: Stack) -> None:
    """Exit 1, no trace."""
    done = stack.worker("items", "list", check=False, env={"NIGHTFEED_RUN": str(stack.run / "nowhere")})
    assert done.returncode == 1
    assert "make up" in done.stderr
    assert "Traceback" not in done.stderr


# --- list, hide, remove ---------------------------------------------------------------------------------------------


def test_a_listing_is_filtered_and_limited(stack: Stack) -> None:
    """By category, kind and being hidden, also together; nobody's category gives nothing."""
    stack.import_items([
        stack.item("a", category="x"), stack.item("b", category="y", kind="timely"),
        stack.item("c", category="x", kind="timely"), stack.item("d", category="x", hidden=True),
    ])
    assert ids(stack) == ["a", "b", "c", "d"]
    assert ids(stack, "--category", "x") == ["a", "c", "d"]
    assert ids(stack, "--kind", "timely") == ["b", "c"]
    assert ids(stack, "--hidden") == ["d"]
    assert ids(stack, "--category", "x", "--kind", "timely") == ["c"]
    assert ids(stack, "--category", "nobody's") == []
    assert ids(stack, "--limit", "2") == ["a", "b"]
    text = stack.worker("items", "list").stdout.splitlines()
    assert len(text) == 4
    assert text[3].endswith("d  hidden")


def test_a_listing_taken_back_is_the_same_catalogue(stack: Stack) -> None:
    """`items list --json --limit 0` is a copy of the catalogue."""
    stack.import_items([FULL, stack.item("b"), stack.item("c", expires_at="2030-01-01T00:00:00Z")])
    copy = stack.worker("items", "list", "--json", "--limit", "0").stdout
    stack.empty()
    stack.worker("items", "import", "-", input=copy)
    assert stack.worker("items", "list", "--json", "--limit", "0").stdout == copy


def test_hide_and_unhide_change_nothing_else(stack: Stack) -> None:
    """The record, its number and its times stay."""
    stack.import_items([{**FULL, "hidden": False}])
    for command, hidden in (("hide", True), ("hide", True), ("unhide", False)):
        done = stack.worker("items", command, "a1")
        assert done.stdout == ("hidden 1\n" if hidden else "unhidden 1\n")
        assert shown(stack, "a1") == {**FULL, "hidden": hidden}


def test_ids_that_are_not_there_are_named_and_the_others_done(stack: Stack) -> None:
    """Exit 1, for show, hide and remove alike."""
    stack.import_items([stack.item("a"), stack.item("b")])
    for command in ("show", "hide", "unhide", "remove"):
        done = stack.worker("items", command, "a", "nope", "b", check=False)
        assert done.returncode == 1
        assert done.stderr == "worker: there is no item 'nope' in the catalogue\n"
    assert ids(stack) == []
    done = stack.worker("items", "remove", "a", "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"removed": 0, "unknown": ["a"]}


def test_the_edge_stops_serving_what_is_hidden_or_removed(stack: Stack) -> None:
    """Hidden, removed, and shown again, each within the time it takes to notice."""
    now = stack.item("n")["posted_at"]
    stack.import_items([stack.item(name, posted_at=now) for name in ("a", "b", "c")])
    stack.worker("nightly", "--json")
    stack.sync()

    def served() -> set[str]:
        return {item["id"] for item in stack.feed("u1")["items"]}

    assert served() == {"a", "b", "c"}
    stack.worker("items", "hide", "a")
    stack.worker("items", "remove", "b")
    stack.sync()
    assert served() == {"c"}
    stack.worker("items", "unhide", "a")
    stack.sync()
    assert served() == {"a", "c"}
