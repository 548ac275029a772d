"""The contract of every codec: shapes, causality, streams, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autoreel.config import CodecConfig
from autoreel.models.codec import Codec

CODECS = {
    "4x8x8": CodecConfig(widths=(16, 24, 32)),
    "4x16x16": CodecConfig(
        spatial_stride=16,
        latent_channels=16,
        widths=(16, 16, 24, 32),
        encoder_depths=(1, 1, 1, 1),
        decoder_depths=(1, 1, 1, 1),
    ),
    "1x8x8": CodecConfig(temporal_stride=1, widths=(16, 24, 32)),
    "ae": CodecConfig(family="ae", widths=(16, 24, 32)),
}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODECS[request.param])
    for parameter in codec.parameters():  # what starts at zero would hide its part
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return codec


def _video(frames: int, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _relative_error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_declared_compression_is_the_real_one(codec: Codec) -> None:
    frames = 1 + 2 * codec.temporal_stride
    latent = codec.encode(_video(frames)).mode()
    s = codec.spatial_stride
    assert latent.shape == (2, codec.latent_channels, 3, 32 // s, 48 // s)
    assert codec.decode(latent).shape == (2, 3, frames, 32, 48)


@pytest.mark.parametrize("groups", [1, 2, 3])
@torch.no_grad()
def test_streamed_equals_whole(codec: Codec, groups: int) -> None:
    t = codec.temporal_stride
    video = _video(1 + 5 * t)
    whole = codec.encode(video).mode()
    cache = codec.new_cache()
    starts = [0, *range(1 + (groups - 1) * t, video.shape[2], groups * t), video.shape[2]]
    streamed = torch.cat(
        [codec.encode_chunk(video[:, :, a:b], cache).mode() for a, b in zip(starts, starts[1:], strict=False)], 2
    )
    assert _relative_error(streamed, whole) < 1e-5
    cache = codec.new_cache()
    painted = torch.cat([codec.decode_chunk(part, cache) for part in torch.split(whole, groups, 2)], 2)
    assert _relative_error(painted, codec.decode(whole)) < 1e-5


@torch.no_grad()
def test_no_group_sees_the_future(codec: Codec) -> None:
    t = codec.temporal_stride
    video = _video(1 + 3 * t)
    changed = video.clone()
    changed[:, :, 1 + t :] = 0.0
    before, after = codec.encode(video).mode(), codec.encode(changed).mode()
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2:], after[:, :, 2:])
    assert torch.equal(codec.decode(before[:, :, :2]), codec.decode(before)[:, :, : 1 + t])


@torch.no_grad()
def test_a_group_sees_the_past(codec: Codec) -> None:
    t = codec.temporal_stride
    video = _video(1 + 2 * t)
    changed = video.clone()
    changed[:, :, 0] = 0.0
    assert not torch.allclose(codec.encode(video).mode()[:, :, 1], codec.encode(changed).mode()[:, :, 1])


def test_every_parameter_gets_gradient(codec: Codec) -> None:
    posterior = codec.encode(_video(1 + 2 * codec.temporal_stride))
    loss = codec.decode(posterior.sample(torch.Generator().manual_seed(0))).square().mean() + posterior.kl()
    torch.autograd.backward(loss)
    without = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_a_wrong_number_of_frames_is_said() -> None:
    with pytest.raises(ValueError, match=r"1 \+ a multiple of 4"):
        Codec(CODECS["4x8x8"]).encode(_video(4))


@torch.no_grad()
def test_the_linear_path_alone_is_the_karhunen_loeve_transform() -> None:
    codec = Codec(CODECS["4x8x8"])
    values = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) @ torch.randn(8, 768)
    mean = values.mean(0)
    variance, basis = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))
    codec.linear.fit(mean, basis.flip(1)[:, :8], variance.flip(0)[:8].sqrt())
    blocks = values[:, :, None, None].expand(-1, -1, 1, 1)
    shuffled = torch.nn.functional.pixel_shuffle(blocks, 8)
    latent = codec.linear.encode(shuffled)
    assert torch.allclose(latent.flatten(1).std(0), torch.ones(8), atol=0.01)
    assert _relative_error(codec.linear.decode(latent), shuffled) < 1e-4


@torch.no_grad()
def test_the_linear_path_stays_in_float32_where_all_else_is_in_bfloat16() -> None:
    path = Codec(CODECS["4x8x8"]).linear
    groups, latent = torch.rand(2, 12, 16, 16), torch.rand(2, 8, 2, 2)
    encoded, decoded = path.encode(groups), path.decode(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(path.encode(groups), encoded) and torch.equal(path.decode(latent), decoded)
