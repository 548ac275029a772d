"""Cropping, letterboxing and turning have one right answer each."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoreel.media.geometry import Fit, Orientation, display_size, orientation_of, plan, sane_aspect

ONE = 1 << 16


def matrix(a: int, b: int, c: int, d: int) -> bytes:
    return struct.pack("=9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("bytes_", "expected"),
    [
        (matrix(1, 0, 0, 1), [[1, 2], [3, 4]]),
        (matrix(0, 1, -1, 0), [[3, 1], [4, 2]]),  # a quarter clockwise
        (matrix(-1, 0, 0, -1), [[4, 3], [2, 1]]),
        (matrix(0, -1, 1, 0), [[2, 4], [1, 3]]),  # a quarter anticlockwise
        (matrix(-1, 0, 0, 1), [[2, 1], [4, 3]]),  # left becomes right
        (matrix(1, 0, 0, -1), [[3, 4], [1, 2]]),
        (matrix(0, 1, 1, 0), [[1, 3], [2, 4]]),
        (matrix(0, -1, -1, 0), [[4, 2], [3, 1]]),
        (b"short", [[1, 2], [3, 4]]),
        (bytes(36), [[1, 2], [3, 4]]),
        (None, [[1, 2], [3, 4]]),
    ],
)
def test_display_matrices_turn_and_mirror(bytes_: bytes | None, expected: list[list[int]]) -> None:
    picture = np.array([[1, 2], [3, 4]], np.uint8)[..., None]
    assert orientation_of(bytes_).apply(picture)[..., 0].tolist() == expected


def test_rotation_is_named_clockwise() -> None:
    assert [orientation_of(matrix(*m)).rotation_deg for m in ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1))] == [
        0,
        90,
        180,
    ]
    assert orientation_of(matrix(-1, 0, 0, 1)).mirrored
    assert not orientation_of(matrix(0, 1, -1, 0)).mirrored


def test_crop_keeps_the_middle() -> None:
    square = plan(1080, 1920, Fraction(1), Orientation(), (64, 64), "crop")
    assert square.crop == (0, 420, 1080, 1080)
    assert square.scaled == (64, 64)


def test_crop_of_a_turned_picture_is_planned_before_turning() -> None:
    turned = plan(1080, 1920, Fraction(1), orientation_of(matrix(0, 1, -1, 0)), (96, 64), "crop")
    assert turned.crop == (0, 150, 1080, 1620)
    assert turned.scaled == (64, 96)
    assert turned.finish(np.zeros((64, 96, 3), np.uint8)).shape == (96, 64, 3)


def test_letterbox_keeps_all_and_adds_black() -> None:
    layout = plan(1080, 1920, Fraction(1), Orientation(), (64, 64), "letterbox")
    assert layout.crop == (0, 0, 1080, 1920)
    assert layout.scaled == (36, 64)
    result = layout.finish(np.full((36, 64, 3), 255, np.uint8))
    assert result[:14].max() == 0
    assert result[14:50].min() == 255
    assert result[50:].max() == 0


def test_wide_pixels_widen_the_picture() -> None:
    assert display_size(480, 720, Fraction(32, 27), Orientation()) == (480, 853)
    assert display_size(480, 720, Fraction(8, 9), Orientation()) == (540, 720)
    assert plan(480, 720, Fraction(32, 27), Orientation(), (64, 64), "crop").crop == (0, 157, 480, 405)


def test_absurd_pixels_are_square() -> None:
    assert (
        sane_aspect(Fraction(1, 100))
        == sane_aspect(Fraction(1000))
        == sane_aspect(None)
        == sane_aspect(Fraction(0))
        == 1
    )
    assert sane_aspect(Fraction(16, 9)) == Fraction(16, 9)


@settings(max_examples=50)
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.fractions(Fraction(1, 16), 16), st.booleans(), st.booleans(),
    st.integers(1, 512), st.integers(1, 512), st.sampled_from(["crop", "letterbox", "stretch"]),
)  # fmt: skip
def test_every_plan_gives_the_size_asked_for(
    height: int, width: int, aspect: Fraction, transpose: bool, flip: bool, goal_h: int, goal_w: int, fit: Fit
) -> None:
    layout = plan(height, width, aspect, Orientation(transpose, flip), (goal_h, goal_w), fit)
    top, left, kept_h, kept_w = layout.crop
    assert top >= 0 and left >= 0 and 1 <= kept_h <= height - top and 1 <= kept_w <= width - left
    assert layout.finish(np.zeros((*layout.scaled, 3), np.uint8)).shape == (goal_h, goal_w, 3)
