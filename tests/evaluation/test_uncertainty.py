"""Intervals against scipy, and how often they hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from autoreel.evaluation.uncertainty import Interval, mean_interval, seed_intervals


def seed_interval(values: ArrayLike) -> Interval:
    """Of one group alone."""
    return seed_intervals({"all": np.asarray(values).tolist()})["all"]


@pytest.mark.parametrize("count", [2, 3, 5, 21])
def test_the_interval_of_seeds_agrees_with_scipy(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    expected = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    found = seed_interval(values)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-3) and found.count == count


def test_the_deviation_of_seeds_is_pooled_over_groups_and_bounds_hold() -> None:
    groups = {"a": [0.1, 0.3], "b": [0.9, 0.95, 1.0], "c": [0.5]}
    found = seed_intervals(groups, (0.0, 1.0))
    within = sum(float(np.var(values)) * len(values) for values in groups.values())
    half = stats.t.ppf(0.975, 3) * np.sqrt(within / 3 / np.array([2, 3, 1]))
    assert found["c"].low == pytest.approx(max(0.0, 0.5 - half[2]), rel=1e-3)
    assert (found["a"].low, found["a"].high) == pytest.approx((max(0.0, 0.2 - half[0]), 0.2 + half[0]), rel=1e-3)
    assert found["b"].high == 1.0 and found["b"].low == pytest.approx(0.95 - half[1], rel=1e-3)


def test_more_seeds_than_the_table_are_a_little_too_wide() -> None:
    values = np.random.default_rng(0).normal(size=60)
    low, high = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    found = seed_interval(values)
    assert found.low <= low and found.high >= high and (found.high - found.low) < 1.06 * (high - low)


def test_the_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = stats.bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    found = mean_interval(values, draws=4000)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.05)
    assert mean_interval(values) == mean_interval(values)


def test_of_one_there_is_no_interval() -> None:
    for found in (seed_interval([3.0]), mean_interval([3.0])):
        assert found.value == 3.0 and np.isnan([found.low, found.high]).all() and found.count == 1
    for wrong in ([], [np.nan, 1.0]):
        for interval in (seed_interval, mean_interval):
            with pytest.raises(ValueError, match="finite"):
                interval(wrong)
