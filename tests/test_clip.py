"""Clips, and the one place where bytes become model values."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from autoreel.clip import Clip, Sound, to_frames, to_model


def every_byte() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frames (2, 4, 32, 3) in which every value of a byte occurs."""
    return np.arange(768).astype(np.uint8).reshape(2, 4, 32, 3)


def test_every_byte_comes_back() -> None:
    frames = every_byte()
    video = to_model(frames)
    assert video.shape == (1, 3, 2, 4, 32)
    assert video.dtype == torch.float32
    assert (video.min().item(), video.max().item()) == (-1.0, 1.0)
    assert np.array_equal(to_frames(video)[0], frames)


def test_axes_are_where_they_belong() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    video = to_model(frames)
    assert video.shape == (2, 3, 3, 4, 5)
    assert video[1, 2, 0, 3, 4].item() == pytest.approx(frames[1, 0, 3, 4, 2] / 127.5 - 1, abs=1e-6)
    assert np.array_equal(to_frames(video), frames)
    assert to_frames(video).flags.c_contiguous


def test_values_are_rounded_and_clamped() -> None:
    video = torch.tensor([-3.0, -1.0, 0.0, 0.0039, 1.0, 9.0]).reshape(1, 1, 1, 1, 6).expand(1, 3, 1, 1, 6)
    assert to_frames(video)[0, 0, 0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_half_precision_and_gradients_are_fine() -> None:
    video = to_model(every_byte()).to(torch.bfloat16).requires_grad_()
    assert np.abs(to_frames(video)[0].astype(int) - every_byte()).max() <= 1


def test_the_footage_is_not_written_to() -> None:
    frames = every_byte()
    before = frames.copy()
    to_model(frames).fill_(0.5)
    assert np.array_equal(frames, before)
    frames.flags.writeable = False
    to_model(frames).fill_(0.5)  # a read-only map of a file
    to_model(frames[:, ::-1])


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 4, 4), (1, 2, 3, 4, 5, 3)])
def test_what_are_no_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames must be uint8"):
        to_model(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="frames must be uint8"):
        Clip(np.zeros(shape, np.uint8), Fraction(25))


def test_floats_are_no_frames() -> None:
    floats: Any = np.zeros((2, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match="not float32"):
        to_model(floats)
    with pytest.raises(ValueError, match="not float32"):
        Clip(floats, Fraction(25))


def test_durations() -> None:
    clip = Clip(np.zeros((25, 4, 4, 3), np.uint8), Fraction(25))
    assert clip.duration_s == 1.0
    assert Sound(np.zeros((24000, 2), np.float32), 48000).duration_s == 0.5
    with pytest.raises(ValueError, match="rate must be above zero"):
        Clip(clip.frames, Fraction(0))
