"""How sure a number is: intervals from resampled clips, and from trainings that differ only in their seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond the table the last is a little too wide.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
DRAWS = 500


@dataclass(frozen=True)
class Interval:
    """A number and the 95 % interval around it.

    Args:
        value: the estimate.
        low: lower end; NaN where there was nothing to estimate it from.
        high: upper end.
        count: of what it was estimated from.
    """

    value: float
    low: float
    high: float
    count: int


def resampled(
    count: int, statistic: Callable[[NDArray[np.int64]], float], draws: int, seed: int
) -> NDArray[np.float64]:
    """A statistic of `draws` samples drawn with replacement from the numbers 0 to count - 1 (Efron 1979)."""
    random = np.random.default_rng(seed)
    return np.array([statistic(random.integers(0, count, count)) for _ in range(draws)], np.float64)


def mean_interval(values: ArrayLike, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of per-clip figures, with its bootstrap percentile interval.

    Args:
        values: one per clip, at least one; finite.
        seed: of the resampling.
        draws: how many samples.
    """
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError(f"finite values (N,) are needed, at least one, not {found.shape}")
    if len(found) == 1:
        return Interval(float(found[0]), np.nan, np.nan, 1)
    means = resampled(len(found), lambda chosen: float(found[chosen].mean()), draws, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(found.mean()), float(low), float(high), len(found))


def seed_interval(values: ArrayLike) -> Interval:
    """The mean over trainings of different seeds, with Student's interval; with one seed there is none.

    Args:
        values: one per seed, at least one; finite.
    """
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError(f"finite values (N,) are needed, at least one, not {found.shape}")
    mean, count = float(found.mean()), len(found)
    if count == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = _STUDENT[min(count - 1, len(_STUDENT)) - 1] * float(found.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)
