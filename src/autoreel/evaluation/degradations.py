"""Reference degradations: what any person would call worse, in two strengths, to hold measures against.

A measure of which this cannot be shown on a footage "does not discriminate here", and the report says so beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames

Degrade = Callable[[Frames, float], Frames]
MILD, STRONG = 0.5, 1.0
COLOUR = (24.0, 0.0, -24.0)  # levels, towards orange
BLUR = 2.0  # pixels of 64, the deviation
SHARE_OF_FLOOR = 0.95  # resamplings of the real that a degraded set must be worse than


def blurred(clips: Frames, strength: float) -> Frames:
    """Softer: a Gaussian of up to 1/32 of the height."""
    sigma = strength * BLUR * clips.shape[2] / 64
    radius = max(1, round(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    made = clips.astype(np.float32)
    for axis in (2, 3):
        width = [(radius, radius) if i == axis else (0, 0) for i in range(5)]
        padded = np.pad(made, width, mode="edge")
        made = sum(
            (weight * np.take(padded, range(i, i + clips.shape[axis]), axis) for i, weight in enumerate(weights)),
            start=np.zeros_like(made),
        )
    return _bytes(made)


def frozen(clips: Frames, strength: float) -> Frames:
    """Halted for the given share of the time, at its end."""
    last = clips.shape[1] - 1
    return clips[:, np.minimum(np.arange(last + 1), round(last * (1 - strength)))]


def shuffled(clips: Frames, strength: float) -> Frames:
    """Frames out of order: within all of the clip, or within quarters of it; each clip in its own way."""
    random = np.random.default_rng(0)
    length = clips.shape[1]
    part = max(2, round(length * (strength if strength < 1 else 1) ** 2))
    made = np.empty_like(clips)
    for clip, target in zip(clips, made, strict=True):
        order = np.concatenate([
            start + random.permutation(min(part, length - start)) for start in range(0, length, part)
        ])  # fmt: skip
        target[:] = clip[order]
    return made


def colour_shifted(clips: Frames, strength: float) -> Frames:
    """Towards orange."""
    return _bytes(clips.astype(np.float32) + strength * np.array(COLOUR, np.float32))


DEGRADATIONS: Mapping[str, Degrade] = {
    "blurred": blurred, "frozen": frozen, "shuffled in time": shuffled, "colour-shifted": colour_shifted,
}  # fmt: skip


def discriminates(floor: NDArray[np.float64], mild: float, strong: float, *, lower_is_better: bool = True) -> bool:
    """Whether a measure ranks as a person would: real, then mildly degraded, then strongly degraded.

    Args:
        floor: the measure of real clips, resampled.
        mild: of mildly degraded ones; it only has to lie between.
        strong: of strongly degraded ones, which must be worse than 95 % of the floor.
        lower_is_better: else higher.
    """
    sign = 1.0 if lower_is_better else -1.0
    worse = np.quantile(sign * floor, SHARE_OF_FLOOR)
    return bool(sign * strong > worse and sign * strong >= sign * mild >= np.min(sign * floor))


def _bytes(values: NDArray[np.floating]) -> Frames:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
