"""The latent timeline: one row of latent frames, each with its own noise level; every verb is a way to lay one out.

known: #   to be made: .   half noised: ~
generate   ........        new footage, of a label or of any
animate    #(#)......      a picture starts to move; that it is held for a group is seen, and not shown
continue_  ####....        what happens next
between    ##....~(#)      what happened in between; the known end is seen and led over to, and shown from elsewhere
loop       ##....~(#)      the same, back to its own start
vary       ~~~~~~~~        the same scene, another take
rebuild    ########        nothing to make: the compression itself
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NO_LABEL = -1
JOINT = 0.5  # level of a known end's first frame, and from 1 to there those of the APPROACH frames before it
APPROACH = 4


@dataclass(frozen=True)
class Timeline:
    """A row of latent frames; frame 0 stands for one picture, every later one for a group of them.

    Args:
        latents: float32 (C, K, h, w), K <= T, normalised; of the frames behind the K-th, and of all whose level is 1,
            nothing is known.
        level: float32 (T,): 0 is known and stays as it is, 1 is to be made, between is noised to there and made anew.
        label: number of the label, or NO_LABEL.
        seed: decides all noise.
        shown: how many frames belong to the result; those behind them are only seen.
        left_out: known frames between frame 0 and the next one here, which nobody looks at any more; noise and times
            are as if they were here.
        joint: the first frame of a known end, whose level lies between 0 and 1: those before it see what is known of
            it, before it is made anew to fit them; -1 when there is none.
    """

    latents: Tensor
    level: Tensor
    label: int = NO_LABEL
    seed: int = 0
    shown: int = -1
    left_out: int = 0
    joint: int = -1

    def __post_init__(self) -> None:
        num_given = self.latents.shape[1] if self.latents.ndim == 4 else -1
        if not 0 <= num_given <= len(self.level) or not len(self.level) or bool((self.level[num_given:] < 1).any()):
            raise ValueError(f"latents {tuple(self.latents.shape)} and levels {tuple(self.level.shape)} do not match")
        if float(self.level.min()) < 0 or float(self.level.max()) > 1:
            raise ValueError("noise levels lie between 0 (known) and 1 (to be made)")
        if self.shown == -1:
            object.__setattr__(self, "shown", len(self.level))
        if not 0 < self.shown <= len(self.level):
            raise ValueError(f"{self.shown} frames shown of {len(self.level)}")

    def __len__(self) -> int:
        return len(self.level)

    @property
    def known(self) -> list[bool]:
        """For each frame, whether others may see what is given of it."""
        return [level == 0 or i == self.joint for i, level in enumerate(self.level.tolist())]

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
    return Timeline(torch.zeros(c, 0, h, w), torch.ones(num_latents))


def continue_(known: Tensor, num_new: int, left_out: int = 0) -> Timeline:
    """What happens after a clip.

    Args:
        known: (C, K, h, w).
        num_new: latent frames to make.
        left_out: frames of the clip between the first of `known` and the others, as in `Timeline`.
    """
    if num_new < 0:
        raise ValueError(f"cannot make {num_new} frames")
    return Timeline(known.float(), _levels((known.shape[1], 0.0), (num_new, 1.0)), left_out=left_out)


def between(start: Tensor, num_new: int, end: Tensor, joint: float = JOINT, left_out: int = 0) -> Timeline:
    """What happened between two clips.

    The last new frames are made from noise with ever more of the end's first one in it, and that one last of all anew,
    so that they come to it also when the network has not learned well yet to look ahead.

    Args:
        start: (C, A, h, w).
        num_new: latent frames to make.
        end: (C, B, h, w), encoded with a past: none of its frames stands alone.
        joint: level from which the end's first frame is made anew, so that it goes on from what was made; the result
            ends with it. 0 leaves it as it is, and those before it are made from noise alone.
        left_out: frames of the start between its first and the others, as in `Timeline`.
    """
    if num_new < 1:
        raise ValueError(f"cannot make {num_new} frames")
    c, a, h, w = start.shape
    near = min(APPROACH, num_new) if joint else 0
    far = num_new - near
    come_to = end[:, :1].float().expand(-1, near, -1, -1)
    latents = torch.cat([start.float(), torch.zeros(c, far, h, w), come_to, end.float()], 1)
    falling = torch.linspace(1, joint, near + 2)[1:] if joint else torch.zeros(1)
    level = torch.cat([_levels((a, 0.0), (far, 1.0)), falling, torch.zeros(end.shape[1] - 1)])
    return Timeline(latents, level, shown=a + num_new + 1, left_out=left_out, joint=a + num_new)


def vary(known: Tensor, strength: float) -> Timeline:
    """Another take of the same scene.

    Args:
        known: (C, T, h, w).
        strength: noise level from which every frame is made anew; 0 changes nothing, 1 keeps nothing.
    """
    return Timeline(known.float(), torch.full((known.shape[1],), float(strength)))


def retake(row: Timeline, num_known: int, level: float) -> Timeline:
    """The known beginning of a row, its last frame noised to `level` and made anew: what the prior takes it for.

    Args:
        row: that begins with frames that are known.
        num_known: how many.
        level: in (0, 1).
    """
    levels = _levels((num_known - 1, 0.0), (1, level))
    return replace(row, latents=row.latents[:, :num_known], level=levels, shown=num_known, joint=-1)


def rebuild(known: Tensor) -> Timeline:
    """Nothing to make.

    Args:
        known: (C, T, h, w).
    """
    return vary(known, 0.0)


def _levels(*runs: tuple[int, float]) -> Tensor:
    return torch.cat([torch.full((count,), level) for count, level in runs])
