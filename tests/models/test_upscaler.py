"""The upscaler: untrained it is Lanczos, streamed it is the same, and it sees no future."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from autoreel.clip import to_frames, to_model
from autoreel.config import UpscalerConfig
from autoreel.models.upscaler import Upscaler

SMALL = UpscalerConfig(width=8, depth=2)


def some(times: int, *, trained: bool) -> Upscaler:
    torch.manual_seed(0)
    upscaler = Upscaler(SMALL, times).eval()
    if trained:
        for parameter in upscaler.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return upscaler


@pytest.mark.parametrize("times", [2, 4])
@torch.no_grad()
def test_untrained_it_is_what_films_do_without_it(times: int) -> None:
    frames = np.random.default_rng(0).integers(80, 176, (1, 2, 10, 14, 3), np.uint8)
    made = to_frames(some(times, trained=False)(to_model(frames, torch.device("cpu"))))
    assert made.shape == (1, 2, times * 10, times * 14, 3)
    size = (times * 14, times * 10)
    for one, other in zip(frames[0], made[0], strict=True):
        plain = np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS), np.int16)
        assert np.abs(plain - other.astype(np.int16)).max() <= 1  # Pillow rounds, and clips, twice


@torch.no_grad()
def test_streamed_it_is_the_same_and_it_sees_no_future() -> None:
    upscaler = some(2, trained=True)
    video = torch.rand((2, 3, 7, 8, 6), generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = upscaler(video)
    for lengths in ([1] * 7, [3, 4], [2, 1, 4]):
        cache: dict[str, torch.Tensor] = {}
        parts = torch.cat([upscaler(piece, cache) for piece in torch.split(video, lengths, 2)], 2)
        assert torch.allclose(parts, whole, atol=1e-5)
    other = video.clone()
    other[:, :, 4:] = 0.0
    assert torch.allclose(upscaler(other)[:, :, :4], whole[:, :, :4], atol=1e-6)
    assert not torch.allclose(upscaler(video.flip(2))[:, :, 3], whole[:, :, 3], atol=1e-3), "the past is seen"


def test_every_parameter_receives_a_gradient() -> None:
    upscaler = some(2, trained=True)
    upscaler(torch.rand(1, 3, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in upscaler.parameters())
