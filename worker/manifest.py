"""The list of what a back-up holds: ``manifest.json`` in its folder, with the size and SHA-256 of every other file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

NAME = "manifest.json"
FORMAT = 1
DATA = "dump.rdb"
SETTINGS = "nightfeed.toml"


class BackupError(Exception):
    """A back-up that can't be made, or can't be restored; the message says why and what to do."""


def sums(folder: Path) -> dict[str, dict[str, Any]]:
    """``bytes`` and ``sha256`` of every file below a folder but the manifest, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest: ``content`` and the sums of the files, and bring all of the folder to the disk."""
    text = json.dumps({"format": FORMAT, **content, "files": sums(folder)}, indent=1) + "\n"
    with os.fdopen(os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a back-up whose files are all there and as they were. Raises BackupError for any other."""
    path = folder / NAME
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        found = sums(folder)
    except FileNotFoundError:
        raise BackupError(f"{folder} is no back-up: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError(f"{path} has a format that this version does not know: restore it with the version that "
                          "made it")
    named = manifest["files"]
    wrong = sorted(name for name in named.keys() | found.keys() if named.get(name) != found.get(name))
    if wrong or DATA not in named:
        raise BackupError(f"{folder} is not what was backed up: {', '.join(wrong) or DATA} differ from {NAME}; nothing "
                          "was restored. Take another back-up")
    return manifest
