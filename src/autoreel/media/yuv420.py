"""Pictures as encoders take them: whole luma and halved colour (4:2:0, BT.709, limited range) in one array.

    +--------+  H rows of luma
    |   Y    |
    +--------+  then blue and red difference, (H/2, W/2) each, one row after the other:
    | U    V |  H/2 rows of W bytes in all
    +--------+

Most of a film needs no colour of every pixel: material comes out of its decoder like this and goes into the encoder
like this. Fades and titles work on it as they do on red, green and blue, at half the cost and without two conversions.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Frames

BLACK, WHITE = 16, 235  # luma, limited range
GREY = 128  # of both colour differences: none
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
_local = threading.local()


@dataclass(frozen=True)
class Planar:
    """One picture of even sides.

    Args:
        data: uint8 (H * 3 / 2, W), laid out as above; nobody changes it.
    """

    data: Frames

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as Pillow's pictures say it."""
        return self.data.shape[1], self.data.shape[0] * 2 // 3

    def planes(self) -> tuple[Frames, Frames, Frames]:
        """Luma (H, W), and both colour differences (H/2, W/2); parts of the same memory."""
        return planes_of(self.data)


Picture = Image.Image | Planar  # RGB, or planar


def planes_of(data: NDArray[np.uint8]) -> tuple[Frames, Frames, Frames]:
    """The three planes of an array that is laid out as above."""
    width, height = data.shape[1], data.shape[0] * 2 // 3
    flat = data.reshape(-1)
    whole, quarter = width * height, width * height // 4
    blue, red = flat[whole : whole + quarter], flat[whole + quarter : whole + 2 * quarter]
    return data[:height], blue.reshape(height // 2, width // 2), red.reshape(height // 2, width // 2)


def packed(luma: Frames, blue: Frames, red: Frames) -> Planar:
    """Three planes as one picture."""
    flat = np.concatenate([luma.reshape(-1), blue.reshape(-1), red.reshape(-1)])
    return Planar(flat.reshape(luma.shape[0] * 3 // 2, luma.shape[1]))


def from_rgb(frame: Frames, size: tuple[int, int] | None = None) -> Planar:
    """A picture from red, green and blue.

    Args:
        frame: uint8 (H, W, 3), sRGB.
        size: (height, width), even; enlarged or made smaller by Lanczos. None leaves it as it is.
    """
    height, width = size or frame.shape[:2]
    how = Interpolation.AREA if (height, width) == frame.shape[:2] else Interpolation.LANCZOS
    source = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    made: Any = _reformatter("from").reformat(
        source, width=width, height=height, format="yuv420p", threads=1, dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG, interpolation=how | EXACT,
    )  # fmt: skip
    return Planar(made.to_ndarray())


def to_rgb(picture: Planar, size: tuple[int, int] | None = None) -> Frames:
    """uint8 (H, W, 3), sRGB; made smaller by area averaging where a (height, width) is given."""
    width, height = picture.size
    asked = size or (height, width)
    how = Interpolation.BICUBIC if asked == (height, width) else Interpolation.AREA
    made: Any = _reformatter("to").reformat(
        as_frame(picture), width=asked[1], height=asked[0], format="rgb24", threads=1, src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG, dst_color_range=ColorRange.JPEG, interpolation=how | EXACT,
    )  # fmt: skip
    frame: Frames = made.to_ndarray()
    return frame


def as_frame(picture: Planar) -> Any:
    """For FFmpeg; a copy."""
    frame = av.VideoFrame.from_ndarray(picture.data, format="yuv420p")
    frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    return frame


def as_planar(picture: Picture) -> Planar:
    """The picture in this layout; itself where it is."""
    return picture if isinstance(picture, Planar) else from_rgb(np.asarray(picture, dtype=np.uint8))


def as_rgb(picture: Picture) -> Image.Image:
    """The picture in red, green and blue; itself where it is."""
    return picture if isinstance(picture, Image.Image) else Image.fromarray(to_rgb(picture))


@lru_cache(maxsize=8)
def plain(size: tuple[int, int], color: str) -> Planar:
    """One colour: '#rrggbb', at (width, height)."""
    one = from_rgb(np.asarray(Image.new("RGB", (2, 2), color), dtype=np.uint8))
    luma, blue, red = (int(plane.flat[0]) for plane in one.planes())
    width, height = size
    data = np.empty((height * 3 // 2, width), np.uint8)
    for plane, value in zip(planes_of(data), (luma, blue, red), strict=True):
        plane[...] = value
    return Planar(data)


def blended(before: Planar, after: Planar, share: float) -> Planar:
    """`share` of the way from one picture to another."""
    return Planar(np.asarray(Image.blend(Image.fromarray(before.data), Image.fromarray(after.data), share)))


def composed(over: Planar, under: Planar, mask: Image.Image) -> Planar:
    """The one where a mask (L) of the luma's size is white, the other where it is black."""
    chosen = Image.composite(Image.fromarray(over.data), Image.fromarray(under.data), _mask(mask))
    return Planar(np.asarray(chosen))


def _mask(mask: Image.Image) -> Image.Image:
    """A mask for all three planes at once."""
    half = np.asarray(mask.reduce(2))
    return Image.fromarray(packed(np.asarray(mask), half, half).data)


def _reformatter(name: str) -> VideoReformatter:
    """One for each thread and way: it keeps the tables of the sizes it was used with last."""
    kept: dict[str, VideoReformatter] | None = getattr(_local, "kept", None)
    if kept is None:
        kept = _local.kept = {}
    return kept.setdefault(name, VideoReformatter())
