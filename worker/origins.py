"""Origins of web pages, as browsers write them and as the setting ``allowed_origins`` lists them."""

from __future__ import annotations

import re

LONGEST = 300
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9]\d{0,4}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def split(text: str) -> list[str]:
    """The origins of a list with commas or blanks between, each once, in order."""
    return list(dict.fromkeys(re.findall(r"[^,\s]+", text)))


def problem(origin: str) -> str | None:
    """Why an origin could never be one that a browser sends, and what to write instead; None when it could.

    Browsers compare and send origins as exact text: a slash, a capital or a default port too many would never match.
    """
    if origin == "*":
        return "name each origin: with all of them, any page could read and change the feed of whoever looks at it"
    found = _ORIGIN.fullmatch(origin)
    if not found or len(origin) > LONGEST or int(found["port"] or 0) > 65535:
        return ("must be scheme://host or scheme://host:port in small letters, without a path or a slash at its end: "
                "https://www.example.org")
    if found["port"] and _DEFAULT_PORTS.get(found["scheme"]) == found["port"]:
        return f"leave out :{found['port']}, as browsers do: it is the default port of {found['scheme']}"
    return None
