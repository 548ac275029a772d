"""How one shot turns into the next: each kind is one function of two pictures and the way gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

# progress in (0, 1): 0 is all `before`, 1 is all `after`.
Mix = Callable[[Image.Image, Image.Image, float], Image.Image]


def fade(before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
    """A crossfade."""
    return Image.blend(before, after, progress)


def to_color(picture: Image.Image, color: str, share: float) -> Image.Image:
    """The picture, `share` of the way gone to one colour; what dips, openings and endings are made of."""
    if share <= 0.0:
        return picture
    return Image.blend(picture, Image.new("RGB", picture.size, color), min(1.0, share))


def dip(before: Image.Image, after: Image.Image, progress: float, color: str = "#000000") -> Image.Image:
    """Into a colour and out of it; only one of the two shots is seen at a time."""
    picture = before if progress < 0.5 else after
    return to_color(picture, color, 1.0 - abs(2.0 * progress - 1.0))


def dissolve(before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
    """Grain by grain."""
    threshold = progress * 255.0
    mask = _noise(before.size).point([255 if v < threshold else 0 for v in range(256)])
    return Image.composite(after, before, mask)


@lru_cache(maxsize=2)
def _noise(size: tuple[int, int]) -> Image.Image:
    import numpy as np

    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    return Image.fromarray(values)


def _wipe(dx: int, dy: int) -> Mix:
    """The next shot is uncovered by an edge that moves towards (dx, dy)."""

    def mix(before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
        width, height = before.size
        x, y = round(width * progress), round(height * progress)
        box = {
            (1, 0): (0, 0, x, height), (-1, 0): (width - x, 0, width, height),
            (0, 1): (0, 0, width, y), (0, -1): (0, height - y, width, height),
        }[dx, dy]
        result = before.copy()
        if box[0] < box[2] and box[1] < box[3]:
            result.paste(after.crop(box), box)
        return result

    return mix


def _slide(dx: int, dy: int) -> Mix:
    """The next shot pushes the one before out, towards (dx, dy)."""

    def mix(before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
        width, height = before.size
        eased = 0.5 - 0.5 * math.cos(math.pi * progress)  # a push that starts and stops at once looks like a fault
        x, y = round(width * eased) * dx, round(height * eased) * dy
        result = Image.new("RGB", before.size)
        result.paste(before, (x, y))
        result.paste(after, (x - width * dx, y - height * dy))
        return result

    return mix


def _circle(opens: bool) -> Mix:
    """An iris with a soft edge: opening on the next shot, or closing on the one before."""

    def mix(before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
        grown = progress if opens else 1.0 - progress
        edge = 12.0
        inside = [round(255 * min(1.0, max(0.0, (grown * (255 + edge) - v) / edge))) for v in range(256)]
        mask = _distance(before.size).point(inside)
        return Image.composite(after, before, mask) if opens else Image.composite(before, after, mask)

    return mix


@lru_cache(maxsize=2)
def _distance(size: tuple[int, int]) -> Image.Image:
    """How far each pixel lies from the middle, 255 in the corners."""
    import numpy as np

    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
    return Image.fromarray((distance * (255.0 / max(1.0, float(distance.max())))).astype(np.uint8))


MIXES: dict[str, Mix] = {
    "fade": fade,
    "dip": dip,
    "dissolve": dissolve,
    "wipe-left": _wipe(-1, 0),
    "wipe-right": _wipe(1, 0),
    "wipe-up": _wipe(0, -1),
    "wipe-down": _wipe(0, 1),
    "slide-left": _slide(-1, 0),
    "slide-right": _slide(1, 0),
    "slide-up": _slide(0, -1),
    "slide-down": _slide(0, 1),
    "circle-open": _circle(True),
    "circle-close": _circle(False),
}


def mix(kind: str, before: Image.Image, after: Image.Image, progress: float, color: str | None = None) -> Image.Image:
    """One frame of a transition.

    Args:
        kind: a key of `MIXES`.
        before, after: RGB pictures of equal size.
        progress: in (0, 1).
        color: what a dip goes through; black when None.
    """
    if kind == "dip":
        return dip(before, after, progress, color or "#000000")
    return MIXES[kind](before, after, progress)
