"""Distances between sets against scipy, torchmetrics, their definitions, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import linalg, optimize, spatial, stats

from autoreel.evaluation.distances import (
    TooFewError,
    binomial_tail,
    classify,
    distances,
    fit_classifier,
    frechet,
    kernel_distance,
    manifold,
    two_sample_test,
)

Array = NDArray[np.float64]


def points(count: int, shift: float = 0.0, seed: int = 0, dimensions: int = 5) -> Array:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(dimensions, dimensions))
    return random.normal(size=(count, dimensions)) @ mixing + shift


def test_frechet_agrees_with_scipy() -> None:
    a, b = points(60), 1.3 * points(50, 0.4, 1)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root: Any = linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    a, b = points(60), points(50, 0.4, 1)
    moments = [torch.from_numpy(x) for s in (a, b) for x in (s.mean(0), np.cov(s, rowvar=False))]
    assert frechet(a, b) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)


def test_frechet_by_hand() -> None:
    a = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    assert frechet(a, a + 3) == pytest.approx(9.0)  # means apart, deviations equal
    assert frechet(a, 2 * a) == pytest.approx(4 / 3)  # (2 s - s)^2, s^2 = 4 / 3
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-12)


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    a, b = points(40), points(40, 0.4, 1)
    expected = float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b)))
    assert kernel_distance(a, b, "cubic") == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_by_definition_for_sets_of_two_sizes() -> None:
    a, b = points(9), points(12, 0.4, 1)

    def kernel(x: Array, y: Array) -> float:
        square = float(np.mean((x - y) ** 2))
        return float(np.mean([(1 + square / 2 / alpha) ** -alpha for alpha in (0.2, 0.5, 1, 2, 5)]))

    within = [np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(float(sum(within) - 2 * between), rel=1e-9)


def test_kernel_distance_of_samples_of_one_thing_is_zero_on_average() -> None:
    found = [kernel_distance(points(30, seed=2 * i), points(30, seed=2 * i + 1)) for i in range(60)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(60)
    assert min(found) < 0 < max(found)


def test_precision_recall_density_and_coverage_by_definition() -> None:
    real, made, k = points(30), points(20, 0.8, 1), 3
    found = manifold(real, made, k)
    reach_real = np.sort(spatial.distance.cdist(real, real), 1)[:, k]
    reach_made = np.sort(spatial.distance.cdist(made, made), 1)[:, k]
    near = spatial.distance.cdist(real, made)
    assert found.precision == pytest.approx(np.mean([(near[:, j] <= reach_real).any() for j in range(20)]))
    assert found.recall == pytest.approx(np.mean([(near[i] <= reach_made).any() for i in range(30)]))
    assert found.density == pytest.approx(np.mean([(near[:, j] <= reach_real).sum() / k for j in range(20)]))
    assert found.coverage == pytest.approx(np.mean([near[i].min() <= reach_real[i] for i in range(30)]))


def test_the_four_tell_lost_variety_from_lost_likeness() -> None:
    real = points(80)
    narrow = manifold(real, real[:1] + 0.01 * points(80, seed=3))  # one clip over and over
    strange = manifold(real, points(80, 50.0, 3))
    good = manifold(real, points(80, seed=3))
    assert narrow.precision > 0.9 and narrow.recall < 0.1 and narrow.coverage < 0.2
    assert strange.precision == strange.density == strange.coverage == 0
    assert min(good.precision, good.recall, good.coverage) > 0.7


def test_distances_agree_with_scipy() -> None:
    a, b = points(7), points(9, 1.0, 1)
    assert distances(a, b) == pytest.approx(spatial.distance.cdist(a, b))


def test_the_two_sample_test_knows_equal_sets_from_different_ones() -> None:
    same = [two_sample_test(points(60, seed=2 * i), points(60, seed=2 * i + 1)) for i in range(10)]
    assert np.mean([result.accuracy for result in same]) == pytest.approx(0.5, abs=0.06)
    assert sum(result.p_value < 0.05 for result in same) <= 2
    apart = two_sample_test(points(60), points(90, 2.0, 1))
    assert apart.accuracy > 0.9 and apart.p_value < 1e-6 and apart.count == 120


def test_the_classifier_is_the_least_of_its_loss() -> None:
    x, classes = points(50), np.random.default_rng(3).integers(0, 3, 50)
    x[classes == 1] += 1.0
    found = fit_classifier(x, classes, 3)
    z = np.concatenate([(x - x.mean(0)) / x.std(0), np.ones((50, 1))], 1)

    def loss(flat: Array) -> float:
        w = flat.reshape(6, 3)
        scores = z @ w
        fit = np.sum(np.log(np.exp(scores).sum(1)) - scores[np.arange(50), classes])
        return float(fit + 0.5 * np.sum(w[:-1] ** 2) + 0.5e-6 * np.sum(w[-1] ** 2))

    best = optimize.minimize(loss, np.zeros(18), method="BFGS")
    assert loss(found.weights.ravel()) == pytest.approx(best.fun, abs=1e-4)
    assert (classify(found, x) == classes).mean() > 0.5


@pytest.mark.parametrize(("heads", "throws"), [(0, 10), (5, 10), (9, 10), (130, 200)])
def test_the_binomial_tail_agrees_with_scipy(heads: int, throws: int) -> None:
    assert binomial_tail(heads, throws) == pytest.approx(stats.binom.sf(heads - 1, throws, 0.5))


def test_too_few_clips_are_refused() -> None:
    for measure, needed in ((frechet, 6), (kernel_distance, 8), (manifold, 8), (two_sample_test, 16)):
        with pytest.raises(TooFewError, match=f"at least {needed} clips") as caught:
            measure(points(100), points(needed - 1))
        assert caught.value.needed == needed and caught.value.found == needed - 1
        measure(points(100), points(needed))


def test_what_are_no_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        frechet(points(20), points(20, dimensions=4))
    broken = points(20)
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        kernel_distance(points(20), broken)
