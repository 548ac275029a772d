"""The codec: a video autoencoder that starts as the best linear one and learns the rest.

    video (B, 3, 1 + 4k, H, W) in [-1, 1]  --encode-->  latent (B, C, 1 + k, H/8, W/8)  --decode-->  video

Two paths are added. The linear path is the Karhunen-Loeve transform of the footage's own blocks (4 x 8 x 8 pixels to C
numbers), each painted again from its own numbers and its neighbours' in space and in the past: computed from the data
before the first step, it alone reconstructs what takes a network minutes to reach.
The convolutional path starts at zero and learns what a linear map cannot: motion, edges, what lies across blocks.

Group-causal: the 4 frames of a group see each other and the past, never the future; the first frame stands alone, so a
picture is a video of one frame. The past is carried by each block: by a temporal shift (backbone `resnet`,
models/blocks.py) or by attention to the groups before (`transformer`, models/attention.py), whose last groups are all a
stream has to remember: streamed and one-shot results are the same operations.

The family `gan` is the decoder alone, its latents drawn from N(0, I): neither encoder nor linear path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import CodecConfig
from autoreel.errors import UsageError
from autoreel.models.attention import AttentionBlock, WindowAttention
from autoreel.models.blocks import Blocks, Cache, Conv, Down, ResBlock, TemporalShift, Up, group_before
from autoreel.models.video_codec import VideoCodec

# Matrices inside the blocks and between them, by the ends of their names.
MATRICES = (
    "conv1.weight", "conv2.weight", "conv.weight", "qkv.weight", "out.weight", "widen.weight", "narrow.weight",
)  # fmt: skip
ACTIVATIONS = 6  # tensors of the widest stage that are alive at once, about


@dataclass(frozen=True)
class Posterior:
    """q(z given x), a diagonal Gaussian per latent element; a plain point where the family has no variance.

    Args:
        mean: (B, C, 1 + k, h, w).
        log_variance: the same shape, or None.
    """

    mean: Tensor
    log_variance: Tensor | None

    def mode(self) -> Tensor:
        """The most likely latent."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A reparameterised draw (Kingma & Welling 2014, eq. 10)."""
        if self.log_variance is None:
            return self.mean
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=torch.float32)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self) -> Tensor:
        """KL(q || N(0, I)) per latent element, averaged: a scalar in nats."""
        if self.log_variance is None:
            return self.mean.new_zeros(())
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance).mean()


def stages_of(config: CodecConfig, widths: Sequence[int], depths: Sequence[int]) -> nn.ModuleList:
    """The blocks of every size of a network, of the backbone that the config asks for."""
    place = count()

    def block(width: int) -> nn.Module:
        if config.backbone == "resnet":
            return ResBlock(width)
        return AttentionBlock(width, config.attention_window, config.attention_past, shifted=next(place) % 2 == 1)

    sizes = zip(widths, depths, strict=True)
    return nn.ModuleList(Blocks(block(width) for _ in range(depth)) for width, depth in sizes)


class Encoder(nn.Module):
    """Groups of frames to the moments of the posterior: the convolutional path."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = Conv(12 * config.temporal_stride, widths[0])
        self.stages = stages_of(config, widths, config.encoder_depths)
        self.downs = nn.ModuleList(Down(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.head = Conv(widths[-1], 2 * config.latent_channels, gain=0.0)

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        x = self.stem(F.pixel_unshuffle(x, 2))
        for i, stage in enumerate(self.stages):
            if i:
                x = self.downs[i - 1](x)
            x = stage(x, groups, cache)
        moments: Tensor = self.head(F.silu(x))
        return moments.float()


class Decoder(nn.Module):
    """Latents to groups of frames: the convolutional path, and the whole generator of the `gan` family."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.stem = Conv(config.latent_channels, widths[0])
        self.stages = stages_of(config, widths, config.decoder_depths[::-1])
        self.ups = nn.ModuleList(Up(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        # Beside a linear path it starts as nothing; alone as a nearly grey picture that already depends on the latents.
        self.head = Conv(widths[-1], 12 * config.temporal_stride, gain=0.1 if config.family == "gan" else 0.0)

    def forward(self, z: Tensor, groups: int, cache: Cache | None) -> Tensor:
        x = self.stem(z)
        for i, stage in enumerate(self.stages):
            if i:
                x = self.ups[i - 1](x)
            x = stage(x, groups, cache)
        return F.pixel_shuffle(self.head(F.silu(x)).float(), 2)


class LinearPath(nn.Module):
    """Blocks of t x s x s pixels to C numbers by a matrix, the Karhunen-Loeve transform, and back by a convolution.

    A block is painted from its own numbers and those of the eight around it: what lies at an edge between blocks is
    told by both sides, so that less of a grid is seen, and half a decibel is won over the transform's own inverse.
    The same nine of the group before tell where things come from: few of the numbers say how a block changes inside
    itself, so that pictures would stand still for a group and jump to the next (0.5 dB of the frames' differences).
    In float32 also where all else is in bfloat16, whose three digits would be seen in the pictures.

    Args:
        stride: s, pixels.
        block: numbers in a block, 3 * t * s * s.
        channels: numbers kept, C.
        past: groups before its own that a block is painted from, 0 or 1.
    """

    name = "linear"  # the key in the cache

    def __init__(self, stride: int, block: int, channels: int, past: int) -> None:
        super().__init__()
        self.stride, self.past = stride, past
        basis = torch.empty(block, channels)
        nn.init.orthogonal_(basis)
        # Orthonormal columns in any direction, until `fit` has seen footage.
        self.down = nn.Parameter(basis.T.contiguous())
        self.up = nn.Parameter(torch.zeros(block, (1 + past) * channels, 3, 3))  # of its own group's numbers first
        self.bias = nn.Parameter(torch.zeros(block))
        with torch.no_grad():
            self.up[:, :channels, 1, 1] = basis

    @torch.no_grad()
    def fit(self, mean: Tensor, basis: Tensor, deviation: Tensor) -> None:
        """Become the transform of some footage.

        Args:
            mean: (block,), the average block.
            basis: (block, C), orthonormal columns, most of the variance first.
            deviation: (C,), of each coefficient; latents come out with deviation one.
        """
        self.down.copy_((basis / deviation).T)
        self.up.zero_()
        self.up[:, : len(deviation), 1, 1] = basis * deviation
        self.bias.copy_(mean)

    @torch.no_grad()
    def solve_painting(
        self, pairs: Iterable[tuple[Tensor, Tensor, int]], ridge: float, most: int | None = None
    ) -> Tensor:  # fmt: skip
        """What `up` would have to be for given pictures, by least squares.

        Args:
            pairs: latents (B * G, C, h, w), the blocks to be painted of them (B * G, h, w, 3t * s * s), and G.
            ridge: added to the variance of each number, in units of the latents', which is one: for footage so plain
                that numbers never differ from their neighbours, or so little that chance would be learned.
            most: blocks of a pair that are looked at, spread evenly; None for all.

        Returns:
            Of the shape of `up`.
        """
        block, seen = self.up.shape[0], self.up[0].numel()
        within = torch.zeros(seen, seen, dtype=torch.float64, device=self.up.device)
        across, number = within.new_zeros(seen, block), 0
        for z, blocks, groups in pairs:
            around = F.unfold(_with_border(self._with_past(z, groups, None)), 3).transpose(1, 2).flatten(0, 1)
            painted = blocks.flatten(0, 2)
            if most is not None and most < len(around):
                taken = torch.linspace(0, len(around) - 1, most, device=around.device).long()
                around, painted = around[taken], painted[taken]
            within += (around.T @ around).double()
            across += (around.T @ painted).double()
            number += len(around)
        ridges = torch.full((seen,), ridge).to(within).diag()
        solved: Tensor = torch.linalg.solve(within / number + ridges, across / number)
        return solved.T.reshape(self.up.shape).to(self.up.dtype)

    def blocks(self, x: Tensor) -> Tensor:
        """Groups (N, 3t, H, W) to blocks (N, h, w, 3t * s * s)."""
        return F.pixel_unshuffle(x, self.stride).permute(0, 2, 3, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Groups (N, 3t, H, W) to latents (N, C, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            return ((self.blocks(x.float()) - self.bias) @ self.down.T).permute(0, 3, 1, 2)

    def decode(self, z: Tensor, groups: int, cache: Cache | None = None) -> Tensor:
        """Latents (B * G, C, h, w) to groups (B * G, 3t, H, W).

        Args:
            z: the latents.
            groups: G, of each clip.
            cache: of a stream, changed in place: its last latents.
        """
        with torch.autocast(z.device.type, enabled=False):
            seen = self._with_past(z.float(), groups, cache)
            return F.pixel_shuffle(F.conv2d(_with_border(seen), self.up, self.bias), self.stride)

    def _with_past(self, z: Tensor, groups: int, cache: Cache | None) -> Tensor:
        """(B * G, C, h, w) to (B * G, (1 + past) * C, h, w); before the first group all stood still."""
        if not self.past:
            return z
        z_BGChw = z.reshape(-1, groups, *z.shape[1:])
        return torch.cat([z, group_before(z_BGChw, z_BGChw[:, :1], cache, self.name).flatten(0, 1)], 1)


def _with_border(z: Tensor) -> Tensor:
    return F.pad(z, (1, 1, 1, 1), mode="replicate")


class Codec(VideoCodec):
    """The video autoencoder.

    Args:
        config: its sizes, family and backbone.

    Where `has_encoder` is False (family gan) there are no `encoder` and no `linear`, and `decode` is all it can.
    """

    encoder: Encoder
    linear: LinearPath
    latent_mean: Tensor
    latent_deviation: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.temporal_stride = config.temporal_stride
        self.spatial_stride = config.spatial_stride
        self.latent_channels = config.latent_channels
        if config.backbone == "transformer":  # a shifted window reaches further than convolutions
            self.tile_overlap = 2 * config.attention_window
        self.has_encoder = config.family != "gan"
        if self.has_encoder:
            block = 3 * config.temporal_stride * config.spatial_stride**2
            self.linear = LinearPath(config.spatial_stride, block, config.latent_channels, config.linear_past)
            self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_deviation", torch.ones(config.latent_channels))
        for name, module in self.named_modules():
            if isinstance(module, TemporalShift | WindowAttention):
                module.name = name

    def new_cache(self) -> Cache:
        """An empty memory for `encode_chunk` or `decode_chunk`; one for each stream and direction."""
        return {}

    def encode(self, video: Tensor) -> Posterior:
        """Write a video as latents.

        Args:
            video: (B, 3, 1 + 4k, H, W) in [-1, 1]; H and W multiples of the spatial stride.

        Returns:
            The posterior over latents (B, C, 1 + k, h, w).

        Raises:
            UsageError: a codec without an encoder (`has_encoder`).
        """
        return self.encode_chunk(video, None)

    def encode_chunk(self, video: Tensor, cache: Cache | None) -> Posterior:
        """Write the next frames of a stream.

        Args:
            video: (B, 3, n, H, W); n = 1 + 4j in a stream's first chunk, 4j later.
            cache: the stream's memory, changed in place; None when the video is whole.

        Raises:
            UsageError: a codec without an encoder (`has_encoder`).
        """
        if not self.has_encoder:
            raise UsageError(
                "this model is of the family gan: it has no encoder, so it makes footage and cannot read any; "
                "train one of the family vae-gan to encode, rebuild, continue or animate"
            )
        frames, t = video.shape[2], self.temporal_stride
        first = not cache
        if (frames - first) % t or not frames:
            expected = f"1 + a multiple of {t}" if first else f"a multiple of {t}"
            raise ValueError(f"{frames} frames given; the codec takes {expected} here")
        if first and t > 1:  # the first frame alone fills its group
            video = fill_first_group(video, t)
        x, groups = fold(video, t)
        if cache is not None:
            cache["started"] = torch.ones(())
        linear = self.linear.encode(x)
        moments = unfold_latent(self.encoder(channels_last(x), groups, cache), groups)
        mean, log_variance = moments.chunk(2, 1)
        mean = mean + unfold_latent(linear, groups)
        if self.config.family == "ae":
            return Posterior(mean, None)
        return Posterior(mean, (log_variance - 8.0).clamp(-12.0, 4.0))

    def decode(self, latent: Tensor) -> Tensor:
        """Paint latents (B, C, 1 + k, h, w) back as video (B, 3, 1 + 4k, H, W)."""
        return self.decode_chunk(latent, None)

    def decode_chunk(self, latent: Tensor, cache: Cache | None) -> Tensor:
        """Paint the next latents of a stream: the first gives one frame, each later one a group.

        Args:
            latent: (B, C, n, h, w).
            cache: the stream's memory, changed in place; None when the latents are whole.
        """
        groups, t = latent.shape[2], self.temporal_stride
        first = not cache
        z = latent.transpose(1, 2).flatten(0, 1)
        x = self.decoder(channels_last(z), groups, cache)
        if self.has_encoder:
            x = self.linear.decode(z, groups, cache) + x
        if cache is not None:
            cache["started"] = torch.ones(())
        video = unfold(x, groups, t)
        if first and t > 1:  # the lone frame was written as a still group: its four pictures are one
            video = torch.cat([video[:, :, :t].mean(2, keepdim=True), video[:, :, t:]], 2)
        return video

    def matrices(self) -> list[nn.Parameter]:
        """The weight matrices inside and between the blocks (an optimizer for matrices may treat them apart)."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith(MATRICES)]

    @torch.no_grad()
    def hold_gains(self) -> None:
        """Shorten the rows of convolutions inside and between the blocks that are longer than at the start.

        There are no norms here. Without this the rows grow with every update, rare clips meet gains that multiply from
        block to block, and updates of one size turn the grown rows less and less: what is learned stands still after
        some hundred steps (forced weight normalisation: Karras et al. 2024, EDM2, section 2.3).
        """
        for name, module in self.named_modules():
            if isinstance(module, Conv) and f"{name}.weight".endswith(MATRICES):
                length = module.weight.norm(dim=1, keepdim=True)
                module.weight.mul_((module.limit / length.clamp(min=1e-9)).clamp(max=1))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Codec:
        """Load a folder that `save_pretrained` or `autoreel export` wrote.


        Raises:
            RunError: absent, damaged, or another model.
        """
        from autoreel.models.stored import load_codec

        return load_codec(Path(folder))

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json, safetensors and a model card.

        Args:
            folder: absent or empty.
            dtype: of the weights: float32, float16 or bfloat16.

        Raises:
            OutputError: it cannot be written.
        """
        from autoreel.models.stored import save_codec

        save_codec(self, Path(folder), dtype=dtype)

    def working_bytes(self, height: int, width: int, groups: int) -> int:
        """See `VideoCodec.working_bytes`: the widest tensors are those at half the size."""
        return 4 * ACTIVATIONS * (self.config.widths[0] + 12 * self.temporal_stride) * groups * height * width // 4


def fill_first_group(video: Tensor, t: int) -> Tensor:
    """(B, 3, 1 + 4k, H, W) to (B, 3, 4 + 4k, H, W) for t = 4: the first frame, which stands alone, fills its group."""
    return torch.cat([video[:, :, :1].expand(-1, -1, t - 1, -1, -1), video], 2)


def fold(video: Tensor, t: int) -> tuple[Tensor, int]:
    """(B, 3, G * t, H, W) to (B * G, t * 3, H, W) and G."""
    b, c, n, height, width = video.shape
    x = video.view(b, c, n // t, t, height, width).permute(0, 2, 3, 1, 4, 5)
    return x.reshape(b * (n // t), t * c, height, width), n // t


def unfold(x: Tensor, groups: int, t: int) -> Tensor:
    """(B * G, t * 3, H, W) to (B, 3, G * t, H, W)."""
    n, c, height, width = x.shape
    video = x.view(n // groups, groups, t, c // t, height, width).permute(0, 3, 1, 2, 4, 5)
    return video.reshape(n // groups, c // t, groups * t, height, width)


def unfold_latent(x: Tensor, groups: int) -> Tensor:
    """(B * G, C, h, w) to (B, C, G, h, w)."""
    return x.reshape(-1, groups, *x.shape[1:]).transpose(1, 2)


def channels_last(x: Tensor) -> Tensor:
    """The same values with a position's channels side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)
