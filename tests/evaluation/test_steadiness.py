"""Known answers for what goes wrong in time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from autoreel.clip import Frames
from autoreel.evaluation.steadiness import drift, flicker, reencoded, slope, unevenness


def noise(frames: int, seed: int = 0, size: int = 12) -> Frames:
    return np.random.default_rng(seed).integers(60, 180, (frames, size, size, 3), np.uint8)


def test_flicker_is_what_alternates() -> None:
    original = noise(9)
    times = np.arange(9, dtype=np.uint8)[:, None, None, None]
    assert flicker(original, original) == 0
    assert flicker(original, original + 7) == 0  # an error that stays
    assert flicker(original, original + 2 * times) == 0  # one that grows evenly
    assert flicker(original, (original - 5 + 10 * (times % 2)).astype(np.uint8)) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="3 frames"):
        flicker(original[:2], original[:2])


def test_unevenness_by_hand() -> None:
    original = noise(13)
    made = original + 1
    made[[1, 5, 9]] += 1  # twice the error at the first place of every group
    assert unevenness(original, made) == pytest.approx(20 * np.log10(2))
    made = original + 1
    made[0] += 50  # stands alone
    assert unevenness(original, made) == pytest.approx(0.0)
    assert unevenness(original, original) == 0
    with pytest.raises(ValueError, match="at least 9"):
        unevenness(original[:8], original[:8])


def test_slope_agrees_with_scipy() -> None:
    times = np.array([0.0, 3.0, 10.0, 31.0, 40.0])
    values = np.array([1.0, 4.0, 2.0, 9.0, 8.0])
    expected = stats.linregress(times / 60, values)
    found = slope(values, times)
    assert found.per_minute == pytest.approx(expected.slope) and found.error == pytest.approx(expected.stderr)
    assert found.is_clear and not slope([1.0, 2.0, 1.0, 2.0], range(4)).is_clear
    with pytest.raises(ValueError, match="at least 2"):
        slope([1.0], [0.0])


def test_drift_of_a_clip_that_grows_brighter_by_ten_levels_a_minute() -> None:
    seconds = np.arange(30).repeat(4)[:, None, None, None]
    frames = np.round(60 + noise(1, size=16) / 4 + seconds).astype(np.uint8)
    found = drift(frames, 4).slopes()
    assert found["brightness"].per_minute == pytest.approx(60.0, rel=0.05) and found["brightness"].is_clear
    for name in ("contrast", "sharpness"):
        assert found[name].per_minute == pytest.approx(0.0, abs=0.1)


def test_drift_knows_fading_detail_colour_and_motion() -> None:
    frames = np.stack([128 + (noise(1, seed=t)[0].astype(float) - 128) * (1 - t / 80) for t in range(60)])
    found = drift(frames.astype(np.uint8), 5)
    for name in ("contrast", "colour", "sharpness", "motion"):
        assert found.slopes()[name].per_minute < 0 and found.slopes()[name].is_clear, name
    assert len(found.brightness) == 12
    still = drift(np.full((60, 8, 8, 3), 9, np.uint8), 5)
    assert still.motion.max() == still.contrast.max() == 0 and still.colour.max() < 1e-9
    with pytest.raises(ValueError, match="at least 4 seconds"):
        drift(frames.astype(np.uint8)[:19], 5)


def test_encoding_again_and_again() -> None:
    found = reencoded(noise(3), lambda clip: clip + 1, times=3)
    assert found == pytest.approx([20 * np.log10(255 / step) for step in (1, 2, 3)])
