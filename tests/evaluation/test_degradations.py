"""The degradations are what they are called, and a measure is held to rank them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.evaluation.footage import moving_disc

from autoreel.clip import Frames
from autoreel.evaluation.degradations import (
    DEGRADATIONS,
    MILD,
    STRONG,
    blurred,
    colour_shifted,
    discriminates,
    frozen,
    shuffled,
)
from autoreel.evaluation.metrics import psnr, ssim
from autoreel.evaluation.motion import motion_distance, movement


def clips(count: int = 8, first: int = 0) -> Frames:
    return np.stack([moving_disc("down" if i % 2 else "across", first + i, 16) for i in range(count)])


def test_blurred_is_a_gaussian() -> None:
    given = clips(1)
    expected = gaussian_filter(given.astype(float), (0, 0, 1, 1, 0), mode="nearest", radius=(0, 0, 2, 2, 0))
    assert np.abs(blurred(given, STRONG) - expected).max() <= 0.51  # 2 pixels of 64 are 1 of 32


def test_frozen_stops() -> None:
    given = clips(2)
    assert np.array_equal(frozen(given, 1.0), np.repeat(given[:, :1], 16, 1))
    half = frozen(given, 0.5)
    assert np.array_equal(half[:, :8], given[:, :8]) and np.array_equal(half[:, 8:], np.repeat(half[:, 8:9], 8, 1))


def test_shuffled_keeps_every_frame() -> None:
    numbered = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None, None, None], (3, 32, 4, 4, 3))
    whole, parts = shuffled(numbered, STRONG)[:, :, 0, 0, 0], shuffled(numbered, MILD)[:, :, 0, 0, 0]
    for made in (whole, parts):
        assert (np.sort(made, 1) == np.arange(32)).all() and not (made[0] == made[1]).all()
    assert np.abs(parts.astype(int) - np.arange(32)).max() < 8 <= np.abs(whole.astype(int) - np.arange(32)).max()


def test_colours_shift() -> None:
    grey = np.full((1, 2, 4, 4, 3), 100, np.uint8)
    assert colour_shifted(grey, 1.0)[0, 0, 0, 0].tolist() == [124, 100, 76]


def test_discrimination_by_hand() -> None:
    floor = np.linspace(1.0, 2.0, 21)
    assert discriminates(floor, 2.5, 3.0)
    assert not discriminates(floor, 1.5, 1.9)  # within what real clips do
    assert not discriminates(floor, 3.5, 3.0)  # the stronger ranks better
    assert not discriminates(floor, 0.5, 3.0)  # the mild ranks better than anything real
    assert discriminates(floor, 0.9, 0.5, lower_is_better=False)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_paired_measures_rank_every_degradation(name: str) -> None:
    given = clips(4)
    for measure in (psnr, ssim):
        mild, strong = (np.mean([measure(a, b) for a, b in zip(given, DEGRADATIONS[name](given, s), strict=True)])
                        for s in (MILD, STRONG))  # fmt: skip
        assert strong < mild < measure(given[0], given[0])


@pytest.mark.parametrize("name", ["frozen", "shuffled in time"])
def test_the_motion_distance_ranks_what_is_wrong_in_time(name: str) -> None:
    real, other = movement(clips(8)), clips(8, 100)
    floor = motion_distance(real, movement(other))
    mild, strong = (motion_distance(real, movement(DEGRADATIONS[name](other, s))) for s in (MILD, STRONG))
    assert floor < mild < strong
