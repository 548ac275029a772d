"""Flow of things that move as they are told to, and the distance of histograms against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import jensenshannon

from autoreel.clip import Frames
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.motion import BINS, flow, histogram, jensen_shannon, motion_distance, movement


def sliding(down: float, right: float, frames: int = 6, size: int = 64, seed: int = 0) -> Frames:
    """A soft pattern that slides by so many pixels a frame."""
    wide = gaussian_filter(np.random.default_rng(seed).normal(size=(256, 256, 3)), (3, 3, 0))
    wide = np.clip(128 + 60 * wide / wide.std(), 0, 255)
    starts = [(96 - round(down * t), 96 - round(right * t)) for t in range(frames)]
    return np.stack([wide[y : y + size, x : x + size] for y, x in starts]).astype(np.uint8)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (0, -2), (3, 2), (-4, 4), (1, 0)])
def test_flow_finds_the_movement(down: int, right: int) -> None:
    found = np.median(flow(sliding(down, right)), (0, 1, 2))
    assert found == pytest.approx(np.array([down, right]) * 100 / 64, abs=0.35)


def test_flow_does_not_depend_on_the_size_of_frames() -> None:
    large = sliding(4, 0, size=128)
    assert np.median(flow(large)[..., 0]) == pytest.approx(4 * 100 / 128, abs=0.35)


def test_what_stands_still_in_noise_does_not_move() -> None:
    still = np.repeat(sliding(0, 0, 1), 6, 0).astype(np.int16)
    noisy = np.clip(still + np.random.default_rng(1).normal(0, 1.5, still.shape), 0, 255).astype(np.uint8)
    assert histogram(flow(noisy))[0] > 0.9


def test_the_histogram_by_hand() -> None:
    found = histogram(np.array([[0.0, 0.1], [0.0, 0.7], [0.7, 0.0], [0.0, -20.0]]))
    assert len(found) == BINS and found.sum() == 1
    assert found[0] == 0.25  # still
    assert found[1] == 0.25  # slow, to the right
    assert found[1 + 2] == 0.25  # slow, down
    assert found[1 + 6 * 8 + 4] == 0.25  # fast, to the left


def test_the_distance_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    a, b = random.dirichlet(np.ones(20)), random.dirichlet(np.ones(20))
    a[3], b[7] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2))
    assert jensen_shannon(a, a) == 0 and jensen_shannon(np.eye(2)[0], np.eye(2)[1]) == pytest.approx(1.0)


def test_sets_that_move_otherwise_are_apart() -> None:
    slow = movement(np.stack([sliding(1, 1, seed=i) for i in range(8)]))
    again = movement(np.stack([sliding(1, 1, seed=i) for i in range(8, 16)]))
    fast = movement(np.stack([sliding(4, -3, seed=i) for i in range(8)]))
    halted = movement(np.stack([np.repeat(sliding(1, 1, 1, seed=i), 6, 0) for i in range(8)]))
    floor = motion_distance(slow, again)
    assert floor < 0.4 * motion_distance(slow, fast) and floor < 0.4 * motion_distance(slow, halted)
    assert slow.velocity.sum(1) == pytest.approx(np.ones(8)) and slow.acceleration.shape == (8, BINS)


def test_too_few_are_refused() -> None:
    few = movement(np.stack([sliding(1, 1, seed=i) for i in range(7)]))
    with pytest.raises(TooFewError, match="at least 8"):
        motion_distance(few, few)
    with pytest.raises(ValueError, match="at least 3 frames"):
        movement(np.zeros((1, 2, 32, 32, 3), np.uint8))
