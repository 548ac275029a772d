"""The upscaler: what Lanczos makes of a frame, and what a small network adds to it.

    frames (B, 3, T, H, W) --Lanczos------------------------------------------> + --> (B, 3, T, times * H, times * W)
                           `-convolutions at the low size--depth to space--'

The last convolution starts at zero, so that an untrained upscaler is Lanczos. Frames are folded into the batch; every
block takes a quarter of its channels from the frame before (models/blocks.py): causal, and all that a stream has to
remember.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import UpscalerConfig
from autoreel.models.blocks import Blocks, Cache, Conv, ResBlock, TemporalShift

MATRICES = ("conv1.weight", "conv2.weight")  # inside the blocks, by the ends of their names
LOBES = 3  # of the Lanczos kernel


class Upscaler(nn.Module):
    """Enlarges frames.

    Args:
        config: width and depth.
        times: how many times as high and as wide the result is, 2 or 4.
    """

    def __init__(self, config: UpscalerConfig, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv_in = Conv(3, config.width)
        self.blocks = Blocks(ResBlock(config.width) for _ in range(config.depth))
        self.conv_out = Conv(config.width, 3 * times * times, gain=0.0)
        for name, module in self.named_modules():
            if isinstance(module, TemporalShift):
                module.name = name

    def forward(self, video: Tensor, cache: Cache | None = None) -> Tensor:
        """Enlarge a video, or the next frames of a stream.

        Args:
            video: (B, 3, T, H, W) in [-1, 1].
            cache: the stream's memory, changed in place; a new stream begins with an empty one. None when the video is
                whole.

        Returns:
            float32 (B, 3, T, times * H, times * W), about [-1, 1].
        """
        num_frames = video.shape[2]
        x = video.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        h = self.blocks(self.conv_in(x), num_frames, cache)
        detail = F.pixel_shuffle(self.conv_out(F.silu(h)).float(), self.times)
        return lanczos(video, self.times) + detail.reshape(-1, num_frames, *detail.shape[1:]).transpose(1, 2)


def lanczos(video: Tensor, times: int) -> Tensor:
    """Enlarge frames with the Lanczos kernel of three lobes, normalised at the edges, as Pillow does.

    Args:
        video: (..., H, W).
        times: how many times as high and as wide the result is.

    Returns:
        float32 (..., times * H, times * W).
    """
    with torch.autocast(video.device.type, enabled=False):
        down, across = (_matrix(side, times).to(video.device) for side in video.shape[-2:])
        found: Tensor = down @ (video.float().contiguous() @ across.T)
    return found


@lru_cache(maxsize=16)
def _matrix(side: int, times: int) -> Tensor:
    """(times * side, side): what each pixel of the larger picture takes of each of the smaller one."""
    at = (np.arange(times * side) + 0.5) / times - 0.5
    distance = np.abs(at[:, None] - np.arange(side)[None])
    weights = np.where(distance < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()
