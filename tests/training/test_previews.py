"""What a person is shown while it trains."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoreel.media.decode import read_clip
from autoreel.training.previews import draw_curve, spread, write_clip, write_pairs, write_rows


def shades(clips: int, frames: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Clips (B, T, 8, 8, 3) in which every frame has a grey of its own."""
    grey = np.arange(clips * frames, dtype=np.uint8).reshape(clips, frames)
    return np.broadcast_to(grey[:, :, None, None, None], (clips, frames, 8, 8, 3)).copy()


def test_originals_stand_above_what_was_made_of_them(tmp_path: Path) -> None:
    original = shades(2, 5)
    write_pairs(tmp_path / "pairs.png", original, original + 100, columns=3)
    sheet = np.asarray(Image.open(tmp_path / "pairs.png"))
    assert sheet.shape == (4 * 10 - 2, 3 * 10 - 2, 3)
    assert sheet[4::10, 4::10, 0].tolist() == [[0, 2, 4], [100, 102, 104], [5, 7, 9], [105, 107, 109]]
    with pytest.raises(ValueError, match="one shape"):
        write_pairs(tmp_path / "pairs.png", original, original[:1])


def test_each_clip_is_a_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.png", shades(3, 2), columns=9)
    sheet = np.asarray(Image.open(tmp_path / "rows.png"))
    assert sheet[4::10, 4::10, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_frames_are_spread_from_first_to_last() -> None:
    assert spread(17, 9) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert spread(2, 9) == [0, 1]
    assert spread(1, 9) == [0]


def test_clips_stand_beside_each_other_and_are_large_enough_to_see(tmp_path: Path) -> None:
    dark, light = np.full((5, 32, 32, 3), 40, np.uint8), np.full((5, 32, 32, 3), 200, np.uint8)
    write_clip(tmp_path / "clip.mp4", [dark, light], Fraction(25), least_pixels=64)
    clip = read_clip(tmp_path / "clip.mp4")
    assert clip.frames.shape == (5, 64, 128, 3)
    assert clip.rate == 25
    assert abs(int(clip.frames[2, 32, 32, 0]) - 40) < 4
    assert abs(int(clip.frames[2, 32, 96, 0]) - 200) < 4


def test_the_curve_falls_with_the_loss(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"stage": "codec", "step": step, "loss": 10.0 / step} for step in range(1, 200)]
    rows += [{"stage": "codec", "step": 100, "validation/loss": 0.2}, {"stage": "prior", "step": 5, "loss": 1e9}]
    rows += [{"stage": "codec", "step": 101, "skipped": "loss"}, {"stage": "codec", "step": 102, "loss": None}]
    assert draw_curve(tmp_path / "curve.png", rows, "codec")
    sheet = np.asarray(Image.open(tmp_path / "curve.png")).astype(int)
    blue = (sheet[..., 2] - sheet[..., 0] > 100) & (sheet[..., 2] > 140)
    columns = np.flatnonzero(blue.any(0))
    heights = [np.flatnonzero(blue[:, column]).mean() for column in columns]
    assert heights[-1] > heights[0] + 200
    assert not draw_curve(tmp_path / "none.png", [], "codec")
    assert not (tmp_path / "none.png").exists()
