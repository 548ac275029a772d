"""The latent timeline: one row of latent frames, each with its own noise level; every verb is a way to lay one out.

known: #   to be made: .   half noised: ~
generate   ........        new footage, of a label or of any
animate    #.......        a picture starts to move
continue_  ####....        what happens next
between    ##....##        what happened in between
loop       ##....(##)      back to its own start; the known end is seen but not shown
vary       ~~~~~~~~        the same scene, another take
rebuild    ########        nothing to make: the compression itself
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NO_LABEL = -1


@dataclass(frozen=True)
class Timeline:
    """A row of latent frames; frame 0 stands for one picture, every later one for a group of them.

    Args:
        latents: float32 (C, T, h, w), normalised; zeros where nothing is known.
        level: float32 (T,): 0 is known and stays as it is, 1 is to be made, between is noised to there and made anew.
        label: number of the label, or NO_LABEL.
        seed: decides all noise.
        shown: how many frames belong to the result; those behind them are only seen.
        left_out: known frames between frame 0 and the next one here, which nobody looks at any more; noise and times
            are as if they were here.
    """

    latents: Tensor
    level: Tensor
    label: int = NO_LABEL
    seed: int = 0
    shown: int = -1
    left_out: int = 0

    def __post_init__(self) -> None:
        if self.latents.ndim != 4 or self.level.shape != self.latents.shape[1:2] or not len(self.level):
            raise ValueError(f"latents {tuple(self.latents.shape)} and levels {tuple(self.level.shape)} do not match")
        if float(self.level.min()) < 0 or float(self.level.max()) > 1:
            raise ValueError("noise levels lie between 0 (known) and 1 (to be made)")
        if self.shown == -1:
            object.__setattr__(self, "shown", len(self.level))
        if not 0 < self.shown <= len(self.level):
            raise ValueError(f"{self.shown} frames shown of {len(self.level)}")

    def __len__(self) -> int:
        return len(self.level)

    def of(self, label: int = NO_LABEL, seed: int = 0) -> Timeline:
        """The same row for a label and a seed."""
        return replace(self, label=label, seed=seed)


def generate(num_latents: int, shape: tuple[int, int, int]) -> Timeline:
    """Everything is to be made.

    Args:
        num_latents: T.
        shape: (C, h, w) of a latent frame.
    """
    c, h, w = shape
    return Timeline(torch.zeros(c, num_latents, h, w), torch.ones(num_latents))


def continue_(known: Tensor, num_new: int, left_out: int = 0) -> Timeline:
    """What happens after a clip.

    Args:
        known: (C, K, h, w).
        num_new: latent frames to make.
        left_out: frames of the clip between the first of `known` and the others, as in `Timeline`.
    """
    latents = _with_room(known, num_new)
    return Timeline(latents, _levels((known.shape[1], 0.0), (num_new, 1.0)), left_out=left_out)


def animate(picture: Tensor, num_new: int) -> Timeline:
    """A picture starts to move: a clip of one frame goes on.

    Args:
        picture: (C, 1, h, w).
        num_new: latent frames to make.
    """
    if picture.shape[1] != 1:
        raise ValueError(f"a picture is one latent frame, not {picture.shape[1]}")
    return continue_(picture, num_new)


def between(start: Tensor, num_new: int, end: Tensor) -> Timeline:
    """What happened between two clips.

    Args:
        start: (C, A, h, w).
        num_new: latent frames to make.
        end: (C, B, h, w), encoded with a past: none of its frames stands alone.
    """
    latents = torch.cat([_with_room(start, num_new), end], 1)
    return Timeline(latents, _levels((start.shape[1], 0.0), (num_new, 1.0), (end.shape[1], 0.0)))


def loop(clip: Tensor, num_new: int, start_again: Tensor) -> Timeline:
    """A way back from a clip's end to its start, so that it repeats without a seam.

    Args:
        clip: (C, K, h, w).
        num_new: latent frames to make.
        start_again: (C, B, h, w), the clip's first groups encoded with a past; seen, not shown.
    """
    return replace(between(clip, num_new, start_again), shown=clip.shape[1] + num_new)


def vary(known: Tensor, strength: float) -> Timeline:
    """Another take of the same scene.

    Args:
        known: (C, T, h, w).
        strength: noise level from which every frame is made anew; 0 changes nothing, 1 keeps nothing.
    """
    return Timeline(known.float(), torch.full((known.shape[1],), float(strength)))


def rebuild(known: Tensor) -> Timeline:
    """Nothing to make.

    Args:
        known: (C, T, h, w).
    """
    return vary(known, 0.0)


def _with_room(known: Tensor, num_new: int) -> Tensor:
    if num_new < 0:
        raise ValueError(f"cannot make {num_new} frames")
    c, _, h, w = known.shape
    return torch.cat([known.float(), known.new_zeros(c, num_new, h, w, dtype=torch.float32)], 1)


def _levels(*runs: tuple[int, float]) -> Tensor:
    return torch.cat([torch.full((count,), level) for count, level in runs])
