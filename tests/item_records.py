"""A good item record, changes to it, and arbitrary JSON values, for the tests of the catalogue."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

GOOD: dict[str, Any] = {
    "id": "a1", "category": "cooking", "kind": "evergreen", "posted_at": "2026-11-20T08:00:00Z", "social": 12,
    "expires_at": None, "hidden": False, "data": {"title": "Bread", "url": "/a1"},
}
# 2026-11-20T08:00:00Z: 20,777 days after 1970 and eight hours.
POSTED = 20_777 * 86_400 + 8 * 3600


def record(**changes: Any) -> dict[str, Any]:
    """A good record with other fields; a value of ... leaves the field out."""
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}


def line(**changes: Any) -> bytes:
    """The JSON of such a record."""
    return json.dumps(record(**changes)).encode()


# Every field given, at a limit where it has one.
FULL: dict[str, Any] = {
    "id": "a1", "category": "cooking", "kind": "timely", "posted_at": "2026-11-20T08:00:00Z", "social": 4_294_967_295,
    "expires_at": "2106-02-07T06:28:15Z", "hidden": True, "data": {"title": "Brød ☃", "n": [1, None, {"x": 1.5}]},
}


texts = st.text("ab\":\\/\n\x7f\u2028éЖ☃𝄞", max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from('ab":'), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
