"""The peers: video autoencoders of diffusers in their published layer plans, at any width, stride and latent channels.

    plan        published                                     here, w in place of the first width
    wan         96 x (1, 2, 4, 4), 2 blocks a level           w x (1, 2, 4, 4); 4x16x16: Wan 2.2's (160, decoder 256;
                                                              residual, 2x patch)
    cogvideox   128, 256, 256, 512, 3 blocks a level          w, 2w, 2w, 4w; 4x16x16: one level more
    hunyuan     128, 256, 512, 512, 2 blocks, attention       w, 2w, 4w, 4w; 4x16x16: one level more; whole clips
    ltx         128, 256, 512, 512, 4x patch, 8x32x32         w, 2w, 4w, 4w, a smaller patch and fewer reductions
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

OTHERS = {"cogvideox": 128, "hunyuan": 128, "ltx": 128}
PUBLISHED = {8: {"wan": 96, **OTHERS}, 16: {"wan": 160, **OTHERS}}  # first widths by spatial stride
WIDTHS = {"wan": (16, 24, 40), "cogvideox": (16, 24, 40), "hunyuan": (16, 24, 40), "ltx": (32, 64, 96)}
RATES = (1e-3, 3e-4)  # of AdamW; the first is usual for widths as small as these


@dataclass(frozen=True)
class Layout:
    """Temporal stride, spatial stride and latent channels."""

    temporal: int
    spatial: int
    channels: int


def groups_for(width: int) -> int:
    """Groups of a GroupNorm: at most the published 32, and a divisor."""
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if width % groups == 0)


def wan(width: int, layout: Layout) -> Any:
    import diffusers

    patched = layout.spatial == 16
    more: dict[str, Any] = {}
    if patched:
        more = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
        more["decoder_base_dim"] = width * 8 // 5
    return diffusers.AutoencoderKLWan(base_dim=width, z_dim=layout.channels, dim_mult=[1, 2, 4, 4], **more)


def cogvideox(width: int, layout: Layout) -> Any:
    import diffusers

    widths = (width, 2 * width, 2 * width, 4 * width) + ((4 * width,) if layout.spatial == 16 else ())
    return diffusers.AutoencoderKLCogVideoX(
        block_out_channels=widths, latent_channels=layout.channels, layers_per_block=3,
        norm_num_groups=groups_for(width),
        down_block_types=("CogVideoXDownBlock3D",) * len(widths), up_block_types=("CogVideoXUpBlock3D",) * len(widths),
    )  # fmt: skip


def hunyuan(width: int, layout: Layout) -> Any:
    import diffusers

    widths = (width, 2 * width, 4 * width, 4 * width) + ((4 * width,) if layout.spatial == 16 else ())
    model = diffusers.AutoencoderKLHunyuanVideo(
        block_out_channels=widths, latent_channels=layout.channels, layers_per_block=2,
        norm_num_groups=groups_for(width), spatial_compression_ratio=layout.spatial,
        down_block_types=("HunyuanVideoDownBlock3D",) * len(widths),
        up_block_types=("HunyuanVideoUpBlock3D",) * len(widths),
    )  # fmt: skip
    # Else clips of more than 16 frames go through temporal tiles, whose second one has no past.
    model.use_framewise_encoding = model.use_framewise_decoding = False
    return model


def ltx(width: int, layout: Layout) -> Any:
    import diffusers

    widths = (width, 2 * width, 4 * width, 4 * width)
    reduced = (True, True, False, False)  # 4 in time and space; the patch does the rest
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=layout.channels, block_out_channels=widths, decoder_block_out_channels=widths,
        spatio_temporal_scaling=reduced, decoder_spatio_temporal_scaling=reduced,
        patch_size=layout.spatial // 4,
    )  # fmt: skip


BUILDERS: dict[str, Callable[[int, Layout], Any]] = {
    "wan": wan, "cogvideox": cogvideox, "hunyuan": hunyuan, "ltx": ltx,
}  # fmt: skip


class Peer(nn.Module):
    """A peer with the two methods that training needs.

    Args:
        name: of the plan.
        width: w.
        layout: strides and channels.
    """

    def __init__(self, name: str, width: int, layout: Layout) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = BUILDERS[name](width, layout)
        self.name = name

    def moments(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents."""
        found = self.model.encode(video).latent_dist
        return found.mean.float(), found.logvar.float()

    def decode(self, latent: Tensor) -> Tensor:
        """Video of latents; not clamped where the model itself clamps, so that every pixel has a gradient."""
        if self.name != "wan":
            return self.model.decode(latent).sample
        model = self.model  # its `decode` clamps, which leaves saturated pixels without a gradient
        model.clear_cache()
        z = model.post_quant_conv(latent)
        parts = []
        for place in range(z.shape[2]):
            model._conv_idx = [0]
            first = {"first_chunk": True} if place == 0 else {}
            parts.append(model.decoder(
                z[:, :, place : place + 1], feat_cache=model._feat_map, feat_idx=model._conv_idx, **first
            ))  # fmt: skip
        model.clear_cache()
        video = torch.cat(parts, 2)
        if model.config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

            video = unpatchify(video, patch_size=model.config.patch_size)
        return video

    def forward(self, video: Tensor) -> Tensor:
        """The reconstruction from the latents' mode."""
        return self.decode(self.moments(video)[0])


def parameters_of(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in module.parameters())
