"""Intervals against scipy, and how often they hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from autoreel.evaluation.uncertainty import mean_interval, seed_interval


@pytest.mark.parametrize("count", [2, 3, 5, 21])
def test_the_interval_of_seeds_agrees_with_scipy(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    expected = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    found = seed_interval(values)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-3) and found.count == count


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
