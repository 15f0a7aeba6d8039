"""Why an item is or is not in a list: one hand-made run in which every reason occurs."""

import dataclasses

import numpy as np
import pytest

from worker.config import Settings
from worker.explain import explain_item, explain_list
from worker.packing import (
    FLAG_HIDDEN,
    FLAG_REMOVED,
    KIND_EVERGREEN,
    KIND_TIMELY,
    META,
    MISSED_EVERGREEN,
    Pool,
    UserList,
)
from worker.person import Bucket, Known
from worker.picture import Picture

DAY = 86_400
MOMENT = 20_780 * DAY  # 2026-11-23: the run
NOW = MOMENT + 9 * 3600
EVER, TIMELY = KIND_EVERGREEN, KIND_TIMELY
# name: (posted in days before the run, kind, expires, flags), in the order of item numbers
CATALOGUE = {
    "top1": (5, EVER, 0, 0), "top2": (2, TIMELY, 0, 0), "top3": (9, EVER, 0, 0), "cut": (3, TIMELY, 0, 0),
    "new1": (0.5, TIMELY, 0, 0), "new2": (0.4, TIMELY, 0, 0), "missed": (30, EVER, 0, 0), "visited": (70, EVER, 0, 0),
    "weak": (10, EVER, 0, 0), "old": (100, EVER, 0, 0), "hidden": (4, EVER, 0, FLAG_HIDDEN),
    "removed": (4, EVER, 0, FLAG_REMOVED), "expired": (4, EVER, MOMENT - 1, 0), "future": (-3, EVER, 0, 0),
    "seen": (4, EVER, 0, 0), "fresh": (-0.1, TIMELY, 0, 0), "late": (8, TIMELY, 0, 0),
}  # fmt: skip
NUMBER = {name: number for number, name in enumerate(CATALOGUE, 1)}
KNOWN_ITEMS = NUMBER["seen"]  # what came later is beyond the run's max_item
BUCKET = MOMENT // DAY // 10


def meta():
    rows = [(MOMENT - int(days * DAY), expires, 0, 1 + at % 3, kind, flags)
            for at, (days, kind, expires, flags) in enumerate(CATALOGUE.values())]
    return np.array(rows, META)


def numbers(*names):
    return np.array([NUMBER[name] for name in names], np.uint32)


IN_POOL = ["top1", "top2", "top3", "seen", "cut", "new1", "new2", "missed", "visited"]
POOL = Pool(7, MOMENT, KNOWN_ITEMS, 5, 2, numbers(*IN_POOL))
# top1, new2, top2, missed, top3 as one of its day's best
ENTRIES = np.array([0, 6, 1, 7 | MISSED_EVERGREEN, 2 | MISSED_EVERGREEN], np.uint16)
HAD, HID = NUMBER["seen"], NUMBER["top2"]
SEEN = Bucket(BUCKET, seen=frozenset([HAD, HID]), clicked=frozenset([HAD]), uncounted=frozenset([HID]))
OLDER = "It comes when the lists are used up, with older content"
PICTURE = Picture(
    now=NOW, settings=Settings(), known=Known("u1", (MOMENT - 40 * DAY) * 1000, [SEEN], [], None), own=True,
    published=UserList(7, MOMENT + 60, ENTRIES), pool=POOL, current_pool=POOL,
    default_items=[NUMBER["top1"], NUMBER["cut"]], meta=meta(), categories={1: "art", 2: "food", 3: "sport"},
    scores={"top1": 3.0, "top2": 2.0, "top3": 1.5, "seen": 1.2, "cut": 1.0},
    names={number: name for name, number in NUMBER.items()},
)  # fmt: skip


def explain(name, **changes):
    return explain_item(dataclasses.replace(PICTURE, **changes), name, NUMBER.get(name))


def test_every_position_says_why_it_is_there():
    rows = explain_list(PICTURE)
    assert [(row["position"], row["item"], row["reason"], row["rank"]) for row in rows] == [
        (1, "top1", "top", 1), (2, "new2", "new", None), (3, "top2", "top", 2), (4, "missed", "evergreen", None),
        (5, "top3", "evergreen", 3),
    ]  # fmt: skip
    assert [row["why"] for row in rows] == [
        "rank 1 of 5 in top content, score 3",
        "new content, posted 2026-11-22",
        "rank 2 of 5 in top content, score 2",
        "one of the best evergreen items of 2026-10-24, below the top content",
        "one of the best evergreen items of 2026-11-14, missed since the last visit (rank 3 of 5 in top content, "
        "score 1.5)",
    ]
    assert [row["category"] for row in rows] == ["art", "sport", "food", "art", "sport"]


def test_what_was_seen_or_hidden_since_the_run_is_marked_as_passed_over():
    changed = PICTURE.meta.copy()
    changed["flags"][NUMBER["top1"] - 1] = FLAG_HIDDEN
    rows = explain_list(dataclasses.replace(PICTURE, meta=changed))
    assert {row["item"]: row["blocked"] for row in rows if row["blocked"]} == {"top1": "hidden", "top2": "seen"}


@pytest.mark.parametrize(("name", "verdict", "why"), [
    ("top1", "listed", "at position 1 of the person's list"),
    ("cut", "cut", "rank 5 of 5 in top content, score 1: cut by the list's length. Its 5 items reach to rank 3, new "
     "ones and the gap between categories considered. It comes when the list is used up, at position 2 of the "
     "default list"),
    ("new1", "not_drawn", "new content, posted 2026-11-22, but not drawn for this person, who got 1 of the run's 2 "
     f"new items. {OLDER}"),
    ("visited", "not_missed", "one of the best evergreen items of 2026-09-14, below the top content: for those who "
     f"were not here since that day. {OLDER}"),
    ("weak", "below_cut", f"its score is below the 5 items of top content, of which the last scores 1. {OLDER}"),
    ("old", "too_old", f"evergreen items older than 90 days have no score. {OLDER}"),
    ("hidden", "hidden", "hidden in the catalogue"),
    ("removed", "removed", "removed from the catalogue"),
    ("expired", "expired", "expired at 2026-11-22T23:59:59Z"),
    ("future", "not_out", "not out before 2026-11-26T00:00:00Z"),
    ("fresh", "fresh", "published since the run: it comes at one of the positions kept for fresh items, one in 6"),
    ("late", "after_run", f"it came after the run, and is too old to be fresh: the next run scores it. {OLDER}"),
    ("nothing", "unknown", "the catalogue has never had an item of this id"),
])  # fmt: skip
def test_one_item_is_explained(name, verdict, why):
    answer = explain(name)
    assert (answer["verdict"], answer["why"]) == (verdict, why)


def test_a_seen_item_says_when_how_and_until_when():
    """Bucket 1039 is the days 20780 to 20799: 2026-11-23 to 2026-12-02; 60 days later is 2027-02-01."""
    answer = explain("seen")
    assert answer["verdict"] == "seen"
    assert answer["why"] == ("seen between 2026-11-23 and 2026-12-02 (an impression and a click); "
                             "it stays away until 2027-02-01")
    assert answer["seen"] == {"periods": [{"from": "2026-11-23", "to": "2026-12-02"}], "clicked": True,
                              "impression_counted": True}
    assert answer["pool"] == {"reason": "top", "rank": 4, "score": 1.2, "day": None}


def test_an_item_that_was_only_hidden_or_clicked_says_so_and_keeps_its_position():
    answer = explain("top2")
    assert "no impression that counted" in answer["why"]
    assert answer["position"] == 3


def test_without_a_list_of_their_own_people_get_the_default_list():
    answer = explain("top1", own=False)
    assert answer["why"] == "at position 1 of the default list, which serves those without a list"


def test_before_the_first_run_young_items_are_fresh_and_others_have_no_list():
    nothing = {"published": None, "pool": None, "current_pool": None, "default_items": [], "scores": {}}
    assert explain("new1", **nothing)["verdict"] == "fresh"
    assert explain("top3", **nothing)["verdict"] == "no_list"
    assert explain_list(dataclasses.replace(PICTURE, **nothing)) == []


def test_scores_of_another_run_are_not_told():
    newer = dataclasses.replace(POOL, generation=8)
    rows = explain_list(dataclasses.replace(PICTURE, current_pool=newer))
    assert {row["score"] for row in rows} == {None}
    assert rows[0]["why"] == "rank 1 of 5 in top content"


def test_days_away_are_those_at_the_run_and_unknown_after_a_later_visit():
    assert PICTURE.days_away() == 40.0
    later = dataclasses.replace(PICTURE.known, last_seen_ms=NOW * 1000)
    assert dataclasses.replace(PICTURE, known=later).days_away() is None
