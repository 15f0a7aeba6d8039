"""The plan of a generation and the lists composed from it: known answers on small catalogues, properties on larger."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.config import Settings
from worker.nightly import gates, plan_codec
from worker.nightly.compose import compose, default_list
from worker.nightly.plan import Catalogue, build, live, moment_of
from worker.packing import FLAG_HIDDEN, FLAG_REMOVED, KIND_EVERGREEN, KIND_TIMELY, META, MISSED_EVERGREEN, unpack_list

DATE = dt.date(2026, 11, 21)
MOMENT = moment_of(DATE)
DAY, HOUR = 86_400, 3600


def catalogue(rows):
    """Rows of (age in hours, kind, category, flags, impressions, clicks)."""
    meta = np.zeros(len(rows), META)
    for row, (hours, kind, category, flags, _, _) in zip(meta, rows, strict=True):
        row["posted"], row["kind"], row["category"], row["flags"] = MOMENT - hours * HOUR, kind, category, flags
    impressions = np.array([row[4] for row in rows], np.float64)
    clicks = np.array([row[5] for row in rows], np.float64)
    zeros = np.zeros(len(rows))
    return Catalogue(meta, impressions, clicks, zeros, zeros)


def random_catalogue(rng, size=400, categories=8):
    """A catalogue of both kinds, up to 80 days old, with skewed categories and click rates."""
    impressions = rng.integers(0, 2000, size)
    rows = zip(
        rng.integers(1, 80 * 24, size).tolist(), rng.integers(0, 2, size).tolist(),
        rng.zipf(1.6, size).clip(1, categories).tolist(), [0] * size, impressions.tolist(),
        (impressions * rng.beta(2, 30, size)).astype(int).tolist(), strict=True,
    )
    return catalogue(list(rows))


def test_midnight_is_utc():
    assert moment_of(dt.date(1970, 1, 2)) == DAY
    assert moment_of(dt.date(2026, 3, 29)) % DAY == 0


def test_live_leaves_out_hidden_removed_expired_and_future_items():
    meta = catalogue([(10, 1, 1, 0, 0, 0)] * 6).meta
    meta["flags"][1], meta["flags"][2] = FLAG_HIDDEN, FLAG_REMOVED
    meta["expires"][3], meta["expires"][4] = MOMENT, MOMENT + 1
    meta["posted"][5] = MOMENT
    assert live(meta, MOMENT).tolist() == [True, False, False, False, True, False]


def test_plan_known_answer():
    """Item 1 is clicked most; 2 is new; 3 was posted yesterday but has been seen often enough; 4 is hidden."""
    rows = [
        (48, KIND_EVERGREEN, 1, 0, 1000, 200),
        (5, KIND_TIMELY, 2, 0, 3, 3),
        (48, KIND_EVERGREEN, 1, 0, 1000, 50),
        (48, KIND_EVERGREEN, 2, FLAG_HIDDEN, 1000, 900),
        (100 * 24, KIND_EVERGREEN, 3, 0, 1000, 100),
    ]
    plan = build(catalogue(rows), DATE, 7, 0, Settings())
    assert plan.pool.tolist() == [1, 3, 2]
    assert (plan.top_count, plan.new_count) == (2, 1)
    assert plan.category.tolist() == [1, 1, 2]
    assert plan.older.tolist()[0] == 1
    assert sorted(plan.older.tolist()) == [1, 2, 3, 5], "an evergreen item past its days is older content"
    assert plan.best_position.tolist() == [0]
    assert plan.best_day.tolist() == [(MOMENT - 2 * DAY) // DAY]


def test_nothing_is_lost_between_new_and_scored():
    """An item two days old that nobody has seen is scored by the prior: between a good and a bad one."""
    rows = [(48, KIND_EVERGREEN, 1, 0, *counts) for counts in ((0, 0), (5000, 500), (5000, 5))]
    assert build(catalogue(rows), DATE, 1, 0, Settings()).pool.tolist() == [2, 1, 3]


def test_the_best_evergreen_item_of_each_day_is_in_the_pool_even_below_the_top():
    rows = [(24 * day - 1, KIND_EVERGREEN, 1, 0, 1000, 100 - day) for day in range(2, 40) for _ in range(2)]
    plan = build(catalogue(rows), DATE, 1, 0, Settings(top_size=10))
    assert plan.top_count == 10
    assert len(plan.best_position) == 38
    assert set(plan.pool[plan.best_position].tolist()) == set(range(1, 77, 2)), "of equals the one imported first"


def test_the_plan_survives_being_written_and_read():
    plan = build(random_catalogue(np.random.default_rng(1)), DATE, 9, 3, Settings(top_size=100))
    again = plan_codec.decode(plan_codec.encode(plan, Settings()))
    for name, value in plan.__dict__.items():
        assert np.array_equal(getattr(again, name), value), name


def made(rng, users=40, settings_=None, days_away=60):
    settings_ = settings_ or Settings(top_size=150, list_length=50)
    plan = build(random_catalogue(rng), DATE, 1, 0, settings_)
    last_seen = (MOMENT - rng.integers(0, days_away * DAY, users)) * 1000
    left = rng.random((users, len(plan.pool))) < rng.random((users, 1))
    ids = [b"u%d" % n for n in range(users)]
    return plan, left, compose(ids, last_seen, left, plan, settings_), last_seen, settings_


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_complete_lists_hold_no_repeat_and_no_avoidable_violation(seed):
    plan, left, complete, _, chosen = made(np.random.default_rng(seed))
    assert gates.count_repeats(complete, left) == 0
    assert gates.count_avoidable(complete, plan, chosen.gap) == 0
    full = np.minimum(left.sum(axis=1), chosen.list_length)
    assert (complete.lengths == full).all(), "a list is short only when nothing unseen is left"


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
@example(97312218)  # a person with fourteen of one category, of which thirteen have a place
@example(741)  # two with thirteen of one, which is not the first in their lists
def test_the_best_evergreen_items_since_the_last_visit_are_in_the_list_and_marked(seed):
    """All of them, but for what spacing, which is strict, leaves no place: that is told.

    Then the category has every place that it may have from its first one on, and only such items in them.
    """
    plan, left, complete, last_seen, chosen = made(np.random.default_rng(seed), days_away=20)
    for row in range(len(left)):
        entries = complete.entries[row, : complete.lengths[row]]
        places = (entries & 0x7FFF).tolist()
        must = {int(place) for place, day in zip(plan.best_position, plan.best_day, strict=True)
                if day >= last_seen[row] // (DAY * 1000) and left[row, place]}
        assert len(must - set(places)) == complete.missed[row]
        assert {int(entry & 0x7FFF) for entry in entries if entry & MISSED_EVERGREEN} == must & set(places)
        for category in {plan.category[place] for place in must - set(places)}:
            stands = [at for at, place in enumerate(places) if plan.category[place] == category]
            assert stands == list(range(stands[0], len(places), chosen.gap + 1))
            assert {places[at] for at in stands} <= must


def test_who_came_yesterday_gets_more_new_items_than_who_was_away_for_weeks():
    rows = [(48, KIND_EVERGREEN, n % 9, 0, 500, 20) for n in range(300)]
    rows += [(12, KIND_TIMELY, n % 9, 0, 0, 0) for n in range(200)]
    chosen = Settings(list_length=100)
    plan = build(catalogue(rows), DATE, 1, 0, chosen)
    last_seen = (MOMENT - np.array([0, 1, 3, 7, 21, 59]) * DAY) * 1000
    complete = compose([b"u%d" % n for n in range(6)], last_seen, np.ones((6, len(plan.pool)), bool), plan, chosen)
    assert (np.diff(complete.new) <= 0).all()
    assert complete.new[0] == pytest.approx(50, abs=3)
    assert complete.new[-1] == pytest.approx(10, abs=3)


def test_the_default_list_marks_nothing_as_missed():
    plan = build(random_catalogue(np.random.default_rng(2)), DATE, 4, 0, Settings())
    entries = unpack_list(plan_codec.encode(plan, Settings())["default"]).entries
    assert len(entries) == min(200, len(plan.pool))
    assert not (entries & MISSED_EVERGREEN).any()
    assert default_list(plan, Settings()).lengths.tolist() == [len(entries)]


def test_an_empty_catalogue_gives_an_empty_plan_and_list():
    plan = build(catalogue([]), DATE, 1, 0, Settings())
    complete = compose([b"u1"], np.array([MOMENT * 1000]), np.ones((1, 0), bool), plan, Settings())
    assert complete.lengths.tolist() == [0]


def test_gate_empty_and_shrunk_top():
    plan = build(catalogue([(48, KIND_EVERGREEN, 1, 0, 10, 1)] * 49), DATE, 1, 0, Settings())
    assert gates.check_plan(plan, 98, 0.5) == []
    assert "shrunk from 99 to 49" in gates.check_plan(plan, 99, 0.5)[0]
    assert "empty" in gates.check_plan(build(catalogue([]), DATE, 1, 0, Settings()), 0, 0.5)[0]


def test_the_sample_check_finds_planted_faults():
    shown = np.array([True, True, False, True])
    assert gates.check_list("u", [1, 2, 4], {3}, shown) == []
    assert "twice" in gates.check_list("u", [1, 2, 1], set(), shown)[0]
    assert "was seen" in gates.check_list("u", [1, 2], {2}, shown)[0]
    assert "hidden" in gates.check_list("u", [1, 3], set(), shown)[0]


def test_repeats_planted_in_a_finished_list_are_counted():
    _, left, complete, _, _ = made(np.random.default_rng(11))
    row = int(np.argmax(complete.lengths))
    complete.entries[row, 1] = complete.entries[row, 0]
    assert gates.count_repeats(complete, left) == 1
    unsure = left.copy()
    unsure[row, complete.entries[row, 5] & 0x7FFF] = False
    assert gates.count_repeats(complete, unsure) == 2


def test_an_avoidable_violation_planted_in_a_finished_list_is_counted():
    plan, _, complete, _, chosen = made(np.random.default_rng(12))
    row = int(np.argmax(complete.lengths))
    category = plan.category[complete.mixed.entries[row]]
    first = int(complete.order[row, 0])
    same = next(place for place in range(1, len(category)) if place != first and category[place] == category[first])
    other = np.flatnonzero(complete.order[row] == same)
    if len(other):
        complete.order[row, other[0]] = complete.order[row, 1]
    complete.order[row, 1] = same
    assert gates.count_avoidable(complete, plan, chosen.gap) >= 1
