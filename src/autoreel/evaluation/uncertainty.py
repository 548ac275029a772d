"""How sure a number is: intervals from resampled clips, and from trainings that differ only in their seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def seed_intervals(
    groups: Mapping[str, Sequence[float]], bounds: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, Interval]:
    """Means over trainings of different seeds, with Student's intervals.

    The deviation of seeds is taken to be the same in all groups and pooled over them, as in an analysis of variance
    (Fisher 1925): two seeds of one group alone, with one degree of freedom, would leave intervals that say nothing.

    Args:
        groups: one value per seed, at least one; finite.
        bounds: that no value can leave; neither do the intervals.

    Returns:
        By group; without an interval where no group has two seeds.
    """
    found = {name: np.asarray(values, np.float64) for name, values in groups.items()}
    for values in found.values():
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError(f"finite values (N,) are needed, at least one, not {values.shape}")
    freedom = sum(len(values) - 1 for values in found.values())
    if not freedom:
        return {name: Interval(float(values.mean()), np.nan, np.nan, 1) for name, values in found.items()}
    deviation = np.sqrt(sum(float(np.square(values - values.mean()).sum()) for values in found.values()) / freedom)
    student, intervals = _STUDENT[min(freedom, len(_STUDENT)) - 1], {}
    for name, values in found.items():
        mean, half = float(values.mean()), float(student * deviation / np.sqrt(len(values)))
        intervals[name] = Interval(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), len(values))
    return intervals
