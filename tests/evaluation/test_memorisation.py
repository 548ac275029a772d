"""Copies are found whatever was done to them; what is new is not taken for a copy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from autoreel.clip import Frames
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.memorisation import memorisation, nearest, small


def clips(count: int, seed: int, frames: int = 16) -> Frames:
    """Blobs of random colours that move, over backgrounds of random colours."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    made = np.empty((count, frames, 32, 32, 3), np.uint8)
    for clip in made:
        place, speed = random.uniform(4, 28, 2), random.uniform(-1, 1, 2)
        blob, ground = random.uniform(0, 255, (2, 3))
        for t, frame in enumerate(clip):
            near = np.exp(-((y - place[0] - t * speed[0]) ** 2 + (x - place[1] - t * speed[1]) ** 2) / 30)[..., None]
            frame[:] = ground * (1 - near) + blob * near
    return made


def test_small_is_an_average_over_areas() -> None:
    given = clips(2, 0)
    expected = given[:, np.linspace(0, 15, 8).round().astype(int)].reshape(2, 8, 16, 2, 16, 2, 3).mean((3, 5))
    assert small(given) == pytest.approx(expected.reshape(2, -1), abs=1e-3)
    assert small(clips(1, 0)[:, :, :20, :27]).shape == (1, 8 * 16 * 16 * 3)  # sides that are no multiple


def test_the_distance_by_hand() -> None:
    black = np.zeros((1, 16, 16, 16, 3), np.uint8)
    training = small(np.concatenate([black + 200, black + 7]))
    found = nearest(small(black), training)
    assert found.distance == pytest.approx([7.0]) and found.index.tolist() == [1]


@pytest.mark.parametrize("change", ["none", "softer", "mirrored", "noise"])
def test_copies_are_found(change: str) -> None:
    training = clips(40, 0)
    copies = training[5:25]
    if change == "softer":
        copies = gaussian_filter(copies, (0, 0, 1, 1, 0))
    elif change == "mirrored":
        copies = copies[:, :, :, ::-1]
    elif change == "noise":
        copies = np.clip(copies + np.random.default_rng(0).normal(0, 6, copies.shape), 0, 255).astype(np.uint8)
    known = small(training)
    found = memorisation(nearest(small(copies), known), nearest(small(clips(40, 1)), known))
    assert found.share == 1.0 and found.ratio < 0.3
    assert found.made.index.tolist() == list(range(5, 25))
    assert len(found.worst) == 10


def test_what_is_new_is_no_copy() -> None:
    known = small(clips(40, 0))
    found = memorisation(nearest(small(clips(60, 2)), known), nearest(small(clips(60, 1)), known))
    assert found.share < 0.2 and found.ratio == pytest.approx(1.0, abs=0.25)
    nearby = found.made.distance[list(found.worst)]
    assert nearby.tolist() == sorted(found.made.distance)[:10]


def test_too_few_are_refused() -> None:
    known = small(clips(10, 0))
    few, enough = nearest(known[:7], known), nearest(known[:8], known)
    for made, held_out in ((few, enough), (enough, few)):
        with pytest.raises(TooFewError, match="at least 8"):
            memorisation(made, held_out)
    memorisation(enough, enough)
    with pytest.raises(ValueError, match="no training clip"):
        nearest(known, known[:0])
    with pytest.raises(ValueError, match="16 pixels"):
        small(np.zeros((1, 4, 8, 8, 3), np.uint8))
