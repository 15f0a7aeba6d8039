"""The JSON Schemas of what the API takes and gives."""

from __future__ import annotations

from typing import Any

from worker.catalogue.item import MAX_U32, REQUIRED

Json = dict[str, Any]


def reference(name: str) -> Json:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(fields: Json, required: tuple[str, ...] | None = None, closed: bool = True) -> Json:
    """An object with these fields, all of them required unless said otherwise."""
    names = list(fields) if required is None else list(required)
    return {"type": "object", "properties": fields, "required": names, "additionalProperties": not closed}


def _or_null(fields: Json) -> Json:
    """An object with these fields, or null."""
    return {**_object(fields), "type": ["object", "null"]}


def _list(entry: Json) -> Json:
    return {"type": "array", "items": entry}


_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: Json = {"type": ["integer", "null"], "minimum": 0}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}

_ITEM: Json = {
    "id": {"type": "string", "pattern": "^[A-Za-z0-9._~:-]{1,128}$"},
    "category": {"type": "string", "minLength": 1, "maxLength": 64},
    "kind": {"type": "string", "enum": ["evergreen", "timely"]},
    "posted_at": {"type": "string", "format": "date-time"},
    "social": {"type": "integer", "minimum": 0, "maximum": MAX_U32},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
    "hidden": {"type": "boolean"},
    "data": {"type": "object", "description": "Opaque, at most 16 KiB; handed back to the page"},
}
_IMPORTED: Json = {
    "imported": _COUNT,
    "refused": _COUNT,
    "errors": _list(_object({"line": _COUNT, "error": _TEXT})),
}
_PROBLEM: Json = {"type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _TEXT}

SCHEMAS: Json = {
    "Item": _object(_ITEM),
    # In PUT the address has the id; a record may repeat it.
    "ItemRecord": _object(_ITEM, tuple(name for name in REQUIRED if name != "id")),
    "ItemPage": _object({"items": _list(reference("Item")), "cursor": _TEXT_OR_NULL}),
    "Imported": _object(_IMPORTED),
    "Problem": _object(_PROBLEM),
    "NotImported": _object({**_PROBLEM, **_IMPORTED}),
    "UserExport": _object({
        "user": _TEXT,
        "last_seen": _TEXT_OR_NULL,
        "seen": _list({"type": "object"}),
        "acts": _list({"type": "object"}),
        "searches": _list(_object({"at": _TEXT, "ts": _COUNT, "query": _TEXT})),
        "list": {"type": ["object", "null"]},
    }, closed=False),
    "Forgotten": {"type": "object", "additionalProperties": _COUNT},
    "Runs": _object({"runs": _list({"type": "object"})}),
    "Status": _object({
        "items": _object(dict.fromkeys(("live", "hidden", "expired", "removed", "timely", "evergreen"), _COUNT)),
        "users": _COUNT,
        "catalogue_version": _COUNT,
        "lists": _object({"generation": _COUNT_OR_NULL, "date": _TEXT_OR_NULL,
                          "made_at": _COUNT_OR_NULL, "age_seconds": _COUNT_OR_NULL}),
        "last_good_run": _or_null({"date": _TEXT, "generation": _COUNT, "finished_at": _COUNT, "age_seconds": _COUNT}),
        "refused_since": {"type": ["object", "null"]},
        "unfinished_run": _or_null({"date": _TEXT, "generation": _COUNT, "partitions_done": _COUNT,
                                    "partitions": _COUNT}),
        "stale_hours": {"type": "number", "minimum": 0},
        "runs": _list({"type": "object"}),
        "redis": _object({"version": _TEXT, "memory_bytes": _COUNT, "maxmemory_bytes": _COUNT}),
    }),
}
