"""Text as it is laid over pictures, be they red, green and blue or planar (`yuv420.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autoreel.media.yuv420 import Picture, Planar, from_rgb, planes_of


@dataclass(frozen=True)
class TitleLayer:
    """A title as it is laid over a picture.

    Args:
        image: RGBA, only as large as the text and its shadow.
        left, top: where it lies in the picture, pixels.
        text_box: left, top, right and bottom of the letters themselves.
    """

    image: Image.Image
    left: int
    top: int
    text_box: tuple[int, int, int, int]

    @cached_property
    def planes(self) -> tuple[int, int, tuple[_Plane, ...]]:
        """Left and top, even numbers, and for each plane of a planar picture what is laid there and how densely."""
        left, top = self.left // 2 * 2, self.top // 2 * 2
        right, bottom = (-(-(at + side) // 2) * 2 for at, side in
                         ((self.left, self.image.width), (self.top, self.image.height)))  # fmt: skip
        image = Image.new("RGBA", (right - left, bottom - top))
        image.paste(self.image, (self.left - left, self.top - top))
        alpha = np.asarray(image.getchannel("A"), np.float32)
        luma, *differences = from_rgb(np.asarray(image.convert("RGB"))).planes()
        half = alpha.reshape(alpha.shape[0] // 2, 2, alpha.shape[1] // 2, 2).mean(axis=(1, 3))
        return left, top, (_Plane(luma, alpha), *(_Plane(one, half) for one in differences))


@dataclass(frozen=True)
class _Plane:
    """Levels (h, w), and how densely they lie over a picture: 0 to 255."""

    levels: NDArray[np.uint8]
    alpha: NDArray[np.float32]

    def over(self, under: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
        share = np.rint(self.alpha * np.float32(max(0.0, opacity))) / np.float32(255)
        mixed = under + (self.levels - under.astype(np.float32)) * share
        return np.asarray(np.rint(mixed), np.uint8)


@overload
def overlay(picture: Image.Image, layer: TitleLayer, opacity: float = 1.0) -> Image.Image: ...
@overload
def overlay(picture: Picture, layer: TitleLayer, opacity: float = 1.0) -> Picture: ...
def overlay(picture: Picture, layer: TitleLayer, opacity: float = 1.0) -> Picture:
    """The picture with a title over it; `opacity` in [0, 1] fades it. The picture given is not changed."""
    if isinstance(picture, Planar):
        return _over_planes(picture, layer, opacity)
    mask = layer.image.getchannel("A")
    if opacity < 1.0:
        mask = mask.point([round(v * max(0.0, opacity)) for v in range(256)])
    result = picture.copy()
    result.paste(layer.image.convert("RGB"), (layer.left, layer.top), mask)
    return result


def _over_planes(picture: Planar, layer: TitleLayer, opacity: float) -> Planar:
    """`overlay` where colour is halved."""
    left, top, planes = layer.planes
    data = picture.data.copy()
    for number, (plane, whole) in enumerate(zip(planes, planes_of(data), strict=True)):
        y, x = (top, left) if number == 0 else (top // 2, left // 2)
        part = whole[y : y + plane.levels.shape[0], x : x + plane.levels.shape[1]]
        part[...] = plane.over(part, opacity)
    return Planar(data)
