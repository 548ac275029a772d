"""Discriminators: videos to one number per space-time patch, and the features on the way."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import DiscriminatorConfig
from autoreel.models.blocks import Conv, Down
from autoreel.models.codec import channels_last, fold


class ConvDiscriminator(nn.Module):
    """Judges patches of 4 frames by about 40 x 40 pixels: convolutions on groups of frames folded into channels.

    Args:
        config: its width, and whether it sees the original beside the video it judges (LTX-Video 2024).
        temporal_stride: frames in a group.
    """

    def __init__(self, config: DiscriminatorConfig, temporal_stride: int) -> None:
        super().__init__()
        self.sees_original = config.sees_original
        self.temporal_stride = temporal_stride
        w = config.width
        inputs = 12 * temporal_stride * (2 if config.sees_original else 1)
        self.stem = Conv(inputs, w)
        self.convs = nn.ModuleList([Conv(w, w, gain=1.4), Conv(2 * w, 2 * w, gain=1.4), Conv(4 * w, 4 * w, gain=1.4)])
        self.downs = nn.ModuleList([Down(w, 2 * w), Down(2 * w, 4 * w)])
        self.head = Conv(4 * w, 1, kernel=1)

    def forward(self, video: Tensor, original: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Judge.

        Args:
            video: (B, 3, G * t, H, W) in [-1, 1]; H and W multiples of 8.
            original: the same shape, when the discriminator sees it.

        Returns:
            Logits (B * G, 1, H/8, W/8), high for real; and the features of each level.
        """
        x = self._look(video)
        if self.sees_original:
            if original is None:
                raise ValueError("this discriminator sees the original too; none was given")
            x = channels_last(torch.cat([x, self._look(original)], 1))
        x = self.stem(x)
        features = []
        for i, conv in enumerate(self.convs):
            if i:
                x = self.downs[i - 1](x)
            x = F.leaky_relu(conv(F.leaky_relu(x, 0.2)), 0.2)
            features.append(x)
        return self.head(x).float(), features

    def _look(self, video: Tensor) -> Tensor:
        folded, _ = fold(video, self.temporal_stride)
        return channels_last(F.pixel_unshuffle(folded, 2))
