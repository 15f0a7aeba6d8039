"""Event records: parse one, check it, and say what is wrong. ``lua/edge/events.lua`` applies the same rules."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple

import orjson

from worker.keyspace import AHEAD_MS, DAY_MS
from worker.tokens import ID

MAX_LINE = 65_536  # bytes of one record: as much as the edge takes in one body
LETTERS = {
    "impression": "i",
    "click": "c",
    "dwell": "d",
    "reaction": "r",
    "conversion": "v",
    "hide": "h",
    "search": "s",
}
_KIND = re.compile(r"[a-z0-9_-]{1,32}")
_QUERY = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
_ID_RULE = "1-128 characters of A-Z a-z 0-9 . _ ~ : -"
_KIND_RULE = "1-32 characters of a-z 0-9 _ -"
_OPTIONAL = {"position": 10_000, "list": 2**32 - 1}  # greatest values; null is as good as none
_EARLIEST_MS = 100_000_000_000  # smaller than this is surely meant as seconds
_LATEST_MS = 2**53


class EventError(ValueError):
    """A record that is not an event; the message says what is wrong and what is allowed."""


class Event(NamedTuple):
    """One thing that a user did. ``item`` is empty for a search; ``ts`` is Unix ms, ``ms`` a dwell's length."""

    user: str
    event: str
    item: str
    ts: int
    ms: int = 0
    kind: str | None = None
    query: str = ""

    @property
    def hash(self) -> int:
        """CRC-32 that makes a second delivery of a dwell, reaction, conversion or hide the same event."""
        if self.event == "dwell":
            return zlib.crc32(f"d{self.ts}:{self.ms}".encode())
        if self.event == "hide":
            return zlib.crc32(b"h")
        if self.event == "reaction":
            return zlib.crc32(b"r")  # whatever its kind: a person reacts to an item once
        return zlib.crc32(f"{LETTERS[self.event]}{self.kind or ''}".encode())


def read_event(line: bytes) -> Event:
    """The event in one line of JSON, its time not yet compared with any clock. Raises EventError."""
    return check(_read_object(line))


def check(record: Any) -> Event:
    """The event in a decoded record. Fields that no rule names are ignored. Raises EventError."""
    if type(record) is not dict:
        raise EventError("must be a JSON object such as {\"user\":…,\"event\":\"impression\",\"item\":…,\"ts\":…}")
    name = record.get("event")
    if type(name) is not str or name not in LETTERS:
        raise EventError(f"event is {_shown(record, 'event')}: must be one of {', '.join(LETTERS)}")
    user = _text(record, "user", ID, _ID_RULE)
    ts = _integer(record, "ts", 0, _LATEST_MS, "Unix time in milliseconds")
    for field, high in _OPTIONAL.items():
        if record.get(field) is not None:
            _integer(record, field, 0, high)
    if name == "search":
        query = _text(record, "query", _QUERY, "1-200 characters of text without control characters")
        return Event(user, name, "", ts, query=query)
    item = _text(record, "item", ID, _ID_RULE)
    if name == "dwell":
        return Event(user, name, item, ts, ms=_integer(record, "ms", 1, DAY_MS))
    if name == "reaction" or (name == "conversion" and record.get("kind") is not None):
        return Event(user, name, item, ts, kind=_text(record, "kind", _KIND, _KIND_RULE))
    return Event(user, name, item, ts)


def check_time(ts: int, now_ms: int, window_days: int) -> None:
    """Raises EventError unless Unix ms ``ts`` is at most 5 minutes ahead of ``now_ms`` and a window behind it."""
    if now_ms - window_days * DAY_MS <= ts <= now_ms + AHEAD_MS:
        return
    if ts < _EARLIEST_MS:
        raise EventError(f"ts is {ts}, which looks like seconds: must be Unix time in milliseconds")
    side = "ahead of" if ts > now_ms else "behind"
    raise EventError(f"ts is {ts}, {_duration(abs(ts - now_ms))} {side} the clock: must be at most "
                     f"5 minutes ahead and {window_days} days behind")


def _duration(ms: int) -> str:
    if ms >= 2 * DAY_MS:
        return f"{ms / DAY_MS:.1f} days"
    return f"{ms / 3_600_000:.1f} hours" if ms >= 7_200_000 else f"{ms / 60_000:.1f} minutes"


def _read_object(line: bytes) -> Any:
    if len(line) > MAX_LINE:
        raise EventError(f"the line has {len(line)} bytes: a record has at most {MAX_LINE}")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise EventError(f"not JSON: {error}") from None
    # As many colons as fields: none can stand twice. Only other lines need the slower look.
    if type(record) is dict and line.count(b":") != len(record):
        _refuse_duplicates(line)
    return record


def _refuse_duplicates(line: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise EventError(f"{_shorten(json.dumps(twice))} is given twice: give it once")

    try:
        json.loads(line, object_pairs_hook=unique)
    except RecursionError:
        raise EventError("nested too deeply: an event has plain fields only") from None


def _shown(record: dict[str, Any], name: str) -> str:
    return _shorten(json.dumps(record[name])) if name in record else "missing"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(record: dict[str, Any], name: str, form: re.Pattern[str], rule: str) -> str:
    value = record.get(name)
    if type(value) is str and form.fullmatch(value):
        return value
    raise EventError(f"{name} is {_shown(record, name)}: must be {rule}")


def _integer(record: dict[str, Any], name: str, low: int, high: int, what: str = "") -> int:
    value = record.get(name)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and low <= value <= high:
        return value
    raise EventError(f"{name} is {_shown(record, name)}: must be {what or f'a whole number from {low} to {high}'}")
