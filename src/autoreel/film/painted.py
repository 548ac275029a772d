"""Latent transitions: the model paints the way from one shot to the next.

    shot 1   ...aaaaAAAAAAAAAAAA               A, B: what both shots show meanwhile
    shot 2              BBBBBBBBBBBBbbbb...
    morph    ...aaaa(A walks to  B)bbbb...     latents of A and B, from one to the other
    between  ...aaaaAA..........BBbbbb...      the beginning of A and the end of B are known, the rest is made

At both ends the painted frames fade into the real ones, which may be sharper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from autoreel.clip import Frames
from autoreel.film.made import FilmRun
from autoreel.film.transitions import fade
from autoreel.media.yuv420 import Picture, Planar, from_rgb, to_rgb

EDGE = 0.2  # of the transition, at either end, over which painted frames come in and go
SHORTEST = 5  # frames of the model: below, there is no way to paint


@dataclass
class Way:
    """What is seen from one shot to the next.

    Args:
        painted: frames at the model's size and rate.
        step: frames of the model for one of the film.
        real: what the shots show at either end, by the number of the film's frame within the transition.
        count: of the film's frames.
    """

    painted: Frames
    step: Fraction
    real: dict[int, Picture]
    count: int

    def picture(self, index: int) -> Picture:
        """The film's frame `index` of the transition."""
        frame = self.painted[min(len(self.painted) - 1, math.floor(index * self.step))]
        one = next(iter(self.real.values()))
        width, height = one.size
        painted: Picture
        if isinstance(one, Planar):
            painted = from_rgb(frame, (height, width))
        else:
            painted = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        real, gone = self.real.get(index), (index + 1) / (self.count + 1)
        return painted if real is None else fade(real, painted, min(gone, 1 - gone) / EDGE)


def gathered(
    before: Iterator[Picture], after: Iterator[Picture], count: int, step: Fraction, size: tuple[int, int]
) -> tuple[Frames, Frames, dict[int, Picture]]:
    """What the model must see of two shots, and what is shown of them.

    Args:
        before, after: `count` pictures each, read side by side: none is kept longer than needed.
        count: of the film's frames.
        step: frames of the model for one of the film.
        size: (height, width) of the model.

    Returns:
        uint8 (n, H, W, 3) of both at the model's size and rate, and the pictures of both ends.
    """
    shown, real = set(shown_of(count, step)), dict[int, Picture]()
    seen: tuple[list[Frames], list[Frames]] = ([], [])
    for index, pictures in enumerate(zip(before, after, strict=True)):
        gone = (index + 1) / (count + 1)
        if gone < EDGE or index == 0:
            real[index] = pictures[0]
        elif gone > 1 - EDGE:
            real[index] = pictures[1]
        if index in shown:
            for kept, picture in zip(seen, pictures, strict=True):
                kept.append(_small(picture, size))
    return np.stack(seen[0]), np.stack(seen[1]), real


def _small(picture: Picture, size: tuple[int, int]) -> Frames:
    """uint8 (H, W, 3) at another (height, width), averaged over areas."""
    if isinstance(picture, Planar):
        return to_rgb(picture, size)
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BOX), dtype=np.uint8)


def shown_of(count: int, step: Fraction) -> list[int]:
    """Which of the film's frames of a transition the model is given: one for each of its own."""
    wanted = math.floor((count - 1) * step) + 1
    return [min(count - 1, math.ceil(index / step)) for index in range(wanted)]


def paint(kind: str, run: FilmRun, before: Frames, after: Frames, label: str | None, seed: int) -> Frames:
    """The frames of a latent transition.

    Args:
        kind: morph or between.
        run: the model.
        before, after: uint8 (n, H, W, 3) at its size: what the two shots show during the transition.
        label, seed: of what is made.

    Returns:
        uint8 (n, H, W, 3).
    """
    count = len(before)
    if kind == "morph" or count < SHORTEST + 2:
        return run.morph(before, after, count)
    # What is made comes in whole groups; what is known at both ends takes what is left over.
    stride = run.config.strides[0]
    new = max(stride, (count * 3 // 4) // stride * stride)
    first = (count - new + 1) // 2
    last = count - new - first
    if last < 1:
        first, last = first, 1
    made = run.between(before[:first], after[len(after) - last :], new, label=label, seed=seed)
    return made[:count]

