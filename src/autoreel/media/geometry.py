"""Where each picture's pixels go: turned as its display matrix says, square, cropped or letterboxed. Pure functions.

    coded picture  --crop-->  --scale-->  --turn-->  --bars-->  (height, width) as asked for

Scaling happens before turning, so that only small pictures are ever turned.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Fit = Literal["crop", "letterbox", "stretch"]
MAX_ASPECT = 16  # a pixel that claims to be more stretched than this is taken as square


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture down: first transposed, then mirrored.

    Args:
        transpose: rows become columns.
        flip_horizontal: left becomes right, after transposing.
        flip_vertical: top becomes bottom, after transposing.
    """

    transpose: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn; of a mirrored picture, the one after mirroring left to right."""
        if self.transpose:
            return 90 if self.flip_horizontal else 270
        return 180 if self.flip_vertical else 0

    @property
    def mirrored(self) -> bool:
        """True when no turn alone gives this."""
        return self.transpose ^ self.flip_horizontal ^ self.flip_vertical

    def apply(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn one (H, W, C) picture."""
        if self.transpose:
            frame = frame.transpose(1, 0, 2)
        if self.flip_horizontal:
            frame = frame[:, ::-1]
        return frame[::-1] if self.flip_vertical else frame


def orientation_of(matrix: bytes | None) -> Orientation:
    """Read a display matrix (ISO 14496-12, 8.2.2: nine 32-bit numbers a b u c d v x y w; x' = ax + cy, y' = bx + dy).

    Args:
        matrix: 36 bytes in the machine's byte order, or None.

    Returns:
        The nearest of the eight orientations; upright for a matrix that says nothing sensible.
    """
    if matrix is None or len(matrix) < 36:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def sane_aspect(aspect: Fraction | None) -> Fraction:
    """A pixel's width over its height; 1 when unknown or absurd."""
    if aspect is None or aspect <= 0 or not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return Fraction(1)
    return aspect


def display_size(height: int, width: int, aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Size as shown: square pixels (never fewer than coded), turned.

    Returns:
        (height, width) in pixels.
    """
    if aspect >= 1:
        width = max(1, round(width * aspect))
    else:
        height = max(1, round(height / aspect))
    return (width, height) if orientation.transpose else (height, width)


@dataclass(frozen=True)
class Plan:
    """What to do to every picture of one coded size.

    Args:
        crop: (top, left, height, width) of the coded picture that is kept.
        scaled: (height, width) that is scaled to.
        orientation: how the scaled picture is turned.
        canvas: (height, width) of the result; the turned picture lies in its middle.
    """

    crop: tuple[int, int, int, int]
    scaled: tuple[int, int]
    orientation: Orientation
    canvas: tuple[int, int]

    def finish(self, scaled: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a scaled (h, w, 3) picture and lay it in the middle of a black canvas."""
        turned = self.orientation.apply(scaled)
        height, width = self.canvas
        if turned.shape[:2] == (height, width):
            return turned
        result = np.zeros((height, width, turned.shape[2]), np.uint8)
        top, left = (height - turned.shape[0]) // 2, (width - turned.shape[1]) // 2
        result[top : top + turned.shape[0], left : left + turned.shape[1]] = turned
        return result


def plan(height: int, width: int, aspect: Fraction, orientation: Orientation, size: tuple[int, int], fit: Fit) -> Plan:
    """Fit a coded picture into a size.

    Args:
        height, width: as coded, in pixels.
        aspect: a pixel's width over its height.
        orientation: how it is to be turned.
        size: (height, width) asked for.
        fit: `crop` fills the size and cuts what stands over, `letterbox` keeps all and adds black, `stretch` does
            neither and ignores aspect.
    """
    goal_height, goal_width = (size[1], size[0]) if orientation.transpose else size
    whole = (0, 0, height, width)
    if fit == "stretch":
        return Plan(whole, (goal_height, goal_width), orientation, size)
    shown = width * aspect / height  # shape of the picture, before turning
    goal = Fraction(goal_width, goal_height)
    if fit == "crop":
        kept_height, kept_width = height, width
        if shown > goal:
            kept_width = max(1, min(width, round(height * goal / aspect)))
        else:
            kept_height = max(1, min(height, round(width * aspect / goal)))
        crop = ((height - kept_height) // 2, (width - kept_width) // 2, kept_height, kept_width)
        return Plan(crop, (goal_height, goal_width), orientation, size)
    if shown > goal:
        scaled = (max(1, round(goal_width / shown)), goal_width)
    else:
        scaled = (goal_height, max(1, round(goal_height * shown)))
    return Plan(whole, scaled, orientation, size)
