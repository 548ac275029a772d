"""Discriminators: videos to logits, high for real, and the features on the way.

    conv   a logit for each patch of about 40 x 40 pixels and each group (or several groups together: `groups`)
    fc     one logit for each group, from the whole picture through fully connected layers

Both may see the partner of the video they judge, as another set of channels: the original beside what was painted of
it, or the other way round, and are to say which of the two comes first (LTX-Video 2024). Both may hold the largest
singular value of every matrix at one (spectral normalisation, Miyato et al. 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import DiscriminatorConfig
from autoreel.models.blocks import Conv, Down
from autoreel.models.codec import channels_last, fold

FC_SIZE = 64  # pixels a side that the fully connected discriminator sees; larger pictures are averaged down to it
FIRST_ITERATIONS = 8  # of the power method, at the start


class SpectralConv(Conv):
    """A convolution whose matrix is divided by its largest singular value; arguments as of `Conv`.

    The value comes from the power method, one iteration per update (`iterate`), not per look: looking changes nothing.
    """

    left: Tensor
    right: Tensor

    def __init__(self, width_in: int, width_out: int, kernel: int = 3, gain: float = 1.0) -> None:
        super().__init__(width_in, width_out, kernel, gain)
        self.register_buffer("left", F.normalize(torch.randn(self.weight.shape[0]), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(self.weight.shape[1]), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        """Follow the weight: one step of the power method."""
        self.left.copy_(F.normalize(self.weight @ self.right, dim=0))
        self.right.copy_(F.normalize(self.weight.T @ self.left, dim=0))

    def matrix(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.weight / (self.left @ self.weight @ self.right)


class Discriminator(nn.Module):
    """What both kinds have in common: which frames are seen together.

    Args:
        config: what it sees and how.
        temporal_stride: frames in a group.
    """

    def __init__(self, config: DiscriminatorConfig, temporal_stride: int) -> None:
        super().__init__()
        self.sees_original = config.sees_original
        self.temporal_stride, self.groups = temporal_stride, config.groups
        self.frame_channels = 3 * temporal_stride * config.groups * (2 if config.sees_original else 1)
        self.conv: type[Conv] = SpectralConv if config.spectral_norm else Conv

    def iterate(self) -> None:
        """After an update: let what is known of the weights' singular values follow them."""
        for module in self.modules():
            if isinstance(module, SpectralConv):
                module.iterate()

    def look(self, video: Tensor, partner: Tensor | None) -> Tensor:
        """What is judged, frames as channels: (B * windows, frame_channels, H, W).

            groups  0 1 2 3    windows of two  [0 1] [1 2] [2 3]

        Args:
            video: (B, 3, G * t, H, W).
            partner: the same shape, where the discriminator sees pairs.

        Raises:
            ValueError: no partner where one is seen, or fewer groups than are judged together.
        """
        seen = self._windows(video)
        if self.sees_original:
            if partner is None:
                raise ValueError("this discriminator sees the partner too; none was given")
            seen = torch.cat([seen, self._windows(partner)], 1)
        return seen

    def _windows(self, video: Tensor) -> Tensor:
        folded, groups = fold(video, self.temporal_stride)
        if self.groups == 1:
            return folded
        if groups < self.groups:
            raise ValueError(f"{self.groups} groups are judged together, the video has {groups}")
        by_group = folded.view(-1, groups, *folded.shape[1:])
        number = groups - self.groups + 1
        return torch.cat([by_group[:, i : i + number] for i in range(self.groups)], 2).flatten(0, 1)


class ConvDiscriminator(Discriminator):
    """Judges patches of space-time: convolutions on groups of frames folded into channels; arguments as above."""

    def __init__(self, config: DiscriminatorConfig, temporal_stride: int) -> None:
        super().__init__(config, temporal_stride)
        w, conv = config.width, self.conv
        self.stem = conv(4 * self.frame_channels, w)
        self.convs = nn.ModuleList([conv(w, w, gain=1.4), conv(2 * w, 2 * w, gain=1.4), conv(4 * w, 4 * w, gain=1.4)])
        self.downs = nn.ModuleList([Down(w, 2 * w, conv), Down(2 * w, 4 * w, conv)])
        self.head = conv(4 * w, 1, kernel=1)

    def forward(self, video: Tensor, partner: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Judge.

        Args:
            video: (B, 3, G * t, H, W) in [-1, 1]; H and W multiples of 8.
            partner: the same shape, when the discriminator sees pairs.

        Returns:
            Logits (B * windows, 1, H/8, W/8), high for real; and the features of each level.
        """
        x = self.stem(channels_last(F.pixel_unshuffle(self.look(video, partner), 2)))
        features = []
        for i, conv in enumerate(self.convs):
            if i:
                x = self.downs[i - 1](x)
            x = F.leaky_relu(conv(F.leaky_relu(x, 0.2)), 0.2)
            features.append(x)
        return self.head(x).float(), features


class FcDiscriminator(Discriminator):
    """Judges whole pictures: three fully connected layers; arguments as above."""

    def __init__(self, config: DiscriminatorConfig, temporal_stride: int) -> None:
        super().__init__(config, temporal_stride)
        w, dense = 4 * config.width, self.conv
        self.first = dense(self.frame_channels * FC_SIZE**2, w, kernel=1, gain=1.4)
        self.second = dense(w, w, kernel=1, gain=1.4)
        self.third = dense(w, w, kernel=1, gain=1.4)
        self.head = dense(w, 1, kernel=1)

    def forward(self, video: Tensor, partner: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Judge.

        Args:
            video: (B, 3, G * t, H, W) in [-1, 1], of any size.
            partner: the same shape, when the discriminator sees pairs.

        Returns:
            Logits (B * windows, 1), high for real; and the features of each layer.
        """
        x = F.adaptive_avg_pool2d(self.look(video, partner), FC_SIZE).flatten(1)
        features = []
        for layer in (self.first, self.second, self.third):
            x = F.leaky_relu(F.linear(x, layer.matrix(), layer.bias), 0.2)
            features.append(x)
        return F.linear(x, self.head.matrix(), self.head.bias).float(), features


AnyDiscriminator = ConvDiscriminator | FcDiscriminator
DISCRIMINATORS: dict[str, type[AnyDiscriminator]] = {"conv": ConvDiscriminator, "fc": FcDiscriminator}


def discriminator_of(config: DiscriminatorConfig, temporal_stride: int) -> AnyDiscriminator:
    """The discriminator that a config asks for.

    Args:
        config: its kind, width and what it sees.
        temporal_stride: frames in a group.
    """
    return DISCRIMINATORS[config.kind](config, temporal_stride)
