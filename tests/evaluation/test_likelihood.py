"""Bits per dimension against scipy's logistic, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from autoreel.evaluation.likelihood import LEVEL, bits_per_dimension, logistic_scale, nats


def test_the_levels_of_a_value_share_all_of_its_probability() -> None:
    levels = torch.arange(256) * LEVEL - 1
    for made in (-1.2, -0.3, 0.999):
        assert float(torch.exp(-nats(levels, torch.full((256,), made), 0.02)).sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("scale", [0.001, 0.05])
def test_nats_agree_with_scipy(scale: float) -> None:
    made = torch.tensor([0.1, -0.5, 0.0, -1.0, 1.0], dtype=torch.float64)
    video = torch.tensor([26 * 5, 64, 128, 0, 255], dtype=torch.float64) * LEVEL - 1
    edges = [(v - LEVEL / 2, v + LEVEL / 2) for v in video.tolist()]
    edges[3], edges[4] = (-math.inf, edges[3][1]), (edges[4][0], math.inf)
    for i, (low, high) in enumerate(edges):
        law = stats.logistic(made[i].item(), scale)
        mass = law.cdf(high) - law.cdf(low) if made[i] > low else law.sf(low) - law.sf(high)
        assert float(nats(video, made, scale)[i]) == pytest.approx(-math.log(mass), rel=1e-6)


def test_far_values_cost_much_and_stay_finite() -> None:
    cost = nats(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([-3.0, 3.0, 3.0]), LEVEL / 16)
    assert bool(torch.isfinite(cost).all()) and float(cost.min()) > 1000


def test_the_scale_of_a_logistic_is_found() -> None:
    errors = stats.logistic.rvs(scale=0.03, size=200_000, random_state=0)
    assert logistic_scale(torch.from_numpy(errors)) == pytest.approx(0.03, rel=0.01)
    assert logistic_scale(torch.zeros(4)) > 0


def test_bits_by_hand() -> None:
    assert bits_per_dimension(2 * math.log(2), 6 * math.log(2), 4) == pytest.approx(2.0)
    even = torch.zeros(3, 3)  # with a very wide logistic every level is as likely as its neighbours
    assert float(nats(even, even, 10.0).mean()) == pytest.approx(math.log(40 / LEVEL), abs=1e-4)
    with pytest.raises(ValueError, match="without values"):
        bits_per_dimension(1.0, 1.0, 0)
