"""Frames of any size brought to a run's size, as preparation does it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.media.geometry import Fit, Orientation, plan


def fit_frames(frames: Frames, size: tuple[int, int], fit: Fit) -> Frames:
    """Bring frames to a size the way preparation does: aspect kept, cropped or letterboxed, resized by area.

    Args:
        frames: uint8 (T, H, W, 3), T >= 1.
        size: (height, width).
        fit: "crop", "letterbox" or "stretch".

    Raises:
        UsageError: not frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise UsageError(f"frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}")
    if frames.shape[1:3] == size:
        return frames
    how = plan(frames.shape[1], frames.shape[2], Fraction(1), Orientation(), size, fit)
    top, left, height, width = how.crop
    kept = np.ascontiguousarray(frames[:, top : top + height, left : left + width])
    pictures = torch.from_numpy(kept).permute(0, 3, 1, 2).float()
    if how.scaled[0] <= height and how.scaled[1] <= width:
        scaled = F.interpolate(pictures, how.scaled, mode="area")
    else:
        scaled = F.interpolate(pictures, how.scaled, mode="bilinear", antialias=True)
    rounded = scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.stack([how.finish(picture) for picture in rounded])
