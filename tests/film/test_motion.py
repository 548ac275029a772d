"""Frames in between: where they lie, and how near they come to frames that were left out."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.film.motion import along_motion
from autoreel.media.decode import read_clip

RNG = np.random.default_rng(0)
GROUND = Image.fromarray(RNG.integers(60, 100, (12, 16, 3), np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)
BALL = Image.fromarray(RNG.integers(160, 250, (6, 6, 3), np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)


def _at(left: int) -> Image.Image:
    picture = GROUND.copy()
    picture.paste(BALL, (left, 32))
    return picture


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / (np.mean((one.astype(float) - other) ** 2) + 1e-9)))


def test_what_moves_is_seen_once_on_its_way() -> None:
    places = [Fraction(i, 2) for i in range(9)]
    made = [np.asarray(picture) for picture in along_motion((_at(8 + 8 * i) for i in range(5)), places)]
    for index, picture in enumerate(made):
        truth = np.asarray(_at(8 + 4 * index))
        if index % 2 == 0:
            assert np.array_equal(picture, truth), "a frame of the clip's own"
            continue
        blend = np.asarray(Image.blend(_at(4 + 4 * index), _at(12 + 4 * index), 0.5))
        assert _psnr(picture, truth) > _psnr(blend, truth) + 6


@pytest.mark.parametrize("places", [
    [Fraction(0)], [Fraction(1, 3)], [Fraction(0), Fraction(1, 3), Fraction(1, 3), Fraction(1, 3), Fraction(2, 3)],
    [Fraction(i, 7) for i in range(29)], [Fraction(5 * i, 4) for i in range(4)], [Fraction(7, 2), Fraction(4)],
], ids=["one", "between", "held", "slow", "fast", "late"])  # fmt: skip
def test_one_picture_for_each_place(places: list[Fraction]) -> None:
    made = list(along_motion((_at(8 + 8 * i) for i in range(5)), places))
    assert len(made) == len(places)
    for place, picture in zip(places, made, strict=True):
        truth = np.asarray(_at(8 + round(8 * place)))
        assert _psnr(np.asarray(picture), truth) > 24
        assert place.denominator > 1 or np.array_equal(np.asarray(picture), truth)
    again = list(along_motion((_at(8 + 8 * i) for i in range(5)), places))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(made, again, strict=True))


def test_pictures_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def pictures() -> Iterator[Image.Image]:
        for i in range(40):
            taken.append(i)
            yield _at(8 + 2 * i)

    made = along_motion(pictures(), [Fraction(i, 2) for i in range(79)])
    for _ in range(20):
        next(made)
    assert len(taken) <= 10 + 4


def test_any_size() -> None:
    pictures = (_at(8 + 8 * i).resize((18, 16)) for i in range(3))
    assert [p.size for p in along_motion(pictures, [Fraction(1, 2), Fraction(3, 2)])] == [(18, 16)] * 2


def test_across_a_cut_the_nearer_frame_is_shown() -> None:
    shots = [_at(8 + i) for i in range(4)] + [Image.new("RGB", (128, 96), "#f0e0d0")] * 4
    near, far = list(along_motion(iter(shots), [Fraction(13, 4), Fraction(15, 4)]))
    assert np.array_equal(np.asarray(near), np.asarray(shots[3]))
    assert np.array_equal(np.asarray(far), np.asarray(shots[4]))


def test_frames_of_real_clips_that_were_left_out(shared: Path) -> None:
    clip = read_clip(shared / "footage" / "street" / "bikes.mp4", size=(90, 160), end_s=0.7).frames[:17]
    kept, left_out = clip[::2], clip[1::2]
    places = [Fraction(2 * i + 1, 2) for i in range(8)]
    made = [np.asarray(p) for p in along_motion(map(Image.fromarray, kept), places)]
    doubled = np.mean([_psnr(kept[i], left_out[i]) for i in range(8)])
    blended = np.mean([_psnr(np.asarray((kept[i].astype(int) + kept[i + 1]) // 2), left_out[i]) for i in range(8)])
    along = np.mean([_psnr(made[i], left_out[i]) for i in range(8)])
    assert along > blended + 3 and along > doubled + 3, (along, blended, doubled)
