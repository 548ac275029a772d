"""Small autoencoders of diffusers with random weights, one for each family that the tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def build(name: str) -> Any:
    """An autoencoder as its library makes it."""
    import diffusers

    widths = (8, 8, 16, 16)
    torch.manual_seed(0)
    if name == "wan":
        return diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1)
    if name == "wan-2.2":
        return diffusers.AutoencoderKLWan(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1, is_residual=True, patch_size=2,
            in_channels=12, out_channels=12, scale_factor_spatial=16,
        )  # fmt: skip
    if name == "ltx":
        return diffusers.AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=widths, decoder_block_out_channels=(8, 16, 32),
            layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4, timestep_conditioning=True,
            decoder_spatio_temporal_scaling=(True,) * 3, decoder_inject_noise=(True, True, True, False),
            upsample_residual=(True,) * 3, upsample_factor=(2,) * 3,
        )  # fmt: skip
    if name == "hunyuan":
        return diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=widths, layers_per_block=1, norm_num_groups=4
        )
    if name == "cogvideox":
        return diffusers.AutoencoderKLCogVideoX(
            latent_channels=4, block_out_channels=widths, layers_per_block=1, norm_num_groups=4
        )
    assert name == "cosmos"
    return diffusers.AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=widths, decode_block_out_channels=widths, num_layers=1
    )


def saved(name: str, folder: Path) -> Path:
    """The folder of a saved autoencoder, made once."""
    path = folder / name
    if not path.exists():
        build(name).save_pretrained(path)
    return path
