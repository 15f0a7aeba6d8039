"""One finding of the doctor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

STATES = ("ok", "warn", "fail")


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is (``ok``, ``warn``, ``fail``), what was found, and what to do about it."""

    name: str
    state: str
    found: str
    todo: str = ""

    def row(self) -> dict[str, str]:
        """As JSON values."""
        return dataclasses.asdict(self)


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, "ok", found)


def warn(name: str, found: str, todo: str) -> Check:
    """It works, and could be better or fail one day."""
    return Check(name, "warn", found, todo)


def fail(name: str, found: str, todo: str) -> Check:
    """It does not work, or is not safe."""
    return Check(name, "fail", found, todo)
