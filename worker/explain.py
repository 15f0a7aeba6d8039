"""Why an item is, or is not, in a person's list. Pure.

Reasons are checked in the order in which the edge and the nightly run apply them: what may not be shown to anyone,
what the person has seen, what comes as fresh, what the list holds, and what the run left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.keyspace import BUCKET_DAYS, DAY_SECONDS
from worker.packing import KIND_EVERGREEN, MISSED_EVERGREEN, POSITION_MASK, Pool
from worker.person import day_text, moment_text
from worker.picture import Picture

Verdict = tuple[str, str]  # a word for machines, a sentence for people


def explain_list(picture: Picture) -> list[dict[str, Any]]:
    """One row a position: the item, why it is there, and what keeps the feed from showing it, if anything does."""
    if picture.published is None or picture.pool is None:
        return []
    rows = []
    for index, entry in enumerate(picture.published.entries.tolist(), 1):
        place = entry & POSITION_MASK
        number = int(picture.pool.items[place])
        found = _part(picture, picture.pool, place, missed=bool(entry & MISSED_EVERGREEN))
        rows.append({"position": index, **picture.item(number), **found, "blocked": picture.blocked(number)})
    return rows


def explain_item(picture: Picture, item_id: str, number: int | None) -> dict[str, Any]:
    """Whether and how the person gets one item: ``verdict`` (a word), ``why`` (a sentence), and the facts behind it.

    ``number`` is None for an id that the catalogue never had. ``position`` counts from 1.
    """
    if number is None:
        return {"item": item_id, "number": None, "verdict": "unknown",
                "why": "the catalogue has never had an item of this id"}
    verdict, why = _verdict(picture, number)
    seen = picture.known.seen_row(number) if number in picture.known.seen else None
    facts = {**picture.item(number), "item": item_id, "verdict": verdict, "why": why, "seen": seen}
    return {**facts, "position": picture.position(number), "pool": _pool_row(picture, number)}


def _verdict(picture: Picture, number: int) -> Verdict:
    blocked = picture.blocked(number)
    if blocked is not None:
        return blocked, _blocked_why(picture, number, blocked)
    if picture.is_fresh(number):
        return "fresh", ("published since the run: it comes at one of the positions kept for fresh items, one in "
                         f"{picture.settings.fresh_every}")
    position = picture.position(number)
    if position is not None:
        whose = "the person's list" if picture.own else "the default list, which serves those without a list"
        return "listed", f"at position {position} of {whose}"
    return _left_out(picture, number)


def _blocked_why(picture: Picture, number: int, blocked: str) -> str:
    if blocked == "seen":
        return _seen_why(picture, number)
    if blocked in ("removed", "hidden"):
        return "removed from the catalogue" if blocked == "removed" else "hidden in the catalogue"
    row = picture.meta[number - 1]
    if blocked == "not_out":
        return f"not out before {moment_text(int(row['posted']))}"
    return f"expired at {moment_text(int(row['expires']))}"


def _seen_why(picture: Picture, number: int) -> str:
    row = picture.known.seen_row(number)
    newest = max(bucket.number for bucket in picture.known.buckets if number in bucket.seen)
    until = day_text((newest + 1) * BUCKET_DAYS + picture.settings.window_days)
    how = "an impression" if row["impression_counted"] else "no impression that counted"
    clicked = " and a click" if row["clicked"] and row["impression_counted"] else ""
    period = row["periods"][0]
    return f"seen between {period['from']} and {period['to']} ({how}{clicked}); it stays away until {until}"


def _left_out(picture: Picture, number: int) -> Verdict:
    """Why the run did not put a live, unseen item into the list."""
    later, row, pool = _later(picture, number), picture.meta[number - 1], picture.pool
    if pool is None:
        return "no_list", f"there is no list: no nightly run has published yet. {later}"
    place = picture.place(number)
    if place is not None:
        return _not_chosen(picture, pool, place, later)
    if number > pool.max_item:
        return "after_run", f"it came after the run, and is too old to be fresh: the next run scores it. {later}"
    age_days = (pool.moment - int(row["posted"])) / DAY_SECONDS
    if row["kind"] == KIND_EVERGREEN and age_days > picture.settings.evergreen_days:
        return "too_old", f"evergreen items older than {picture.settings.evergreen_days} days have no score. {later}"
    cut = f", of which the last scores {min(picture.scores.values()):.4g}" if picture.scores else ""
    return "below_cut", f"its score is below the {pool.top_count} items of top content{cut}. {later}"


def _not_chosen(picture: Picture, pool: Pool, place: int, later: str) -> Verdict:
    listed = picture.published.positions if picture.published else np.empty(0, np.uint16)
    found = _part(picture, pool, place, missed=False)
    if found["reason"] == "top":
        last = int(listed[listed < pool.top_count].max(initial=0)) + 1
        return "cut", (f"{found['why']}: cut by the list's length. Its {len(listed)} items reach to rank {last}, new "
                       f"ones and the gap between categories considered. {later}")
    if found["reason"] == "new":
        new = int(((listed >= pool.top_count) & (listed < pool.top_count + pool.new_count)).sum())
        return "not_drawn", (f"{found['why']}, but not drawn for this person, who got {new} of the run's "
                             f"{pool.new_count} new items. {later}")
    return "not_missed", f"{found['why']}: for those who were not here since that day. {later}"


def _later(picture: Picture, number: int) -> str:
    if picture.own and number in picture.default_items:
        place = picture.default_items.index(number) + 1
        return f"It comes when the list is used up, at position {place} of the default list"
    return "It comes when the lists are used up, with older content"


def _part(picture: Picture, pool: Pool, place: int, missed: bool) -> dict[str, Any]:
    """Which part of the pool a place belongs to, as reason, rank (from 1), score, day and a sentence."""
    number = int(pool.items[place])
    posted = int(picture.meta[number - 1]["posted"]) if number <= len(picture.meta) else 0
    day, top = day_text(posted // DAY_SECONDS), place < pool.top_count
    rank, score = (place + 1, picture.score(number)) if top else (None, None)
    ranked = f"rank {rank} of {pool.top_count} in top content" + (f", score {score:.4g}" if score is not None else "")
    if missed or place >= pool.top_count + pool.new_count:
        how = f"missed since the last visit ({ranked})" if missed and top else "below the top content"
        return {"reason": "evergreen", "rank": rank, "score": score, "day": day,
                "why": f"one of the best evergreen items of {day}, {how}"}
    if top:
        return {"reason": "top", "rank": rank, "score": score, "day": None, "why": ranked}
    return {"reason": "new", "rank": None, "score": None, "day": day, "why": f"new content, posted {day}"}


def _pool_row(picture: Picture, number: int) -> dict[str, Any] | None:
    place = picture.place(number)
    if place is None or picture.pool is None:
        return None
    found = _part(picture, picture.pool, place, missed=False)
    return {name: found[name] for name in ("reason", "rank", "score", "day")}
