"""Large frames in tiles: no seams, streams as without tiles, tiles only where memory asks for them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autoreel.config import CodecConfig
from autoreel.models.codec import Codec
from autoreel.models.tiling import TiledCodec, pad_to_stride, tile_spans, tiled_where_needed, weights

CODECS = {
    "resnet": CodecConfig(widths=(16, 24, 32)),
    "transformer": CodecConfig(backbone="transformer", widths=(16, 24, 32), attention_window=4),
    "4x16x16": CodecConfig(
        spatial_stride=16, latent_channels=16, widths=(16, 16, 24, 32), encoder_depths=(1, 1, 1, 1),
        decoder_depths=(1, 1, 1, 1),
    ),
    "1x8x8": CodecConfig(temporal_stride=1, widths=(16, 24, 32)),
}  # fmt: skip


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODECS[request.param]).eval()
    for parameter in codec.parameters():  # what starts at zero would hide its part
        if not parameter.any() and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter.shape[1] ** -0.5)
    with torch.no_grad():
        codec.linear.up[:, codec.latent_channels :].normal_(std=0.02)  # of the group before
    return codec


def pictures(codec: Codec, groups: int, height: int, width: int) -> Tensor:
    """Smooth moving shapes."""
    s, frames = codec.spatial_stride, 1 + codec.temporal_stride * (groups - 1)
    coarse = torch.rand(1, 3, 3, height // 2, width // 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return F.interpolate(coarse, size=(frames, height * s, width * s), mode="trilinear")


@pytest.mark.parametrize("size", [5, 16, 17, 24, 25, 40, 63])
@pytest.mark.parametrize("scale", [1, 8])
def test_every_place_counts_once(size: int, scale: int) -> None:
    total = torch.zeros(size * scale)
    for start, end in tile_spans(size, 24, 8):
        total[start * scale : end * scale] += weights((start, end), size, 8, scale, total)
    assert torch.allclose(total, torch.ones_like(total))


@torch.no_grad()
def test_there_is_no_seam(codec: Codec) -> None:
    video = pictures(codec, 2, 16, 40)
    tiled = TiledCodec(codec, 4 * codec.tile_overlap if codec.tile_overlap < 16 else 32)
    whole = codec.encode(video)
    latent = tiled.encode(video)
    assert float((latent.mode() - whole.mode()).norm() / whole.mode().norm()) < 0.02
    assert (latent.log_variance is None) == (whole.log_variance is None)
    difference = (tiled.decode(whole.mode()) - codec.decode(whole.mode())).abs() / 2  # as a share of black to white
    s, spans = codec.spatial_stride, tile_spans(40, tiled.tile, tiled.tile_overlap)
    assert len(spans) > 1
    for (start, _), (_, end) in zip(spans[1:], spans[:-1], strict=True):
        assert float(difference[..., start * s : end * s].mean()) < 1 / 255
    assert float(difference.mean()) < 1 / 255


@torch.no_grad()
def test_a_small_frame_is_one_tile_and_exact(codec: Codec) -> None:
    video = pictures(codec, 2, 4, 6)
    tiled = TiledCodec(codec, 2 * codec.tile_overlap)
    latent = codec.encode(video).mode()
    assert torch.equal(tiled.encode(video).mode(), latent) and torch.equal(tiled.decode(latent), codec.decode(latent))


@torch.no_grad()
def test_a_stream_of_tiles_equals_the_whole(codec: Codec) -> None:
    t, video = codec.temporal_stride, pictures(codec, 4, 2, 20 if codec.tile_overlap < 10 else 40)
    tiled = TiledCodec(codec, 2 * codec.tile_overlap)
    whole = tiled.encode(video).mode()
    encoding, decoding = tiled.new_cache(), tiled.new_cache()
    parts = torch.split(video, [1 + t, t, t], 2)
    streamed = torch.cat([tiled.encode_chunk(part, encoding).mode() for part in parts], 2)
    assert torch.allclose(streamed, whole, atol=1e-5)
    painted = torch.cat([tiled.decode_chunk(part, decoding) for part in torch.split(whole, [1, 2, 1], 2)], 2)
    assert torch.allclose(painted, tiled.decode(whole), atol=1e-5)


def test_tiles_are_cut_only_where_memory_asks_for_it() -> None:
    codec, cpu = Codec(CODECS["resnet"]), torch.device("cpu")
    needed = codec.working_bytes(512, 512, 4)
    assert tiled_where_needed(codec, (512, 512), 4, cpu, free_bytes=3 * needed) is codec
    tiled = tiled_where_needed(codec, (512, 512), 4, cpu, free_bytes=needed)
    assert isinstance(tiled, TiledCodec) and 16 <= tiled.tile < 64
    assert tiled.working_bytes(512, 512, 4) <= needed / 2
    smallest = tiled_where_needed(codec, (512, 512), 4, cpu, free_bytes=1)
    assert isinstance(smallest, TiledCodec) and smallest.tile == 16
    assert tiled_where_needed(codec, (64, 64), 4, cpu) is codec


@pytest.mark.parametrize("tile", [8, 12, 20])
def test_a_tile_that_cannot_be_is_refused(tile: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8 latent positions from 16"):
        TiledCodec(Codec(CODECS["resnet"]), tile)


def test_odd_sizes_are_filled_up() -> None:
    video = torch.rand(2, 3, 5, 13, 16)
    padded = pad_to_stride(video, 8)
    assert padded.shape == (2, 3, 5, 16, 16)
    assert torch.equal(padded[..., :13, :], video) and torch.equal(padded[..., 15, :], video[..., 12, :])
    assert pad_to_stride(padded, 8) is padded
