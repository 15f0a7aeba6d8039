"""One item of the catalogue: its fields, the rule of each, and its two JSON forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from worker.packing import KIND_NAMES
from worker.tokens import ID

FIELDS = ("id", "category", "kind", "posted_at", "social", "expires_at", "hidden", "data")
REQUIRED = FIELDS[:4]
MAX_DATA = 16 * 1024
MAX_U32 = 2**32 - 1

# Controls, line and paragraph separators, and halves of surrogate pairs; everything else can be shown.
_CATEGORY = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,64}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))"
)


class ItemError(ValueError):
    """A record that is not an item; the message names every field that is wrong, and what it should be."""


@dataclass(frozen=True, slots=True)
class Item:
    """A checked item. ``posted`` and ``expires`` are Unix seconds (0: never expires); ``data`` is opaque JSON."""

    id: str
    category: str
    kind: str
    posted: int
    social: int = 0
    expires: int = 0
    hidden: bool = False
    data: dict[str, Any] = field(default_factory=dict)

    def served_json(self) -> bytes:
        """The record as the edge hands it to a page: id, category, kind, posted_at, data."""
        return orjson.dumps({"id": self.id, "category": self.category, "kind": self.kind,
                             "posted_at": rfc3339(self.posted), "data": self.data})


def full_record(served: bytes, social: int, expires: int, hidden: bool) -> dict[str, Any]:
    """Every field of an item, from its served JSON and what is stored beside it; ``check`` takes it back."""
    record = orjson.loads(served)
    data = record.pop("data")
    return {**record, "social": social, "expires_at": rfc3339(expires) if expires else None,
            "hidden": hidden, "data": data}


def rfc3339(seconds: int) -> str:
    """A Unix second as ``2026-11-20T08:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check(record: object) -> Item:
    """The item that a decoded JSON value describes. Raises ItemError with everything that is wrong with it."""
    if not isinstance(record, dict):
        raise ItemError(f"a record is a JSON object, not {shown(record)}")
    values: dict[str, Any] = {}
    problems = [f"{name}: missing" for name in REQUIRED if name not in record]
    for name, value in record.items():
        rule = _RULES.get(name)
        if rule is None:
            problems.append(f"{shown(name)}: there is no such field (known: {', '.join(FIELDS)})")
            continue
        try:
            values[_ATTRIBUTES.get(name) or name] = rule(value)
        except ItemError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ItemError(listed(problems))
    return Item(**values)


def listed(problems: list[str]) -> str:
    """Problems as one message, which stays readable whatever came in."""
    more = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
    return "; ".join(problems[:10] + more)


def shown(value: object) -> str:
    """A JSON value as a message can hold it: short, and without control characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return orjson.dumps(value).decode()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _id(value: Any) -> str:
    if type(value) is not str or not ID.fullmatch(value):
        raise ItemError(f"must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -, not {shown(value)}")
    return value


def _category(value: Any) -> str:
    if type(value) is not str or not _CATEGORY.fullmatch(value):
        raise ItemError(f"must be 1-64 characters without control characters, not {shown(value)}")
    return value


def _kind(value: Any) -> str:
    if type(value) is not str or value not in KIND_NAMES:
        raise ItemError(f"must be evergreen or timely, not {shown(value)}")
    return value


def _moment(value: Any) -> int:
    """Unix seconds of an RFC 3339 time; a fraction of a second is dropped."""
    match = _TIME.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ItemError(f"must be an RFC 3339 time such as 2026-11-20T08:00:00Z, not {shown(value)}")
    day, time, offset = match.groups()
    try:
        seconds = int(datetime.fromisoformat(f"{day}T{time}{offset or '+00:00'}").timestamp())
    except (ValueError, OverflowError):
        raise ItemError(f"{shown(value)} is no date and time of the calendar") from None
    if not 0 <= seconds <= MAX_U32:
        raise ItemError(f"must be from 1970 to 2106-02-07, not {shown(value)}")
    return seconds


def _expiry(value: Any) -> int:
    if value is None:
        return 0
    seconds = _moment(value)
    if seconds == 0:
        raise ItemError("must be after 1970-01-01T00:00:00Z, or null for an item that stays")
    return seconds


def _social(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_U32:
        raise ItemError(f"must be a whole number from 0 to {MAX_U32}, not {shown(value)}")
    return value


def _hidden(value: Any) -> bool:
    if type(value) is not bool:
        raise ItemError(f"must be true or false, not {shown(value)}")
    return value


def _data(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ItemError(f"must be a JSON object, not {shown(value)}")
    size = len(orjson.dumps(value))
    if size > MAX_DATA:
        raise ItemError(f"is {size} bytes of JSON; at most {MAX_DATA} are kept")
    return value


_ATTRIBUTES = {"posted_at": "posted", "expires_at": "expires"}
_RULES: dict[str, Callable[[Any], Any]] = {
    "id": _id, "category": _category, "kind": _kind, "posted_at": _moment, "social": _social,
    "expires_at": _expiry, "hidden": _hidden, "data": _data,
}
