"""Whether the users of the Redis that runs have the rights that their files give them, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.doctor.check import Check, fail, ok, warn
from worker.store.connect import Store

FOLDER = Path(__file__).resolve().parents[2] / "scripts/redis"
OURS = ("edge", "worker")
# What would reconfigure, stop or leave the server, or write its users.
NEVER = {"+@admin", "+@dangerous", "+acl", "+cluster", "+config", "+debug", "+failover", "+migrate", "+module",
         "+monitor", "+psync", "+replicaof", "+shutdown", "+slaveof", "+sync"}  # fmt: skip
RENDER = "make down && make up: Redis reads its users when it starts"


def check(store: Store) -> Check:
    """The default user is off, nobody else is there, and each of ours is as its file says."""
    if not FOLDER.exists():
        return warn("redis users", f"{FOLDER} is not there to compare with", "run worker from its own checkout")
    wrong = [*_strangers(store), *(each for user in OURS for each in _differences(store, user))]
    if wrong:
        return fail("redis users", "; ".join(wrong), RENDER)
    return ok("redis users", "default is off, the edge has an allow-list")


def _strangers(store: Store) -> Iterator[str]:
    lines: Any = store.redis.acl_list()
    for line in lines:
        _, name, state = _text(line).split()[:3]
        if name == "default" and state != "off":
            yield "the user default is on: whoever reaches the socket may do everything"
        elif name not in (*OURS, "default"):
            yield f"the user {name} is not one of ours"


def _differences(store: Store, user: str) -> Iterator[str]:
    found: Any = store.redis.acl_getuser(user)
    if found is None:
        yield f"the user {user} is missing"
        return
    flags, rules = set(map(_text, found["flags"])), _rules(user)
    running = {*map(_text, found["commands"]), *map(_text, found["categories"])}
    if "nopass" in flags or not found["passwords"]:
        yield f"the user {user} has no password of its own"
    if "on" not in flags:
        yield f"the user {user} is off"
    if "+@all" in running:
        yield f"the user {user} may run every command"
    # Redis writes rules with groups in other words than ours: only a plain list can be compared in full.
    plain = not any(rule.startswith("+@") for rule in rules)
    extra = running - rules if plain else {rule for rule in running if rule.partition("|")[0] in NEVER} - rules
    yield from (f"{user} may run {rule}" for rule in sorted(extra - {"+@all"}) if rule.startswith("+"))
    if plain:
        yield from (f"{user} may not run {rule}" for rule in sorted(rules - running) if rule.startswith("+"))
    yield from (f"{user} may use {_text(key)}" for key in found["keys"] if _text(key) not in rules)
    if found["selectors"] or found["channels"]:
        yield f"{user} has selectors or channels"


def _rules(user: str) -> set[str]:
    lines = (FOLDER / f"{user}.acl").read_text().splitlines()
    return {word for line in lines for word in line.partition("#")[0].split()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
