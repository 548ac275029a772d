"""The contract of every codec, family by backbone by stride: shapes, causality, streams, gradients."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from autoreel.config import CodecConfig, from_mapping
from autoreel.errors import UsageError
from autoreel.models.codec import Codec, Posterior

STRIDES: dict[str, dict[str, Any]] = {
    "4x8x8": {"widths": (16, 24, 32)},
    "4x16x16": {
        "spatial_stride": 16,
        "latent_channels": 16,
        "widths": (16, 16, 24, 32),
        "encoder_depths": (1, 1, 1, 1),
        "decoder_depths": (1, 1, 1, 1),
    },
    "1x8x8": {"temporal_stride": 1, "widths": (16, 24, 32)},
    "4x8x8, still groups": {"widths": (16, 24, 32), "linear_past": 0},
}
FAMILIES = ("gan", "ae", "vae", "vae-gan")
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet": {},
    "transformer": {"backbone": "transformer", "attention_window": 4},
    "transformer, two groups back": {"backbone": "transformer", "attention_past": 2},
}
CODECS = {
    f"{family} {backbone} {stride}": from_mapping(
        CodecConfig, {"family": family, **BACKBONES[backbone], **STRIDES[stride]}, "here"
    )
    for family, backbone, stride in product(FAMILIES, BACKBONES, STRIDES)
    # Of vae and vae-gan the networks are the same, and of two groups back one look is enough.
    if (family != "vae" or stride == "4x8x8") and (stride != "4x8x8, still groups" or backbone == "resnet")
    and (backbone != "transformer, two groups back" or stride == "4x8x8")
}


def make(name: str) -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODECS[name])
    for parameter in codec.parameters():  # what starts at zero would hide its part
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    if codec.has_encoder:
        torch.nn.init.normal_(codec.linear.up, std=0.05)  # of the group before too
    return codec


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return make(request.param)


def _video(frames: int, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _relative_error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def _latent(codec: Codec, groups: int, height: int = 32, width: int = 48) -> Tensor:
    size = (height // codec.spatial_stride, width // codec.spatial_stride)
    return torch.randn(2, codec.latent_channels, groups, *size, generator=torch.Generator().manual_seed(1))


def test_declared_compression_is_the_real_one(codec: Codec) -> None:
    frames, s = 1 + 2 * codec.temporal_stride, codec.spatial_stride
    latent = _latent(codec, 3)
    assert codec.decode(latent).shape == (2, 3, frames, 32, 48)
    if codec.has_encoder:
        assert codec.encode(_video(frames)).mode().shape == latent.shape
        assert latent.shape == (2, codec.latent_channels, 3, 32 // s, 48 // s)


@pytest.mark.parametrize("groups", [(1, 1, 1, 1, 1, 1), (2, 2, 2), (3, 1, 2), (5, 1)])
@torch.no_grad()
def test_streamed_equals_whole(codec: Codec, groups: tuple[int, ...]) -> None:
    t, latent, cache = codec.temporal_stride, _latent(codec, 6), codec.new_cache()
    painted = torch.cat([codec.decode_chunk(part, cache) for part in torch.split(latent, list(groups), 2)], 2)
    assert _relative_error(painted, codec.decode(latent)) < 1e-5
    if codec.has_encoder:
        video, cache = _video(1 + 5 * t), codec.new_cache()
        lengths = [1 + (groups[0] - 1) * t, *(count * t for count in groups[1:])]
        streamed = torch.cat([codec.encode_chunk(part, cache).mode() for part in torch.split(video, lengths, 2)], 2)
        assert _relative_error(streamed, codec.encode(video).mode()) < 1e-5


@torch.no_grad()
def test_a_stream_remembers_no_more_than_at_its_second_group(codec: Codec) -> None:
    cache, sizes = codec.new_cache(), []
    for _ in range(6):
        codec.decode_chunk(_latent(codec, 1), cache)
        # What is viewed of a larger tensor would keep all of it.
        sizes.append(sum(value.untyped_storage().nbytes() for value in cache.values()))
    assert len(set(sizes[1:])) == 1


@torch.no_grad()
def test_no_group_sees_the_future(codec: Codec) -> None:
    t, latent = codec.temporal_stride, _latent(codec, 4)
    other = latent.clone()
    other[:, :, 2:] = 0.0
    assert torch.equal(codec.decode(latent)[:, :, : 1 + t], codec.decode(other)[:, :, : 1 + t])
    if codec.has_encoder:
        video = _video(1 + 3 * t)
        changed = video.clone()
        changed[:, :, 1 + t :] = 0.0
        before, after = codec.encode(video).mode(), codec.encode(changed).mode()
        assert torch.equal(before[:, :, :2], after[:, :, :2])
        assert not torch.allclose(before[:, :, 2:], after[:, :, 2:])


@torch.no_grad()
def test_a_group_sees_the_past(codec: Codec) -> None:
    t, latent = codec.temporal_stride, _latent(codec, 3)
    other = latent.clone()
    other[:, :, 0] = 0.0
    assert not torch.allclose(codec.decode(latent)[:, :, 1 : 1 + t], codec.decode(other)[:, :, 1 : 1 + t])
    if codec.has_encoder:
        video = _video(1 + 2 * t)
        changed = video.clone()
        changed[:, :, 0] = 0.0
        assert not torch.allclose(codec.encode(video).mode()[:, :, 1], codec.encode(changed).mode()[:, :, 1])


@torch.no_grad()
def test_any_number_of_strides_is_a_size(codec: Codec) -> None:
    s = codec.spatial_stride
    for height, width in ((s, s), (5 * s, 3 * s)):
        assert codec.decode(_latent(codec, 2, height, width)).shape[-2:] == (height, width)
        if codec.has_encoder:
            assert codec.encode(_video(1, height, width)).mode().shape[-2:] == (height // s, width // s)


def test_every_parameter_gets_gradient(codec: Codec) -> None:
    if codec.has_encoder:
        posterior = codec.encode(_video(1 + 2 * codec.temporal_stride))
        loss = codec.decode(posterior.sample(torch.Generator().manual_seed(0))).square().mean() + posterior.kl()
    else:
        loss = codec.decode(_latent(codec, 3)).square().mean()
    torch.autograd.backward(loss)
    without = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_matrices_are_those_inside_and_between_the_blocks(codec: Codec) -> None:
    found = {id(p) for p in codec.matrices()}
    names = [name for name, p in codec.named_parameters() if id(p) in found]
    assert all(p.ndim == 2 for p in codec.matrices())
    assert all(".stages." in name or ".downs." in name or ".ups." in name for name in names)
    blocks = [name for name, p in codec.named_parameters() if ".stages." in name and p.ndim == 2]
    assert set(blocks) <= set(names)


def test_a_codec_without_an_encoder_says_so() -> None:
    codec = make("gan resnet 4x8x8")
    assert not codec.has_encoder
    assert not any(name.startswith(("encoder", "linear")) for name in codec.state_dict())
    with pytest.raises(UsageError, match="no encoder"):
        codec.encode(_video(5))


def test_the_kl_divergence_is_known_of_simple_gaussians() -> None:
    zero = torch.zeros(1, 4, 2, 3, 3)
    assert float(Posterior(zero, zero).kl()) == 0.0
    assert float(Posterior(zero + 2, zero).kl()) == pytest.approx(2.0)  # mean squared, halved
    assert float(Posterior(zero, zero + 1).kl()) == pytest.approx((torch.e - 2) / 2)
    assert float(Posterior(zero + 2, None).kl()) == 0.0


def test_a_wrong_number_of_frames_is_said() -> None:
    with pytest.raises(ValueError, match=r"1 \+ a multiple of 4"):
        Codec(CODECS["vae-gan resnet 4x8x8"]).encode(_video(4))


@torch.no_grad()
def test_the_linear_path_alone_is_the_karhunen_loeve_transform() -> None:
    codec = Codec(CODECS["vae-gan resnet 4x8x8"])
    values = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) @ torch.randn(8, 768)
    mean = values.mean(0)
    variance, basis = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))
    codec.linear.fit(mean, basis.flip(1)[:, :8], variance.flip(0)[:8].sqrt())
    blocks = values[:, :, None, None].expand(-1, -1, 1, 1)
    shuffled = torch.nn.functional.pixel_shuffle(blocks, 8)
    latent = codec.linear.encode(shuffled)
    assert torch.allclose(latent.flatten(1).std(0), torch.ones(8), atol=0.01)
    assert _relative_error(codec.linear.decode(latent, 1), shuffled) < 1e-4


@torch.no_grad()
def test_the_linear_path_stays_in_float32_where_all_else_is_in_bfloat16() -> None:
    path = Codec(CODECS["vae-gan resnet 4x8x8"]).linear
    groups, latent = torch.rand(2, 12, 16, 16), torch.rand(2, 8, 2, 2)
    encoded, decoded = path.encode(groups), path.decode(latent, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(path.encode(groups), encoded) and torch.equal(path.decode(latent, 2), decoded)
