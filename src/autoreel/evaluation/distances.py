"""How far apart two sets of clips are, from their features. Pure functions of float64 (N, D) arrays.

All but the two-sample test grow smaller the more alike the sets are, and none is zero for two different samples of one
thing: beside each stands its floor, real against other real clips. Too few clips are refused, each with its minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Kernel = Literal["rational", "cubic"]
NEIGHBOURS = 3  # k of the manifold that precision, recall, density and coverage stand on
MIN_KERNEL = 8
MIN_TEST = 16
FOLDS = 4


class TooFewError(ValueError):
    """Fewer clips than a measure needs.

    Args:
        what: the measure.
        found: how many there are in the smaller set.
        needed: how many it needs.
    """

    def __init__(self, what: str, found: int, needed: int) -> None:
        super().__init__(f"{what} needs at least {needed} clips on each side, not {found}")
        self.what, self.found, self.needed = what, found, needed


def frechet(first: ArrayLike, second: ArrayLike, least: int | None = None) -> float:
    """Frechet distance of two Gaussians fitted to the sets (Heusel et al. 2017, eq. 6).

    Args:
        first: (N, D), N above D, or a covariance has directions that were never seen.
        second: (M, D), M above D.
        least: another minimum than D + 1, for features that are always more than clips.

    Returns:
        At least 0.

    Raises:
        TooFewError: not more clips than features.
    """
    a, b = _pair(first, second)
    _check("the Frechet distance", a, b, a.shape[1] + 1 if least is None else least)
    mean_a, mean_b = a.mean(0), b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False).reshape(a.shape[1], -1), np.cov(b, rowvar=False).reshape(b.shape[1], -1)
    # Tr (A B)^1/2 = Tr (A^1/2 B A^1/2)^1/2, whose matrix is symmetric: no complex roots, no scipy.
    root = _root(cov_a)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return max(0.0, float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def kernel_distance(first: ArrayLike, second: ArrayLike, kernel: Kernel = "rational") -> float:
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012, eq. 3).

    Args:
        first: (N, D), N at least 8.
        second: (M, D), M at least 8.
        kernel: "rational", a mixture of rational quadratic kernels (Binkowski et al. 2018, section 2.1), which no
            single strange clip can dominate; or "cubic", that of KID.

    Returns:
        Zero on average for two samples of one thing, and below zero half of the time then; with the rational kernel at
        most 2.

    Raises:
        TooFewError: fewer than 8.
    """
    a, b = _pair(first, second)
    _check("the kernel distance", a, b, MIN_KERNEL)
    measure = _KERNELS[kernel]
    return float(_apart(measure(a, a)) + _apart(measure(b, b)) - 2 * measure(a, b).mean())


@dataclass(frozen=True)
class Manifold:
    """Where made clips lie among real ones (Kynkaanniemi et al. 2019; Naeem et al. 2020).

    Args:
        precision: share of made clips that lie within reach of a real one: do they look real?
        recall: share of real clips that lie within reach of a made one: is everything there?
        density: how many real clips reach a made one, over the number expected; may pass 1.
        coverage: share of real clips with a made one nearer than their own neighbours.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: ArrayLike, made: ArrayLike, neighbours: int = NEIGHBOURS) -> Manifold:
    """Precision, recall, density and coverage; a clip reaches as far as its k-th neighbour of its own set.

    Args:
        real: (N, D), N at least 2 k + 2.
        made: (M, D), M at least 2 k + 2.
        neighbours: k.

    Raises:
        TooFewError: fewer than 2 k + 2.
    """
    a, b = _pair(real, made)
    _check("precision and recall", a, b, 2 * neighbours + 2)
    reach_real, reach_made = _reach(a, neighbours), _reach(b, neighbours)
    between = distances(a, b)
    inside = between <= reach_real[:, None]
    return Manifold(
        precision=float(inside.any(0).mean()),
        recall=float((between <= reach_made[None, :]).any(1).mean()),
        density=float(inside.sum(0).mean() / neighbours),
        coverage=float((between.min(1) <= reach_real).mean()),
    )


@dataclass(frozen=True)
class TwoSample:
    """How well a classifier parts two sets (Lopez-Paz and Oquab 2017).

    Args:
        accuracy: on clips it was not trained on; 0.5 when they cannot be told apart.
        p_value: chance of at least this accuracy if the sets were samples of one thing.
        count: clips that were judged.
    """

    accuracy: float
    p_value: float
    count: int


def two_sample_test(first: ArrayLike, second: ArrayLike, seed: int = 0) -> TwoSample:
    """Train a linear classifier on three quarters of both sets, judge the rest, four times over.

    Args:
        first: (N, D), N at least 16.
        second: (M, D), M at least 16; the larger set is thinned to the size of the smaller.
        seed: of the thinning and the folds.

    Raises:
        TooFewError: fewer than 16.
    """
    a, b = _pair(first, second)
    _check("the two-sample test", a, b, MIN_TEST)
    random = np.random.default_rng(seed)
    count = min(len(a), len(b))
    a, b = (x[random.permutation(len(x))[:count]] for x in (a, b))
    fold = np.arange(count) % FOLDS
    right = 0
    for held in range(FOLDS):
        train = np.concatenate([a[fold != held], b[fold != held]])
        sides = np.repeat([0, 1], [(fold != held).sum()] * 2)
        weights = fit_classifier(train, sides, 2)
        for side, points in enumerate((a, b)):
            right += int((classify(weights, points[fold == held]) == side).sum())
    return TwoSample(right / (2 * count), binomial_tail(right, 2 * count), 2 * count)


@dataclass(frozen=True)
class Classifier:
    """A linear classifier of standardised features.

    Args:
        mean: (D,).
        scale: (D,).
        weights: (D + 1, classes); the last row is the offset.
    """

    mean: Array
    scale: Array
    weights: Array


def fit_classifier(points: Array, classes: NDArray[np.generic], num_classes: int, ridge: float = 1.0) -> Classifier:
    """Softmax regression with a ridge, by Newton steps with the bound of Bohning (1992) on the curvature.

    Args:
        points: (N, D).
        classes: int (N,), from 0.
        num_classes: how many there are.
        ridge: of the weights, in clips: larger is plainer.
    """
    mean, scale = points.mean(0), np.maximum(points.std(0), 1e-8)
    x = np.concatenate([(points - mean) / scale, np.ones((len(points), 1))], 1)
    target = np.eye(num_classes)[np.asarray(classes, np.int64)]
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6
    curvature = np.linalg.inv(0.5 * x.T @ x + np.diag(penalty))
    weights = np.zeros((x.shape[1], num_classes))
    for _ in range(200):
        step = curvature @ (x.T @ (target - _softmax(x @ weights)) - penalty[:, None] * weights)
        weights += step
        if np.abs(step).max() < 1e-5:
            break
    return Classifier(mean, scale, weights)


def classify(classifier: Classifier, points: Array) -> NDArray[np.int64]:
    """The class of each point (N, D): int (N,)."""
    x = (points - classifier.mean) / classifier.scale
    return np.asarray((x @ classifier.weights[:-1] + classifier.weights[-1]).argmax(1), np.int64)


def binomial_tail(successes: int, trials: int) -> float:
    """Chance of at least so many heads in so many throws of a fair coin."""
    if successes <= 0:
        return 1.0
    whole = math.lgamma(trials + 1) - trials * math.log(2.0)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(successes, trials + 1)]
    return min(1.0, sum(math.exp(value) for value in logs))


def distances(first: Array, second: Array) -> Array:
    """Euclidean distances (N, M) between two sets (N, D) and (M, D)."""
    squares = np.sum(first**2, 1)[:, None] + np.sum(second**2, 1)[None] - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), np.float64)


def _reach(points: Array, neighbours: int) -> Array:
    among = distances(points, points)
    np.fill_diagonal(among, np.inf)  # a point is not its own neighbour
    return np.asarray(np.partition(among, neighbours - 1, 1)[:, neighbours - 1], np.float64)


def _apart(within: Array) -> float:
    """The mean over pairs of different clips."""
    return float((within.sum() - np.trace(within)) / (len(within) * (len(within) - 1)))


def _cubic(a: Array, b: Array) -> Array:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3, np.float64)


def _rational(a: Array, b: Array) -> Array:
    squares = distances(a, b) ** 2 / a.shape[1]
    return np.asarray(np.mean([(1 + squares / (2 * alpha)) ** -alpha for alpha in _ALPHAS], 0), np.float64)


_ALPHAS = (0.2, 0.5, 1.0, 2.0, 5.0)
_KERNELS: dict[Kernel, Callable[[Array, Array], Array]] = {"rational": _rational, "cubic": _cubic}


def _root(symmetric: Array) -> Array:
    values, vectors = np.linalg.eigh(symmetric)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T, np.float64)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float64)


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.shape[1]:
        raise ValueError(f"features must be (N, D) and (M, D), not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features must be finite")
    return a, b


def _check(what: str, a: Array, b: Array, needed: int) -> None:
    if min(len(a), len(b)) < needed:
        raise TooFewError(what, min(len(a), len(b)), needed)
