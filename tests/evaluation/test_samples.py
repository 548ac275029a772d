"""Which windows are looked at, and sharpness by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autoreel.data.store import Shot
from autoreel.evaluation.metrics import sharpness, sharpness_kept
from autoreel.evaluation.samples import windows


def shot(num_frames: int) -> Shot:
    return Shot(f"s{num_frames}", "a.mp4", "0", None, "train", num_frames, None, 0.0, 0)


def starts(lengths: list[int], num_frames: int, most: int | None = None, least_step: int = 4) -> list[int]:
    return [window.start for window in windows([shot(n) for n in lengths], num_frames, most, least_step)]


def test_windows_stand_side_by_side() -> None:
    assert starts([50, 15, 16], 16) == [0, 16, 32, 0]


def test_they_overlap_only_as_much_as_is_needed() -> None:
    assert starts([48], 16, 3) == [0, 16, 32]
    assert starts([48], 16, 5) == [0, 8, 16, 24, 32]
    assert starts([48], 16, 100) == list(range(0, 33, 4))  # no closer than the least step
    assert starts([20], 16, 100, least_step=1) == [0, 1, 2, 3, 4]


def test_of_many_some_are_taken_evenly() -> None:
    assert starts([160], 16, 5) == [0, 32, 64, 96, 128]


def test_what_cannot_be_meant_is_refused() -> None:
    for arguments in ((0, None, 4), (4, 0, 4), (4, None, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            windows([shot(9)], *arguments)


def test_sharpness_by_hand() -> None:
    stripes = np.zeros((2, 4, 4, 3), np.uint8)
    stripes[:, :, ::2] = 10  # across every neighbour differs by ten, down none does
    assert sharpness(stripes) == pytest.approx(5.0)
    assert sharpness_kept(stripes, stripes) == 1.0 and sharpness_kept(stripes, stripes // 2) == 0.5
    with pytest.raises(ValueError, match="2 x 2"):
        sharpness(np.zeros((2, 1, 4, 3), np.uint8))
