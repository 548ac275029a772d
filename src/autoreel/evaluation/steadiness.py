"""What goes wrong in time: flicker, uneven groups of frames, slow drift. Clips are uint8 (T, H, W, 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoreel.clip import Frames
from autoreel.evaluation.metrics import frame_psnr, psnr

LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709
MIN_DRIFT_S = 4

Array = NDArray[np.float64]


def flicker(original: Frames, made: Frames) -> float:
    """How much the error trembles from frame to frame: the mean size of its second difference in time, over four.

    An error that stays, or grows evenly, is no flicker; one that turns from -a to a and back with every frame is a.

    Args:
        original: at least 3 frames.
        made: the same shape.

    Returns:
        Levels of 255.
    """
    if original.shape != made.shape or len(original) < 3:
        raise ValueError(f"two clips of one shape and at least 3 frames are needed, not {original.shape}, {made.shape}")
    error = made.astype(np.int16) - original
    return float(np.abs(error[:-2] - 2 * error[1:-1] + error[2:]).mean() / 4)


def unevenness(original: Frames, made: Frames, group: int = 4) -> float:
    """How unequal the frames of a group are: the best place's mean PSNR less the worst's.

        frame  0 | 1 2 3 4 | 5 6 7 8 | ...     the first frame stands alone and is left out
        place      0 1 2 3   0 1 2 3

    Args:
        original: at least 1 + 2 groups.
        made: the same shape.
        group: frames that the codec writes together.

    Returns:
        Decibels; 0 for frames of equal quality. Equal frames count as 60 dB.
    """
    if len(original) < 1 + 2 * group:
        raise ValueError(f"at least {1 + 2 * group} frames are needed, not {len(original)}")
    whole = (len(original) - 1) // group * group
    quality = np.minimum(frame_psnr(original, made)[1 : 1 + whole], 60.0).reshape(-1, group).mean(0)
    return float(quality.max() - quality.min())


@dataclass(frozen=True)
class Slope:
    """A straight line through values over time.

    Args:
        per_minute: its rise.
        error: standard error of the rise; infinite with two values.
    """

    per_minute: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether the rise is more than chance: over twice its standard error."""
        return abs(self.per_minute) > 2 * self.error


def slope(values: ArrayLike, times_s: ArrayLike) -> Slope:
    """Least squares.

    Args:
        values: at least 2.
        times_s: seconds.
    """
    y, x = np.asarray(values, np.float64), np.asarray(times_s, np.float64) / 60
    if y.shape != x.shape or len(y) < 2 or np.ptp(x) == 0:
        raise ValueError(f"at least 2 values at different times are needed, not {y.shape} and {x.shape}")
    spread = float(np.sum((x - x.mean()) ** 2))
    rise = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    rest = y - y.mean() - rise * (x - x.mean())
    error = float(np.sqrt(np.sum(rest**2) / (len(y) - 2) / spread)) if len(y) > 2 else np.inf
    return Slope(rise, error)


@dataclass(frozen=True)
class Drift:
    """A long clip, second by second: float64 (S,) each.

    Args:
        brightness: mean luma, levels of 255.
        contrast: deviation of luma within a frame, levels.
        colour: mean distance of a pixel's channels from its luma, levels.
        sharpness: mean difference of neighbouring pixels' luma, levels.
        motion: mean difference of luma from frame to frame, levels.
    """

    brightness: Array
    contrast: Array
    colour: Array
    sharpness: Array
    motion: Array

    def slopes(self) -> dict[str, Slope]:
        """The rise of each per minute."""
        return {name: slope(values, np.arange(len(values))) for name, values in vars(self).items()}


def drift(frames: Frames, rate: float) -> Drift:
    """How a long clip changes.

    Args:
        frames: at least 4 seconds.
        rate: frames per second.
    """
    seconds = int(len(frames) / rate + 1e-9)
    if seconds < MIN_DRIFT_S:
        raise ValueError(f"drift needs at least {MIN_DRIFT_S} seconds, not {len(frames) / rate:.1f}")
    rows = []
    for second in range(seconds):
        part = frames[round(second * rate) : round((second + 1) * rate) + 1].astype(np.float64)
        luma = part @ LUMA
        sharp = (np.abs(np.diff(luma, axis=1)).mean() + np.abs(np.diff(luma, axis=2)).mean()) / 2
        moved = np.abs(np.diff(luma, axis=0)).mean() if len(luma) > 1 else 0.0
        colour = np.abs(part - luma[..., None]).mean()
        rows.append((luma.mean(), luma.std((1, 2)).mean(), colour, sharp, moved))
    return Drift(*np.array(rows, np.float64).T)


def reencoded(original: Frames, rebuild: Callable[[Frames], Frames], times: int = 8) -> list[float]:
    """PSNR against the original after encoding and decoding once, twice, and so on.

    Args:
        original: uint8 (T, H, W, 3).
        rebuild: encodes and decodes a clip.
        times: how often.
    """
    found, clip = [], original
    for _ in range(times):
        clip = rebuild(clip)
        found.append(psnr(original, clip))
    return found
