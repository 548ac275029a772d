"""How one shot turns into the next: each kind is one function of two pictures and the way gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from autoreel.film.xfade import XFADES, cross
from autoreel.media.yuv420 import Picture, Planar, as_planar, as_rgb, blended, composed, plain, planes_of

# Of two pictures in one layout; progress in (0, 1): 0 is all `before`, 1 is all `after`.
Mix = Callable[[Picture, Picture, float], Picture]


def fade(before: Picture, after: Picture, progress: float) -> Picture:
    """A crossfade."""
    if isinstance(before, Planar) or isinstance(after, Planar):
        return blended(as_planar(before), as_planar(after), progress)
    return Image.blend(before, after, progress)


def to_color(picture: Picture, color: str, share: float) -> Picture:
    """The picture, `share` of the way gone to one colour; what dips, openings and endings are made of."""
    if share <= 0.0:
        return picture
    if isinstance(picture, Planar):
        return blended(picture, plain(picture.size, color), min(1.0, share))
    return Image.blend(picture, Image.new("RGB", picture.size, color), min(1.0, share))


def dip(before: Picture, after: Picture, progress: float, color: str = "#000000") -> Picture:
    """Into a colour and out of it; only one of the two shots is seen at a time."""
    picture = before if progress < 0.5 else after
    return to_color(picture, color, 1.0 - abs(2.0 * progress - 1.0))


def _chosen(over: Picture, under: Picture, mask: Image.Image) -> Picture:
    """The one where the mask is white, the other where it is black."""
    if isinstance(over, Planar) or isinstance(under, Planar):
        return composed(as_planar(over), as_planar(under), mask)
    return Image.composite(over, under, mask)


def _pasted(ground: Picture, *parts: tuple[Picture, tuple[int, int, int, int], tuple[int, int]]) -> Picture:
    """A picture with parts (a box) of others at places that lie within it; boxes and places are even where planar."""
    if isinstance(ground, Planar) or any(isinstance(part, Planar) for part, _, _ in parts):
        data = as_planar(ground).data.copy()
        for part, (left, top, right, bottom), (x, y) in parts:
            for number, (source, target) in enumerate(zip(as_planar(part).planes(), planes_of(data), strict=True)):
                n = 1 if number == 0 else 2  # colour is halved
                cut = source[top // n : bottom // n, left // n : right // n]
                target[y // n : y // n + cut.shape[0], x // n : x // n + cut.shape[1]] = cut
        return Planar(data)
    result = ground.copy()
    for part, box, place in parts:
        if isinstance(part, Image.Image) and box[0] < box[2] and box[1] < box[3]:
            result.paste(part.crop(box), place)
    return result


def dissolve(before: Picture, after: Picture, progress: float) -> Picture:
    """Grain by grain."""
    threshold = progress * 255.0
    mask = _noise(before.size).point([255 if v < threshold else 0 for v in range(256)])
    return _chosen(after, before, mask)


@lru_cache(maxsize=2)
def _noise(size: tuple[int, int]) -> Image.Image:
    import numpy as np

    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    return Image.fromarray(values)


def _wipe(dx: int, dy: int) -> Mix:
    """The next shot is uncovered by an edge that moves towards (dx, dy)."""

    def mix(before: Picture, after: Picture, progress: float) -> Picture:
        width, height = before.size
        x, y = _even(width * progress), _even(height * progress)
        box = {
            (1, 0): (0, 0, x, height), (-1, 0): (width - x, 0, width, height),
            (0, 1): (0, 0, width, y), (0, -1): (0, height - y, width, height),
        }[dx, dy]
        return _pasted(before, (after, box, box[:2]))

    return mix


def _even(length: float) -> int:
    """The nearest even number of pixels: colour has half as many."""
    return 2 * round(length / 2)


def _slide(dx: int, dy: int) -> Mix:
    """The next shot pushes the one before out, towards (dx, dy)."""

    def mix(before: Picture, after: Picture, progress: float) -> Picture:
        width, height = before.size
        eased = 0.5 - 0.5 * math.cos(math.pi * progress)  # a push that starts and stops at once looks like a fault
        x, y = _even(width * eased) * dx, _even(height * eased) * dy
        parts = []
        for picture, left, top in ((before, x, y), (after, x - width * dx, y - height * dy)):
            seen = max(0, -left), max(0, -top), min(width, width - left), min(height, height - top)
            parts.append((picture, seen, (max(0, left), max(0, top))))
        return _pasted(before, *parts)

    return mix


def _circle(opens: bool) -> Mix:
    """An iris with a soft edge: opening on the next shot, or closing on the one before."""

    def mix(before: Picture, after: Picture, progress: float) -> Picture:
        grown = progress if opens else 1.0 - progress
        edge = 12.0
        inside = [round(255 * min(1.0, max(0.0, (grown * (255 + edge) - v) / edge))) for v in range(256)]
        mask = _distance(before.size).point(inside)
        return _chosen(after, before, mask) if opens else _chosen(before, after, mask)

    return mix


@lru_cache(maxsize=2)
def _distance(size: tuple[int, int]) -> Image.Image:
    """How far each pixel lies from the middle, 255 in the corners."""
    import numpy as np

    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
    return Image.fromarray((distance * (255.0 / max(1.0, float(distance.max())))).astype(np.uint8))


def _crossed(kind: str) -> Mix:
    """One of FFmpeg's; it knows no halved colour."""
    return lambda before, after, progress: cross(kind, as_rgb(before), as_rgb(after), progress)


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
    **{kind: _crossed(kind) for kind in XFADES},
}


def mix(kind: str, before: Picture, after: Picture, progress: float, color: str | None = None) -> Picture:
    """One frame of a transition.

    Args:
        kind: a key of `MIXES`.
        before, after: pictures of equal, even size; what comes is planar where one of them is and the kind can.
        progress: in (0, 1).
        color: what a dip goes through; black when None.
    """
    if kind == "dip":
        return dip(before, after, progress, color or "#000000")
    return MIXES[kind](before, after, progress)
