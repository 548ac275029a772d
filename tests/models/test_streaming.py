"""Streams equal the whole: any chunks, lengths and sizes, every stride and every backbone."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoreel.clip import to_frames, to_model
from autoreel.config import Backbone, CodecConfig
from autoreel.generation.coding import FrameCodec, shared
from autoreel.models.codec import Codec
from autoreel.models.streaming import decode_stream, encode_stream, rebuild_stream, whole_groups
from autoreel.models.tiling import pad_to_stride

CPU = torch.device("cpu")
STRIDES = {"4x8x8": (4, 8), "4x16x16": (4, 16), "1x8x8": (1, 8)}
_built: dict[tuple[str, str], Codec] = {}


def build(backbone: str, strides: str) -> Codec:
    """A small codec in which every part has its say, in float32."""
    if (backbone, strides) not in _built:
        t, s = STRIDES[strides]
        stages = 3 if s == 8 else 4
        config = CodecConfig.model_validate({
            "backbone": backbone, "temporal_stride": t, "spatial_stride": s, "attention_window": 4,
            "widths": (8, 12, 16, 16)[:stages], "encoder_depths": (1,) * stages, "decoder_depths": (1,) * stages,
        })  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            codec = Codec(config).eval()
            for parameter in codec.parameters():  # what starts at zero would hide its part
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.05)
            torch.nn.init.normal_(codec.linear.up, std=0.05)  # of the group before too
        _built[backbone, strides] = codec
    return _built[backbone, strides]


def relative_error(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).norm() / b.norm())


def cut(x: Tensor, sizes: list[int]) -> list[Tensor]:
    """Pieces of these sizes, again and again, until all is cut."""
    pieces, place, turn = [], 0, 0
    while place < x.shape[2]:
        pieces.append(x[:, :, place : place + sizes[turn % len(sizes)]])
        place, turn = place + sizes[turn % len(sizes)], turn + 1
    return pieces


@pytest.mark.parametrize("backbone", get_args(Backbone))
@pytest.mark.parametrize("strides", STRIDES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    frames=st.integers(1, 30),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    size=st.tuples(st.integers(3, 37), st.integers(3, 37)),
)
@torch.no_grad()
def test_a_stream_in_any_chunks_equals_the_whole(
    backbone: str, strides: str, frames: int, chunks: list[int], size: tuple[int, int]
) -> None:
    codec = build(backbone, strides)
    t, s = codec.temporal_stride, codec.spatial_stride
    video = torch.rand(1, 3, frames, *size, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    still = video[:, :, -1:].expand(-1, -1, -(frames - 1) % t, -1, -1)
    whole = codec.encode(pad_to_stride(torch.cat([video, still], 2), s)).mode()

    streamed = torch.cat([found.mode() for found in encode_stream(codec, cut(video, chunks))], 2)
    assert relative_error(streamed, whole) < 1e-5
    painted = codec.decode(whole)
    assert relative_error(torch.cat(list(decode_stream(codec, cut(whole, chunks))), 2), painted) < 1e-5
    rebuilt = torch.cat(list(rebuild_stream(codec, cut(video, chunks))), 2)
    assert relative_error(rebuilt, painted[:, :, :frames, : size[0], : size[1]]) < 1e-5


@pytest.mark.parametrize("backbone", get_args(Backbone))
@pytest.mark.parametrize("strides", STRIDES)
@torch.no_grad()
def test_what_every_command_streams_through_equals_the_whole(backbone: str, strides: str) -> None:
    codec = build(backbone, strides)
    t, s, (height, width) = codec.temporal_stride, codec.spatial_stride, (21, 35)
    product = FrameCodec(codec, (height, width), "crop", CPU, torch.float32)
    frames = np.random.default_rng(0).integers(0, 256, (22, height, width, 3), np.uint8)
    filled = np.concatenate([frames, frames[-1:].repeat(-(len(frames) - 1) % t, 0)])
    whole = codec.encode(pad_to_stride(to_model(filled), s)).mode()
    painted = to_frames(codec.decode(whole))[0, :22, :height, :width]
    for chunk in range(1, 10):
        chunks = [frames[start : start + chunk] for start in range(0, len(frames), chunk)]
        latents, count = product.encode(chunks)
        assert count == 22 and relative_error(latents, codec.normalise(whole)) < 1e-5
        pieces = cut(latents, [chunk])
        for made in (product.paint(pieces, 22), (piece[None] for piece in product.rebuilt(chunks))):
            video = np.concatenate(list(made), 1)[0].astype(np.int16)
            assert video.shape == frames.shape
            apart = np.abs(video - painted)
            assert apart.max() <= 1 and apart.mean() < 1e-3  # of 255: where a value lies between two bytes


@pytest.mark.parametrize("backbone", get_args(Backbone))
@torch.no_grad()
def test_what_a_stream_remembers_does_not_grow(backbone: str) -> None:
    codec = build(backbone, "4x8x8")
    cache, sizes = codec.new_cache(), []
    for number in range(6):
        codec.encode_chunk(torch.zeros(1, 3, 4 + (number == 0), 16, 16), cache)
        sizes.append(sum(kept.numel() for kept in cache.values()))
    assert len(set(sizes[1:])) == 1


@pytest.mark.parametrize("backbone", get_args(Backbone))
@torch.no_grad()
def test_one_stream_goes_on_as_several(backbone: str) -> None:
    codec = build(backbone, "4x8x8")
    cache = codec.new_cache()
    start = torch.randn(1, codec.latent_channels, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    ways = torch.randn(3, codec.latent_channels, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    codec.decode_chunk(start, cache)
    side_by_side = codec.decode_chunk(ways, shared(cache, 3))
    for number in range(3):
        alone = codec.decode(torch.cat([start, ways[number : number + 1]], 2))[:, :, 5:]
        assert relative_error(side_by_side[number : number + 1], alone) < 1e-5


def test_no_chunks_give_no_pieces() -> None:
    assert list(whole_groups([], 4)) == []
    pieces = whole_groups([torch.zeros(1, 3, 7, 2, 2)], 4)
    assert [(piece.shape[2], given) for piece, given in pieces] == [(5, 5), (4, 2)]
