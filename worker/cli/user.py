"""``worker user``: what is known of a person, why they see what they see, and erasure."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from worker.explain import explain_item, explain_list
from worker.person import Known, moment_text
from worker.picture import Picture
from worker.store import items, pictures, users
from worker.store.connect import Store, open_store
from worker.tokens import ID


def _checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Raises BadParameter for what can't be an id."""
    if value is not None and not ID.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an id: 1-128 characters of A-Z a-z 0-9 . _ ~ : -")
    return value


AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on one line.")
USER = click.argument("user", callback=_checked)


@click.group(help="What is known of a person, why they see what they see, and erasure.")
def command() -> None:
    """The group of user commands."""


@command.command()
@USER
@AS_JSON
def show(user: str, as_json: bool) -> None:
    """What is known of USER, in numbers."""
    summary = _summary(_known(open_store(), user))
    click.echo(json.dumps(summary) if as_json else "\n".join(f"{name:18} {value}" for name, value in summary.items()))


@command.command()
@USER
@click.option("--json", "as_json", is_flag=True, help="On one line.")
def export(user: str, as_json: bool) -> None:
    """Everything that is known of USER, as JSON."""
    store = open_store()
    _known(store, user)
    click.echo(json.dumps(users.export(store, user), indent=None if as_json else 2, ensure_ascii=False))


@command.command()
@USER
@click.option("--yes", is_flag=True, help="Don't ask.")
@AS_JSON
def forget(user: str, yes: bool, as_json: bool) -> None:
    """Erase everything that is known of USER: seen items, acts, searches, the list. Statistics of items stay."""
    store = open_store()
    known = _known(store, user)
    if not yes:
        click.confirm(f"Erase {user}, {len(known.seen)} seen items and all else? This can't be undone", abort=True,
                      err=True)
    gone = users.forget(store, user)
    click.echo(json.dumps({"user": user, **gone}) if as_json else f"forgot {user}: {_counted(gone)}")


@command.command()
@USER
@click.argument("item", required=False, callback=_checked)
@AS_JSON
def explain(user: str, item: str | None, as_json: bool) -> None:
    """Why each item is in USER's list; with ITEM, why that one is or is not shown."""
    store = open_store()
    _known(store, user)
    if item is None:
        picture = pictures.load(store, user)
        answer, text = _list_answer(picture), _list_text
    else:
        number = items.numbers_of(store, [item], removed=True).get(item)
        picture = pictures.load(store, user, [number] if number else [])
        answer, text = {"user": user, **explain_item(picture, item, number)}, _item_text
    click.echo(json.dumps(answer) if as_json else text(answer))


def _known(store: Store, user: str) -> Known:
    known = users.load(store, user)
    if not known.found:
        raise click.ClickException(f"nothing is known of user {user}: no event of theirs is within the window, "
                                   f"or they were forgotten")
    return known


def _counted(gone: dict[str, int]) -> str:
    return f"{gone['seen']} seen items, {gone['acts']} acts, {gone['searches']} searches, {gone['lists']} list"


def _summary(known: Known) -> dict[str, Any]:
    acts = [act for bucket in known.buckets for act in bucket.acts.values()]
    published = known.published
    return {
        "user": known.user,
        "last_seen": None if known.last_seen_ms is None else moment_text(known.last_seen_ms // 1000),
        "seen": len(known.seen),
        "clicked": len({number for bucket in known.buckets for number in bucket.clicked}),
        "dwell_s": round(sum(act.dwell_ms for act in acts) / 1000, 1),
        "searches": len(known.searches),
        "list_items": len(published.entries) if published else 0,
        "list_generation": published.generation if published else None,
        "list_made_at": moment_text(published.made_at) if published else None,
    }


def _list_answer(picture: Picture) -> dict[str, Any]:
    published, last_seen_ms = picture.published, picture.known.last_seen_ms
    return {
        "user": picture.known.user,
        "source": "none" if published is None else "list" if picture.own else "default",
        "generation": published.generation if published else None,
        "made_at": moment_text(published.made_at) if published else None,
        "run": moment_text(picture.pool.moment)[:10] if picture.pool else None,
        "last_seen": None if last_seen_ms is None else moment_text(last_seen_ms // 1000),
        "days_away": picture.days_away(),
        "items": explain_list(picture),
    }


def _list_text(answer: dict[str, Any]) -> str:
    if answer["source"] == "none":
        return (f"{answer['user']} has no list: no nightly run has published yet, or its generation is gone. "
                f"The feed serves fresh and older content")
    whose = "their list" if answer["source"] == "list" else "no list of their own, so the default list"
    away = answer["days_away"]
    visit = "here since the run" if away is None else f"away for {away} days at the run"
    parts = Counter(row["reason"] for row in answer["items"])
    lines = [f"{answer['user']}: {whose}, generation {answer['generation']} of the run of {answer['run']}, {visit}",
             f"{len(answer['items'])} items: " + ", ".join(f"{count} {reason}" for reason, count in parts.items())]
    return "\n".join(lines + [_row_text(row) for row in answer["items"]])


def _row_text(row: dict[str, Any]) -> str:
    passed_over = f" [passed over: {row['blocked']}]" if row["blocked"] else ""
    return f"{row['position']:4}  {row['item'] or '?':20} {row['category'] or '?':14} {row['why']}{passed_over}"


def _item_text(answer: dict[str, Any]) -> str:
    return f"{answer['item']} for {answer['user']}: {answer['verdict'].replace('_', ' ')}: {answer['why']}"
