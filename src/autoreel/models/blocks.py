"""The parts the codec's networks are built from: 2-D convolutions on groups of frames folded into channels.

    video  (B, 3, 1 + 4k, H, W)
    groups (B * G, 3 * 4, H, W)       G = 1 + k; the first frame stands alone, repeated to fill its group
    inside (B * G, C, h, w)           channels-last: what CPUs and GPUs multiply fastest

Time is seen in two ways: the frames of a group are channels of one convolution, and every residual block takes a
quarter of its channels from the group before (temporal shift, Lin et al. 2019, causal form): no operations, no
parameters, and exactly as causal as the group.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cache = dict[str, Tensor]
"""What a stream remembers between chunks: for each shifting module its last group's channels."""


class Conv(nn.Module):
    """A 2-D convolution whose weight lies as a matrix (out, k * k * in), the form its optimizer works on.

    Args:
        width_in: channels in.
        width_out: channels out.
        kernel: 1 or 3; padded to keep the size.
        gain: deviation of the initial outputs for unit inputs; 0 starts as zero.
    """

    def __init__(self, width_in: int, width_out: int, kernel: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.kernel = kernel
        self.width_in = width_in
        self.limit = gain or 1.0  # of the length of a row, which is the deviation of an output for unit inputs
        weight = torch.empty(width_out, kernel * kernel * width_in)
        nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1])) if gain else nn.init.zeros_(weight)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor) -> Tensor:
        k = self.kernel
        # (out, k, k, in) seen as (out, in, k, k) is the channels-last order: nothing is copied.
        weight = self.matrix().view(-1, k, k, self.width_in).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, self.bias, padding=k // 2)

    def matrix(self) -> Tensor:
        """The weight that is used, (out, k * k * in)."""
        return self.weight


def group_before(x: Tensor, first: Tensor, cache: Cache | None, name: str) -> Tensor:
    """What each group of a stream has before it.

    Args:
        x: (B, G, ...), something of every group.
        first: (B, 1, ...), what stands before the first group of all.
        cache: of a stream, changed in place: its last group.
        name: the key in it.

    Returns:
        Of the shape of `x`.
    """
    before = None if cache is None else cache.get(name)
    if cache is not None:
        cache[name] = x[:, -1:].detach().clone()
    return torch.cat([(first if before is None else before).to(x.dtype), x[:, :-1]], 1)


class TemporalShift(nn.Module):
    """Takes the first `share` of the channels from the group before; zeros before the first group.

    Args:
        width: channels.
        share: how many of them, as a fraction.
    """

    def __init__(self, width: int, share: float = 0.25) -> None:
        super().__init__()
        self.shifted = int(width * share)
        self.name = ""  # its place in the network, set by the codec: the key in the cache

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        s = self.shifted
        x_BGhwC = x.permute(0, 2, 3, 1)
        x_BGhwC = x_BGhwC.reshape(-1, groups, *x_BGhwC.shape[1:])
        shifted = x_BGhwC[..., :s]
        past = group_before(shifted, shifted.new_zeros(shifted[:, :1].shape), cache, self.name)
        return torch.cat([past, x_BGhwC[..., s:]], -1).flatten(0, 1).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """x + conv(act(conv(shift(act(x))))), without normalisation.

    Norms cost as much as the convolutions here; a last convolution that starts at zero keeps the start calm.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = TemporalShift(width)
        self.conv1 = Conv(width, width, gain=1.4)
        self.conv2 = Conv(width, width, gain=0.0)

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        h = self.shift(F.silu(x), groups, cache)
        out: Tensor = x + self.conv2(F.silu(self.conv1(h)))
        return out


class Blocks(nn.ModuleList):
    """Blocks of one width in a row, of any backbone."""

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        for block in self:
            x = block(x, groups, cache)
        return x


class Down(nn.Module):
    """Half the size: space to depth, then one matrix per position.

    Args:
        width_in: channels in.
        width_out: channels out.
        conv: the kind of convolution.
    """

    def __init__(self, width_in: int, width_out: int, conv: type[Conv] = Conv) -> None:
        super().__init__()
        self.conv = conv(4 * width_in, width_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pixel_unshuffle(x, 2))
        return out


class Up(nn.Module):
    """Twice the size: one matrix per position, then depth to space."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = Conv(width_in, 4 * width_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)
