"""beacon.d.ts says what the script does: a page's code is checked against it, and the script has all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.client_server import Site, context, page, site
from tests.stack_fixture import ROOT

__all__ = ["context", "page", "site"]  # fixtures
TYPES = ROOT / "nginx/static/beacon.d.ts"
PAGE = """
    document.addEventListener('nightfeed:seen', (event) => { const id: string = event.detail.item; });
    document.body.addEventListener('nightfeed:seen', (event) => event.detail.item.length);
    window.nightfeed.event('reaction', 'a1', { kind: 'like' });
    window.nightfeed.event('hide', 'a1');
    window.nightfeed.search('sourdough');
    window.nightfeed.token = 'v1.k1.ann.1763740000.mac';
    async function signIn(): Promise<number> {
        await window.nightfeed.flush();
        return window.nightfeed.pending() + window.nightfeed.dropped;
    }
"""
MISTAKES = {
    "window.nightfeed.event('impresion', 'a1');": "TS2345",
    "window.nightfeed.event('hide');": "TS2554",
    "window.nightfeed.event('hide', 17);": "TS2345",
    "window.nightfeed.dropped = 0;": "TS2540",
    "window.nightfeed.token = 17;": "TS2322",
    "const sent: number = window.nightfeed.flush();": "TS2322",
    "window.nightfeed.track('a1');": "TS2339",
    "document.addEventListener('nightfeed:seen', (event) => event.detail.id);": "TS2339",
}


@pytest.fixture
def tsc() -> str:
    """The TypeScript compiler."""
    found = shutil.which("tsc")
    if found is None:
        pytest.fail("no TypeScript compiler (tsc) is installed; `make test` installs it")
    return found


def errors(tsc: str, folder: Path) -> list[tuple[str, int, str]]:
    """What the compiler finds wrong in a folder's pages: file, line, number of the error."""
    command = [tsc, "--noEmit", "--strict", "--skipDefaultLibCheck", "--target", "es2020", "--lib", "es2020,dom"]
    files = [TYPES, *sorted(folder.glob("*.ts"))]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    found = re.findall(r"^(\S+?)\((\d+),\d+\): error (TS\d+)", done.stdout, re.MULTILINE)
    assert bool(done.returncode) == bool(found), done.stdout + done.stderr
    return [(Path(file).name, int(line), number) for file, line, number in found]


def test_a_pages_code_is_checked(tsc: str, tmp_path: Path) -> None:
    """What a page may do compiles under the strictest rules; each mistake is found, and nothing else."""
    (tmp_path / "page.ts").write_text(PAGE)
    (tmp_path / "mistakes.ts").write_text("\n".join(MISTAKES))
    assert errors(tsc, tmp_path) == [("mistakes.ts", line, number) for line, number in enumerate(MISTAKES.values(), 1)]


def test_the_script_has_what_is_documented_and_nothing_more(site: Site, page: Page) -> None:
    """Every member of the interface, and every attribute of the tag and of the page."""
    text = TYPES.read_text()
    interface = text[text.index("interface Nightfeed {"):].split("\n}")[0]
    members = re.findall(r"^  (?:readonly )?(\w+)\??(?=[(:])", interface, re.MULTILINE)
    page.goto(site.page())
    assert sorted(page.evaluate("Object.keys(nightfeed)")) == sorted(members)
    values = page.evaluate("[nightfeed.pending(), nightfeed.dropped, typeof nightfeed.flush().then]")
    assert values == [0, 0, "function"]
    script = (ROOT / "nginx/static/beacon.js").read_text()
    for attribute in re.findall(r"^ \*   data-(\w+)", text, re.MULTILINE):
        assert re.search(rf"data-{attribute}\b|(config|dataset)\.{attribute}\b", script), attribute
