"""A clip: frames with their rate, their times and their sound; and the one place where bytes become model values.

    files and pages   (T, H, W, C)     uint8, sRGB
    models            (B, C, T, H, W)  float in [-1, 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Sound:
    """Samples of sound.

    Args:
        samples: float32 (N, channels) in [-1, 1].
        sample_rate_hz: samples per second and channel.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True)
class Clip:
    """Frames in the order they are shown.

    Args:
        frames: uint8 (T, H, W, 3), sRGB.
        rate: frames per second.
        sound: the sound that belongs to them, from the first frame's time on.
        pts_s: float64 (T,), the time of each frame in seconds; None when they are evenly spaced from zero.
    """

    frames: Frames
    rate: Fraction
    sound: Sound | None = None
    pts_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), not {self.frames.dtype} {self.frames.shape}")
        if self.rate <= 0:
            raise ValueError(f"rate must be above zero, not {self.rate}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(len(self.frames) / self.rate)


def to_model(frames: Frames, device: torch.device | str = "cpu") -> torch.Tensor:
    """Bytes to model values.

    Args:
        frames: uint8 (T, H, W, 3) or (B, T, H, W, 3).
        device: where the result lies.

    Returns:
        float32 (B, 3, T, H, W) in [-1, 1]; B is 1 for a single clip.
    """
    import torch

    if frames.ndim == 4:
        frames = frames[None]
    if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (B, T, H, W, 3), not {frames.dtype} {frames.shape}")
    # A copy where the memory is read-only (a memory-mapped store): torch cannot promise not to write to it.
    array = frames if frames.flags.writeable and frames.flags.c_contiguous else frames.copy()
    video = torch.from_numpy(array).to(device).permute(0, 4, 1, 2, 3)
    return video.to(torch.float32).div_(127.5).sub_(1.0)


def to_frames(video: torch.Tensor) -> Frames:
    """Model values to bytes: clamped and rounded.

    Args:
        video: float (B, 3, T, H, W); values outside [-1, 1] are clamped.

    Returns:
        uint8 (B, T, H, W, 3).
    """
    import torch

    with torch.no_grad():
        scaled = video.detach().float().clamp(-1.0, 1.0).add(1.0).mul_(127.5).round_().to(torch.uint8)
        return np.ascontiguousarray(scaled.permute(0, 2, 3, 4, 1).cpu().numpy())


def as_stored(video: torch.Tensor) -> torch.Tensor:
    """Model values as they are after they were stored: clamped and rounded to bytes, in [-1, 1]."""
    return video.float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round().div(127.5).sub(1.0)
