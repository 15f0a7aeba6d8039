"""Secrets of one run directory: made at the first start, readable by the owner only, never printed unasked."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.tokens import Keyring

ROLES = ("catalogue", "admin")


class CredentialsError(Exception):
    """Secrets that are missing or unreadable; the message names the file and what to do."""


@dataclass(frozen=True)
class Credentials:
    """Token keys, API tokens by role, and Redis passwords by Redis user (``edge``, ``worker``)."""

    keyring: Keyring
    api: dict[str, str]
    redis: dict[str, str]


def ensure(run: Path) -> Credentials:
    """The run directory's secrets, made where they are missing (files 0600 in a 0700 directory)."""
    folder = run / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make(folder / "tokens.json", {"current": "k1", "keys": {"k1": secrets.token_hex(32)}})
    _make(folder / "api.json", {role: secrets.token_urlsafe(32) for role in ROLES})
    erasure_keys(run)
    _make(folder / "redis.json", {user: secrets.token_hex(32) for user in ("edge", "worker")})
    return load(run)


def load(run: Path) -> Credentials:
    """The run directory's secrets. Raises CredentialsError when they are missing or unreadable."""
    folder = run / "secrets"
    tokens = _read(folder / "tokens.json")
    keyring = Keyring(tokens["current"], {name: bytes.fromhex(key) for name, key in tokens["keys"].items()})
    return Credentials(keyring, _read(folder / "api.json"), _read(folder / "redis.json"))


def erasure_keys(run: Path) -> list[str]:
    """Keys of the pseudonyms under which erased people are remembered: hexadecimal, the run directory's own first.

    Made where they are missing. Others than the first come with a back-up of another run directory.
    """
    folder = run / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make(folder / "erasures.json", {"keys": [secrets.token_hex(32)]})
    return list(_read(folder / "erasures.json")["keys"])


def _make(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all, and never over what is there: a lost key would make every visitor a stranger."""
    if path.exists():
        return
    handle, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CredentialsError(f"{path} is missing: start the stack once (make up), or set NIGHTFEED_RUN") from None
    except PermissionError:
        raise CredentialsError(f"{path} is not readable: run as the user that started the stack") from None
    except ValueError as error:
        raise CredentialsError(f"{path} is not JSON ({error}): restore it from a backup") from error
    return content
