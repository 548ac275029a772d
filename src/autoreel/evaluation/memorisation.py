"""Does a generator replay its training footage? For every made clip its nearest training clip, beside the same for
held-out real clips, which cannot have been copied.

Clips are compared as small moving pictures (16 x 16 pixels, 8 moments), so that a copy is found whatever an encoder
makes of it, also when it is softer, mirrored, or begins a few frames earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.evaluation.distances import TooFewError

SIDE = 16  # pixels of the small pictures
MOMENTS = 8  # frames of a clip that are compared
MIN_MADE = 8
MIN_HELD_OUT = 8
WORST = 10
CLOSE = 0.05  # a made clip counts as a replay when it is nearer than this share of the held-out clips are
AT_ONCE = 64

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Nearest:
    """The nearest training clip of each clip.

    Args:
        distance: float64 (N,), root mean square difference in levels of 255.
        index: int64 (N,), of the training clip.
    """

    distance: Array
    index: NDArray[np.int64]


@dataclass(frozen=True)
class Memorisation:
    """What the comparison with training footage found.

    Args:
        made: of each made clip.
        held_out: of each held-out real clip.
        threshold: distance below which only a share of 5 % of the held-out clips lie.
        share: of made clips that lie below it.
        ratio: median distance of made clips over that of held-out ones; 1 where the generator keeps as far from its
            footage as reality does, 0 for copies.
        worst: the made clips nearest to training, the nearest first; at most ten.
    """

    made: Nearest
    held_out: Nearest
    threshold: float
    share: float
    ratio: float
    worst: tuple[int, ...]


def small(clips: Frames) -> NDArray[np.float32]:
    """Clips as small moving pictures.

    Args:
        clips: uint8 (N, T, H, W, 3), H and W at least 16.

    Returns:
        float32 (N, 8 * 16 * 16 * 3), levels of 0 to 255.
    """
    if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3 or min(clips.shape[2:4]) < SIDE:
        raise ValueError(f"clips must be uint8 (N, T, H, W, 3) of at least {SIDE} pixels, not {clips.shape}")
    chosen = np.linspace(0, clips.shape[1] - 1, MOMENTS).round().astype(int)
    return np.array([_shrunk(clip[chosen]).reshape(-1) for clip in clips], np.float32)


def nearest(clips: NDArray[np.float32], training: NDArray[np.float32]) -> Nearest:
    """The nearest training clip of each clip, which may also be its mirror image.

    Args:
        clips: of `small`, (N, D).
        training: of `small`, (M, D), M at least 1.
    """
    if not len(training):
        raise ValueError("there is no training clip to compare with")
    best = np.full(len(clips), np.inf)
    index = np.zeros(len(clips), np.int64)
    squares = np.sum(training.astype(np.float64) ** 2, 1)
    for view in (clips, _mirrored(clips)):
        for start in range(0, len(view), AT_ONCE):
            part = view[start : start + AT_ONCE]
            found = squares[None] - 2.0 * (part @ training.T) + np.sum(part.astype(np.float64) ** 2, 1)[:, None]
            where = found.argmin(1)
            # The expanded square loses digits where it matters most, next to zero.
            exact = np.mean((part.astype(np.float64) - training[where]) ** 2, 1)
            place = slice(start, start + len(part))
            index[place] = np.where(exact < best[place], where, index[place])
            best[place] = np.minimum(best[place], exact)
    return Nearest(np.sqrt(best), index)


def memorisation(made: Nearest, held_out: Nearest) -> Memorisation:
    """Compare how near made clips and held-out real clips are to the training footage.

    Args:
        made: of at least 8 clips.
        held_out: of at least 8 clips.

    Raises:
        TooFewError: fewer.
    """
    for nearby, needed in ((made, MIN_MADE), (held_out, MIN_HELD_OUT)):
        if len(nearby.distance) < needed:
            raise TooFewError("the memorisation report", len(nearby.distance), needed)
    threshold = float(np.quantile(held_out.distance, CLOSE))
    order = np.argsort(made.distance, kind="stable")[:WORST]
    middle = max(float(np.median(held_out.distance)), 1e-9)
    return Memorisation(
        made=made, held_out=held_out, threshold=threshold, share=float(np.mean(made.distance < threshold)),
        ratio=float(np.median(made.distance)) / middle, worst=tuple(int(i) for i in order),
    )  # fmt: skip


def _shrunk(frames: Frames) -> NDArray[np.float32]:
    """Frames (T, H, W, 3) by area averaging to (T, 16, 16, 3)."""
    height, width = frames.shape[1:3]
    summed = frames.astype(np.float32)
    for axis, size in ((1, height), (2, width)):
        edges = (np.arange(SIDE + 1) * size / SIDE).round().astype(int)
        counts = np.diff(edges).reshape([-1 if i == axis else 1 for i in range(4)])
        summed = np.add.reduceat(summed, edges[:-1], axis) / counts
    return np.asarray(summed, np.float32)


def _mirrored(clips: NDArray[np.float32]) -> NDArray[np.float32]:
    pictures = clips.reshape(len(clips), MOMENTS, SIDE, SIDE, 3)
    return np.ascontiguousarray(pictures[:, :, :, ::-1]).reshape(clips.shape)
