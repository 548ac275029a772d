"""Tables of tones and colours: curves through points, shifts by brightness, and .cube files."""

from __future__ import annotations

import io
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from autoreel.bounded import read_bounded_bytes
from autoreel.errors import MediaError
from autoreel.film import effects as fx

Floats = NDArray[np.float64]

LEVELS = np.arange(256) / 255.0
MAX_CUBE_BYTES = 16 << 20
LARGEST_3D, LARGEST_1D = 65, 65_536


def curve(points: Sequence[tuple[float, float]]) -> Floats:
    """(256,) a smooth curve through points that never overshoots between two of them; flat beyond the outer ones.

    Monotone cubic interpolation: F. N. Fritsch and R. E. Carlson, SIAM J. Numer. Anal. 17 (1980).
    """
    if not points:
        return LEVELS
    x, y = (np.array(values, np.float64) for values in zip(*sorted(dict(points).items()), strict=True))
    if len(x) == 1:
        return np.full(256, y[0])
    step, slope = np.diff(x), np.diff(y) / np.diff(x)
    tangent = np.concatenate([slope[:1], np.where(slope[:-1] * slope[1:] > 0, (slope[:-1] + slope[1:]) / 2, 0.0),
                              slope[-1:]])  # fmt: skip
    for k, rise in enumerate(slope):
        if rise == 0:
            tangent[k] = tangent[k + 1] = 0.0
        else:
            length = np.hypot(tangent[k] / rise, tangent[k + 1] / rise)
            if length > 3:
                tangent[k], tangent[k + 1] = 3 * tangent[k] / length, 3 * tangent[k + 1] / length
    at = np.clip(LEVELS, x[0], x[-1])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(step) - 1)
    t = (at - x[i]) / step[i]
    return np.asarray(
        y[i] * (1 + 2 * t) * (1 - t) ** 2 + tangent[i] * step[i] * t * (1 - t) ** 2
        + y[i + 1] * t * t * (3 - 2 * t) + tangent[i + 1] * step[i] * t * t * (t - 1)
    )  # fmt: skip


def table(values: Sequence[Floats]) -> list[int]:
    """What Pillow's `point` takes: 256 values for each of three channels."""
    return [int(v) for channel in values for v in np.rint(np.clip(channel, 0.0, 1.0) * 255.0)]


def balanced(effect: fx.BalanceEffect) -> list[Floats]:
    """A curve for each channel: shadows fade out towards the bright end, highlights towards the dark one."""
    dark, bright = (1.0 - LEVELS) ** 2, LEVELS**2
    middle = 1.0 - dark - bright
    return [
        LEVELS + 0.5 * (effect.shadows[c] * dark + effect.midtones[c] * middle + effect.highlights[c] * bright)
        for c in range(3)
    ]


def read_cube(path: Path) -> ImageFilter.Color3DLUT | list[int]:
    """A .cube file (Adobe's specification, version 1.0).

    Returns:
        A three-dimensional table; or, for files with LUT_1D_SIZE, what `point` takes.

    Raises:
        MediaError: it cannot be read or is none; names the line.
    """
    try:
        content = io.BytesIO(read_bounded_bytes(path, MAX_CUBE_BYTES))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise MediaError(f"{path}: is no table of colors, it is {error}") from None
    sizes: dict[str, int] = {}
    low, high = [0.0] * 3, [1.0] * 3
    numbers = array("d")  # line by line, and no more than any table has: a list of them is 64 times the file
    for number, line in enumerate(io.TextIOWrapper(content, "utf-8", "replace"), start=1):
        words = line.split("#", 1)[0].split(maxsplit=4)
        if not words or words[0] == "TITLE":
            continue
        try:
            if words[0] in ("LUT_3D_SIZE", "LUT_1D_SIZE"):
                sizes[words[0]] = int(words[1])
            elif words[0] in ("DOMAIN_MIN", "DOMAIN_MAX"):
                (low if words[0] == "DOMAIN_MIN" else high)[:] = [float(word) for word in words[1:4]]
            elif words[0][0].isalpha():
                continue  # a keyword of some program's own
            else:
                red, green, blue = (float(word) for word in words)
                numbers.extend((red, green, blue))
        except (ValueError, IndexError):
            raise MediaError(f"{path}: line {number} is {line.strip()[:40]!r}, which no .cube file has") from None
        if len(numbers) > 3 * LARGEST_3D**3:
            raise MediaError(f"{path}: has more lines of three numbers than a .cube file of size {LARGEST_3D}")
    size = sizes.get("LUT_3D_SIZE") or sizes.get("LUT_1D_SIZE") or 0
    count = size**3 if "LUT_3D_SIZE" in sizes else size
    most = LARGEST_3D if "LUT_3D_SIZE" in sizes else LARGEST_1D
    if not 2 <= size <= most:
        raise MediaError(f"{path}: is of size {str(size)[:9]}, and a .cube file of size 2 to {most}")
    if len(numbers) != 3 * count:
        had = len(numbers) // 3
        raise MediaError(f"{path}: a .cube file of size {size} has {count} lines of three numbers, this one has {had}")
    values = np.frombuffer(numbers).reshape(-1, 3)
    if not np.isfinite(values).all() or [low, high] != [[0.0] * 3, [1.0] * 3]:
        raise MediaError(f"{path}: its numbers, or its domain, are not those of colors from 0 to 1")
    if "LUT_3D_SIZE" in sizes:
        return ImageFilter.Color3DLUT(size, np.clip(values, 0.0, 1.0).ravel().tolist())
    return table([np.interp(LEVELS, np.linspace(0.0, 1.0, size), values[:, c]) for c in range(3)])


def looked_up(picture: Image.Image, colors: ImageFilter.Color3DLUT | list[int], strength: float) -> Image.Image:
    """The picture in the table's colours, blended with itself."""
    changed = picture.point(colors) if isinstance(colors, list) else picture.filter(colors)
    return changed if strength >= 1.0 else Image.blend(picture, changed, strength)
