"""A small space-time encoder of one footage: the eye with which sets of clips are compared.

    frames (N, T, H, W, 3)  --windows of 16 frames at 64 px-->  features, and the traits below them

It is trained on the training side of one footage only (evaluation/learning.py), never used as a loss, and needs no
download. Its figures compare only among clips that were looked at by the same encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from autoreel.clip import Frames, to_model
from autoreel.models.compute import autocast, matrix_dtype

WINDOW = 16  # frames that are looked at together
SIDE = 64  # pixels, height and width of what is looked at
FEATURES = 24  # numbers that a window becomes; few, so that a covariance can be taken from few windows
GROUP = 4  # frames that are folded into channels
WIDTHS = (64, 128, 160)
TRAITS = 2 * (WIDTHS[1] + WIDTHS[2])
CHANGE_SCALE = 2.0  # frames change less than they differ from grey
AT_ONCE = 16  # windows

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What the encoder sees in the windows of a set of clips: those of the first clip, then those of the second, ...

    Args:
        features: float64 (N, FEATURES), what distances are taken of.
        traits: float64 (N, TRAITS), the layer below, for classifiers.
    """

    features: Array
    traits: Array

    def __len__(self) -> int:
        return len(self.features)

    def of(self, which: NDArray[np.generic] | slice) -> Seen:
        """Some of the windows."""
        return Seen(self.features[which], self.traits[which])


class Encoder(nn.Module):
    """Windows of 16 frames to features: three convolutions over groups of frames folded into channels.

    4 groups of 4 frames   each its first frame and what changes from frame to frame, 4 x 4 pixels to one place
    16 x 16 places         each group by itself
    8 x 8 places           each group by itself, then all four together
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.stem = nn.Conv2d(3 * (1 + GROUP) * 16, first, 3, padding=1)
        self.down = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.join = nn.Conv2d(second * (WINDOW // GROUP), third, 3, padding=1)
        self.out = nn.Linear(TRAITS, FEATURES)

    def traits(self, video: Tensor) -> Tensor:
        """Mean and deviation of each channel of the last two layers.

        Args:
            video: (B, 3, 16, H, W) in [-1, 1]; H and W multiples of 8.

        Returns:
            float32 (B, TRAITS).
        """
        groups = WINDOW // GROUP
        change = torch.cat([torch.zeros_like(video[:, :, :1]), video[:, :, 1:] - video[:, :, :-1]], 2)
        starts = _split(video, 2, groups)[:, :, :, :1]
        x = torch.cat([starts, CHANGE_SCALE * _split(change, 2, groups)], 3)  # (B, 3, groups, 5, H, W)
        x = x.transpose(1, 2).flatten(0, 1).flatten(1, 2)
        h = F.silu(self.stem(F.pixel_unshuffle(x, 4).contiguous(memory_format=torch.channels_last)))
        h = F.silu(self.down(h))
        whole = F.silu(self.join(_split(h, 0, len(video)).flatten(1, 2))).float().flatten(2)
        parts = _split(h.float(), 0, len(video)).transpose(1, 2).flatten(2)
        return torch.cat([parts.mean(2), parts.std(2), whole.mean(2), whole.std(2)], 1)

    def features(self, traits: Tensor) -> Tensor:
        """(B, TRAITS) to (B, FEATURES)."""
        found: Tensor = self.out(traits)
        return found


@torch.no_grad()
def look(encoder: Encoder, clips: Frames) -> Seen:
    """What the encoder sees in clips, window by window: of 16 frames, side by side.

    Args:
        encoder: trained.
        clips: uint8 (N, T, H, W, 3), T at least 16; frames that fill no window are left out. Any size: it is scaled.

    Returns:
        N * (T // 16) rows.

    Raises:
        ValueError: not clips, or too short.
    """
    if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3 or not len(clips):
        raise ValueError(f"clips must be uint8 (N, T, H, W, 3), at least one, not {clips.dtype} {clips.shape}")
    if clips.shape[1] < WINDOW:
        raise ValueError(f"clips must be at least {WINDOW} frames long, not {clips.shape[1]}")
    device = next(encoder.parameters()).device
    windows = clips[:, : clips.shape[1] // WINDOW * WINDOW].reshape(-1, WINDOW, *clips.shape[2:])
    traits = []
    for start in range(0, len(windows), AT_ONCE):
        video = at_side(to_model(windows[start : start + AT_ONCE], device))
        with autocast(device, matrix_dtype(device)):
            traits.append(encoder.traits(video))
    found = torch.cat(traits)
    return Seen(encoder.features(found).cpu().double().numpy(), found.cpu().double().numpy())


def at_side(video: Tensor) -> Tensor:
    """(B, 3, T, H, W) at the encoder's size, by area."""
    if video.shape[-2:] == (SIDE, SIDE):
        return video
    frames = video.transpose(1, 2)
    scaled = F.interpolate(frames.flatten(0, 1), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return scaled.view(*frames.shape[:3], SIDE, SIDE).transpose(1, 2)


def _split(x: Tensor, axis: int, parts: int) -> Tensor:
    """One axis as two, of which the first is `parts` long."""
    return x.reshape(*x.shape[:axis], parts, -1, *x.shape[axis + 1 :])
