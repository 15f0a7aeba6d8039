"""Scoring: known answers, and what must hold for any statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.nightly.score import Weights, freshness, quality, rank, wilson_lower

DAY = 86_400
CLICKS_ONLY = Weights(clicks=1.0, dwell=0.0, social=0.0, prior_impressions=200.0)
EVERYTHING = Weights()


def score(rows, weights=EVERYTHING):
    """Quality of rows (impressions, clicks, dwell_ms, social)."""
    columns = np.array(rows, np.float64).T
    return quality(*columns, weights)


def test_timely_freshness_halves_with_each_half_life():
    ages = np.array([0, 36, 72, 108]) * 3600
    fresh = freshness(ages, np.zeros(4, bool), half_life_hours=36, evergreen_days=90)
    assert fresh == pytest.approx([1, 0.5, 0.25, 0.125])


def test_evergreen_freshness_is_one_for_ninety_days_and_then_none():
    ages = np.array([0, 89 * DAY, 90 * DAY, 90 * DAY + 1])
    assert freshness(ages, np.ones(4, bool), half_life_hours=36, evergreen_days=90).tolist() == [1, 1, 1, 0]


def test_an_item_from_the_future_has_no_freshness():
    fresh = freshness(np.array([-1, -1]), np.array([True, False]), half_life_hours=36, evergreen_days=90)
    assert fresh.tolist() == [0, 0]


@given(st.lists(st.integers(0, 200 * DAY), min_size=2, max_size=20), st.booleans(), st.floats(0.5, 500))
def test_freshness_never_rises_with_age(ages, evergreen, half_life):
    ordered = np.sort(np.array(ages))
    fresh = freshness(ordered, np.full(len(ordered), evergreen), half_life_hours=half_life, evergreen_days=90)
    assert (np.diff(fresh) <= 0).all()
    assert ((fresh >= 0) & (fresh <= 1)).all()


def test_wilson_lower_bound_known_answer():
    """Half of 4 with z = 1: (0.5 + 1/8 - sqrt(1/16 + 1/64)) / (1 + 1/4)."""
    expected = (0.5 + 0.125 - math.sqrt(1 / 16 + 1 / 64)) / 1.25
    assert wilson_lower(np.array([0.5]), np.array([4.0]))[0] == pytest.approx(expected)


def test_smoothing_known_answer():
    """Two items, 100 impressions each, 10 and 0 clicks; means count TRIALS_BEFORE trials at 0.02 more."""
    weights = Weights(clicks=1.0, dwell=0.0, social=0.0, prior_impressions=100.0)
    mean = (10 + 50 * 0.02) / (200 + 50)
    rates = np.array([(10 + 100 * mean) / 200, (100 * mean) / 200])
    expected = wilson_lower(rates, np.array([200.0, 200.0])) / mean
    assert score([(100, 10, 0, 0), (100, 0, 0, 0)], weights) == pytest.approx(expected)


def test_a_lucky_single_click_does_not_win():
    lucky, proven, average = score([(1, 1, 0, 0), (1000, 300, 0, 0), (1000, 50, 0, 0)], CLICKS_ONLY)
    assert proven > lucky
    assert proven > average


def test_a_lucky_single_click_does_not_beat_what_is_known_to_be_average():
    values = score([(1, 1, 0, 0)] + [(1000, 50, 0, 0)] * 20, CLICKS_ONLY)
    assert (values[1:] > values[0]).all()


def test_of_equal_rates_the_better_known_wins():
    few, many = score([(20, 4, 0, 0), (2000, 400, 0, 0)], CLICKS_ONLY)
    assert many > few


def test_time_spent_and_social_reactions_raise_the_score():
    plain, read, liked = score([(500, 25, 10_000, 0), (500, 25, 90_000, 0), (500, 25, 10_000, 40)])
    assert read > plain
    assert liked > plain


def test_a_catalogue_nobody_has_seen_has_finite_equal_scores():
    values = score([(0, 0, 0, 0)] * 5)
    assert np.isfinite(values).all()
    assert (values == values[0]).all()
    assert values[0] > 0


STATISTICS = st.tuples(st.integers(0, 3000), st.floats(0, 1), st.integers(0, 10**7), st.integers(0, 10**5))


@given(st.lists(STATISTICS, min_size=1, max_size=8), st.integers(1, 50), st.floats(1, 1000))
def test_more_clicks_never_lower_a_score(rows, more, prior):
    rows = [(i, int(i * share), d, s) for i, share, d, s in rows]
    weights = Weights(prior_impressions=prior)
    before = score(rows, weights)[0]
    i, c, d, s = rows[0]
    after = score([(i, min(i, c + more), d, s), *rows[1:]], weights)[0]
    assert after >= before * (1 - 1e-12)


@given(st.lists(STATISTICS, min_size=1, max_size=8))
def test_scores_are_finite_and_not_negative(rows):
    values = score([(i, int(i * share), d, s) for i, share, d, s in rows])
    assert np.isfinite(values).all()
    assert (values >= 0).all()


def test_rank_breaks_ties_by_newer_then_by_number():
    values, posted = np.array([1.0, 2.0, 1.0, 1.0]), np.array([5, 1, 9, 5])
    assert rank(values, posted).tolist() == [1, 2, 0, 3]
