"""The JSON of one record, strictly: what a lenient decoder would change in silence is an error here."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from worker.catalogue.item import Item, ItemError, check, shown

MAX_DEPTH = 32
_FIELD_END = re.compile(rb'"[ \t\r\n]*:')


def parse(text: bytes, item_id: str | None = None) -> Item:
    """The item of one JSON record. Raises ItemError saying all that is wrong.

    With ``item_id`` the record may leave out its id, and must not have another one.
    """
    record = decode(text)
    if item_id is None or type(record) is not dict:
        return check(record)
    if record.get("id", item_id) != item_id:
        raise ItemError(f"id: the address says {shown(item_id)}, the record {shown(record['id'])}")
    return check({**record, "id": item_id})


def decode(text: bytes) -> Any:
    """The JSON value of ``text``. Raises ItemError for what is not JSON, nested deeper than MAX_DEPTH, or ambiguous.

    orjson keeps the last of two fields of one name, and makes a float of an integer beyond 64 bits. The slow
    parser that notices runs only where either may be: a text holds at least one quote-and-colon for each field,
    so as many of them as there are fields in the result means that no field was dropped.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ItemError(_explained(error)) from None
    fields, huge = _measure(value)
    if huge or fields != len(_FIELD_END.findall(text)):
        json.loads(text, object_pairs_hook=_distinct, parse_int=_integer)
    return value


def _explained(error: orjson.JSONDecodeError) -> str:
    if "UTF-8" in error.msg or "surrogate" in error.msg:
        return f"not valid UTF-8 at column {error.colno}"
    if "depth" in error.msg or "memory" in error.msg:  # the same thing in two releases of orjson
        return f"nested deeper than {MAX_DEPTH} levels"
    return f"not JSON: {error.msg} at column {error.colno}"


def _measure(value: Any) -> tuple[int, bool]:
    """How many fields all objects have, and whether a number may have been an integer beyond 64 bits."""
    fields, huge, depth = 0, False, 0
    level = [value]
    while level:
        if depth > MAX_DEPTH:
            raise ItemError(f"nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for parent in level:
            if type(parent) is dict:
                fields += len(parent)
                children = list(parent.values())
            else:
                children = parent if type(parent) is list else []
            below += [child for child in children if type(child) in _NESTED]
            huge = huge or any(type(child) is float and abs(child) >= 2**63 for child in children)
        level, depth = below, depth + 1
    return fields, huge


_NESTED = frozenset((dict, list))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ItemError(f"{shown(name)}: given twice")
        fields[name] = value
    return fields


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ItemError(f"the number {shown(text)} is beyond 64 bits: give it as text")
    return int(text)
