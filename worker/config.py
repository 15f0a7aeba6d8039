"""Every setting: its name, type, default, meaning and check. One file, ``nightfeed.toml``, plus ``NIGHTFEED_*``.

The edge reads the same values: the stack renders them to ``RUN/config.json`` when it starts.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker import config_check

PREFIX = "NIGHTFEED_"
# Variables that say where things are rather than how they behave.
PLACES = {"NIGHTFEED_RUN", "NIGHTFEED_CONFIG", "NIGHTFEED_KUAIRAND", "NIGHTFEED_VENV", "NIGHTFEED_FAULTS"}


class ConfigError(Exception):
    """A setting that is unknown or has a bad value; the message names it and says what is allowed."""


def _setting(default: Any, doc: str, low: float | None = None, high: float | None = None, form: str = "",
             many: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "low": low, "high": high, "form": form, "many": many})


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults. Metadata: ``doc``, ``low``, ``high``, ``form`` (a pattern).

    ``many``: text with commas between, which the file may also have as an array.
    """

    port: int = _setting(8080, "port of the edge", 1, 65535)
    listen: str = _setting("127.0.0.1", "address the edge listens on", form=r"[0-9A-Fa-f.:]+")
    nginx_workers: int = _setting(0, "nginx worker processes; 0: one a core", 0, 256)
    worker_connections: int = _setting(9000, "connections of one nginx worker, those to Redis and the API among them",
                                       64, 1_000_000)
    api_workers: int = _setting(1, "gunicorn worker processes", 1, 64)
    window_days: int = _setting(60, "days for which a seen item stays away, and a user counts as active", 1, 90)
    gap: int = _setting(3, "positions between two items of one category", 0, 20)
    list_length: int = _setting(200, "items published for a user", 1, 2000)
    top_size: int = _setting(1000, "items of top content", 1, 20000)
    new_size: int = _setting(400, "new items, newest first, that lists can draw from", 0, 5000)
    new_share_max: float = _setting(0.5, "share of new items for someone who was here yesterday", 0.0, 1.0)
    new_share_min: float = _setting(0.1, "share of new items for someone away for very long", 0.0, 1.0)
    new_share_half_days: float = _setting(4.0, "days away after which half of the difference is gone", 0.1, 365.0)
    best_per_day: int = _setting(1, "best evergreen items of each day that nobody misses", 0, 10)
    stats_days: int = _setting(30, "days of statistics that the score uses", 1, 90)
    half_life_hours: float = _setting(36.0, "age at which a timely item is worth half", 0.1, 8760.0)
    evergreen_days: int = _setting(90, "days for which an evergreen item is fresh", 1, 3650)
    prior_impressions: float = _setting(200.0, "impressions that the catalogue's mean rates count for", 1.0, 1e6)
    min_impressions: int = _setting(20, "fewer impressions than this: the prior alone scores an item", 0, 1_000_000)
    weight_clicks: float = _setting(0.6, "weight of the click-through rate in the score", 0.0, 100.0)
    weight_dwell: float = _setting(0.25, "weight of the time spent in the score", 0.0, 100.0)
    weight_social: float = _setting(0.15, "weight of social reactions in the score", 0.0, 100.0)
    fresh_every: int = _setting(6, "one of so many feed positions is kept for items published since the run", 2, 100)
    fresh_days: int = _setting(7, "age in days up to which an item unknown to the run is fresh", 1, 90)
    repeats: bool = _setting(False, "serve seen items again when nothing unseen is left")
    shrink_gate: float = _setting(0.5, "a run whose top content shrinks below this share is not published", 0.0, 1.0)
    sample_size: int = _setting(1000, "finished lists that are checked before publishing", 0, 1_000_000)
    chunk_users: int = _setting(2048, "users whose lists the nightly run makes at once", 1, 100_000)
    compiled: bool = _setting(True, "make lists by compiled code where numba is installed")
    stale_hours: float = _setting(36.0, "age of the last run at which the edge says it is not ready", 1.0, 8760.0)
    dwell_cap_s: int = _setting(600, "seconds that one person's time on one item counts at most", 1, 86400)
    redis_maxmemory: str = _setting("0", "Redis maxmemory; 0: no limit", form=r"\d+([kmg]b?)?")
    redis_timeout_ms: int = _setting(250, "how long the edge waits for Redis", 1, 60000)
    cookie_name: str = _setting("__Host-nightfeed", "name of the cookie with the token", form=r"[A-Za-z0-9_.-]{1,64}")
    cookie_secure: bool = _setting(True, "the cookie is sent over TLS (and localhost) only")
    cookie_same_site: str = _setting("Lax", "SameSite of the cookie; None: cross-site embeds", form="Lax|Strict|None")
    cookie_days: int = _setting(365, "days that an anonymous identity lasts", 1, 400)
    cookie_partitioned: bool = _setting(False, "embeds: the cookie is kept apart for each embedding site (CHIPS)")
    opt_out_cookie: str = _setting("nightfeed_optout", "a cookie of this name, but 0: nothing is recorded or set",
                                   form=r"[A-Za-z0-9_.-]{1,64}")
    allowed_origins: str = _setting("", "other sites whose pages may read feeds and send beacons: origins, with commas",
                                    form=r"([^\s,]+(,\s*[^\s,]+)*)?", many=True)
    rate_limit: str = _setting("2000", "requests a second from one address; off: no limit here, nor in the next three",
                               form=r"off|[1-9]\d{0,6}")
    new_users_per_hour: int = _setting(500, "newcomers from one address who get an identity", 1, 1_000_000)
    user_events_per_hour: int = _setting(3000, "events that one person can send", 100, 10_000_000)
    counted_per_network: int = _setting(3, "anonymous people of one network who count for an item, each day", 1, 1000)
    dwell_cap_anonymous_s: int = _setting(120, "the same as dwell_cap_s, for someone who is not signed in", 1, 86400)
    trusted_proxies: str = _setting("", "proxies whose X-Forwarded-For is believed: addresses, CIDR blocks",
                                    form=r"([^\s,]+(,\s*[^\s,]+)*)?", many=True)
    bots: str = _setting("", "more of what names a crawler in User-Agent, by commas",
                         form=r"([\w.+:/ ()-]{2,}(,[\w.+:/ ()-]{2,})*)?", many=True)


def load(run: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file and the environment, the latter winning.

    The file is ``NIGHTFEED_CONFIG``, or ``nightfeed.toml`` in the run directory, or in the working directory.
    Raises ConfigError naming the file or variable for an unknown name or a bad value.
    """
    values: dict[str, Any] = {}
    path = config_file(run, environ)
    if path is not None:
        values.update(_read_file(path))
    values.update(_read_environment(environ))
    settings = Settings(**values)
    for problem in config_check.problems(settings):
        raise ConfigError(problem)
    return settings


def config_file(run: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file that ``load`` would read, or None. Raises ConfigError when the named one is missing."""
    named = environ.get("NIGHTFEED_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"NIGHTFEED_CONFIG names {named}, which is not a file")
        return Path(named)
    found = (path for path in (run / "nightfeed.toml", Path("nightfeed.toml")) if path.is_file())
    return next(found, None)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return {name: checked(name, value, f"{path}: {name}") for name, value in table.items()}


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in PLACES:
            name = variable.removeprefix(PREFIX).lower()
            values[name] = checked(name, _parse(name, text, variable), variable)
    return values


def _fields() -> dict[str, dataclasses.Field[Any]]:
    return {entry.name: entry for entry in dataclasses.fields(Settings)}


def _parse(name: str, text: str, where: str) -> Any:
    entry = _fields().get(name)
    kind: Any = type(entry.default) if entry else str
    if kind is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ConfigError(f"{where} is {text!r}: must be true or false")
        return text.lower() in _TRUE
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{where} is {text!r}: must be {_NOUNS[kind]}") from None


_TRUE, _FALSE = {"true", "1", "on", "yes"}, {"false", "0", "off", "no"}
_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def checked(name: str, value: Any, where: str) -> Any:
    """``value`` in the setting's type. Raises ConfigError, naming ``where`` it stands, when it is not allowed."""
    entry = _fields().get(name)
    if entry is None:
        raise ConfigError(f"{where}: there is no setting {name!r}; known: {', '.join(sorted(_fields()))}")
    kind: Any = type(entry.default)
    if entry.metadata["many"] and isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = ", ".join(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} is {value!r}: must be {_NOUNS[kind]}")
    low, high, form = entry.metadata["low"], entry.metadata["high"], entry.metadata["form"]
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{where} is {value}: must be from {low} to {high}")
    if form and not re.fullmatch(form, value):
        raise ConfigError(f"{where} is {value!r}: must match {form}")
    return value


def run_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The run directory: ``NIGHTFEED_RUN``, or ``run`` in the working directory."""
    return Path(environ.get("NIGHTFEED_RUN") or "run").absolute()
