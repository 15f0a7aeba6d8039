"""What the documentation says is what the code does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.stack_fixture import ROOT
from worker.cli import COMMANDS, group

README = (ROOT / "README.md").read_text()
PURE = ("score", "fresh", "subtract", "mix", "space", "space_queues", "space_check", "compose", "plan", "gates")


def test_the_settings_and_the_keyspace_are_those_of_the_code():
    done = subprocess.run([sys.executable, str(ROOT / "scripts/docs.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(name):
    shown = CliRunner().invoke(group, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"worker {name}" in README


def test_every_route_of_the_readme_is_served():
    served = set(re.findall(r"location (?:= )?(\S+) \{", (ROOT / "nginx/edge.conf").read_text()))
    routes = set(re.findall(r"`(?:GET|POST) (/[a-z./]+)", README)) - {"/api/openapi.json"}
    assert {"/beacon", "/feed", "/healthz"} <= routes <= served


def test_every_file_the_documents_name_is_there():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / name).exists(), f"{document.name} links to {name}"


@pytest.mark.parametrize("name", PURE)
def test_the_stages_are_pure(name):
    """No Redis, no clock, no processes: a stage imports numpy, other stages and plain definitions only."""
    allowed = {"numpy", "dataclasses", "typing", "collections", "zlib", "datetime", "__future__"}
    tree = ast.parse((ROOT / f"worker/nightly/{name}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            top = module.split(".")
            inner = top[0] == "worker" and (top[1] in ("packing", "config") or (top[1] == "nightly" and top[2] in PURE))
            assert inner or top[0] in allowed, f"{name} imports {module}"
    source = (ROOT / f"worker/nightly/{name}.py").read_text()
    assert not re.search(r"\bnow\(|today\(|time\(\)", source), f"{name} reads a clock"
