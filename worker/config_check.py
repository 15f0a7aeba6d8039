"""What must hold between settings, or inside one that is a list: whatever a bound or a pattern alone cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker import networks, origins

if TYPE_CHECKING:
    from worker.config import Settings


def problems(settings: Settings) -> Iterator[str]:
    """What is wrong with settings of which each alone is allowed: which they are, and what to write instead."""
    if settings.new_share_min > settings.new_share_max:
        yield "new_share_min is greater than new_share_max"
    yield from _of_cookies(settings)
    for origin in origins.split(settings.allowed_origins):
        if found := origins.problem(origin):
            yield f"allowed_origins: {origin!r}: {found}"
    for network in networks.split(settings.trusted_proxies):
        if found := networks.problem(network):
            yield f"trusted_proxies: {network!r}: {found}"


def _of_cookies(settings: Settings) -> Iterator[str]:
    """What browsers refuse in silence is refused here aloud. They read the prefixes in capital and small letters."""
    prefix = re.match("__host-|__secure-", settings.cookie_name, re.IGNORECASE)
    if prefix and not settings.cookie_secure:
        yield (f"cookie_name starts with {prefix[0]}, which browsers take from Secure cookies only: "
               "set another cookie_name, or cookie_secure = true")
    if settings.cookie_same_site == "None" and not settings.cookie_secure:
        yield ("cookie_same_site is None, which browsers take from Secure cookies only: "
               "set cookie_secure = true")
    if settings.cookie_partitioned and settings.cookie_same_site != "None":
        yield ("cookie_partitioned is for pages of other sites, whose requests carry no cookie but with "
               "SameSite=None: set cookie_same_site = \"None\" too")
    if settings.opt_out_cookie.lower() == settings.cookie_name.lower():
        yield "opt_out_cookie is cookie_name, so that whoever is known has opted out: set another name"
