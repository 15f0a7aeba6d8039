"""Networks as the setting ``trusted_proxies`` lists them: addresses and CIDR blocks."""

from __future__ import annotations

import re
from ipaddress import ip_network


def split(text: str) -> list[str]:
    """The networks of a list with commas or blanks between, each once, in order."""
    return list(dict.fromkeys(re.findall(r"[^,\s]+", text)))


def problem(network: str) -> str | None:
    """Why it is no network, or a careless one, and what to write instead; None when it is one."""
    try:
        parsed = ip_network(network)
    except ValueError as error:
        return f"{error}: write an address or a block, 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
    if parsed.prefixlen == 0:
        return "name your proxies: if all the world is trusted, anyone can claim any address"
    return None
