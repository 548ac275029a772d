"""The contract of every discriminator: shapes, gradients, what it looks at."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from autoreel.config import DiscriminatorConfig, from_mapping
from autoreel.models.discriminators import AnyDiscriminator, ConvDiscriminator, SpectralConv, discriminator_of

SIGHTS: dict[str, tuple[dict[str, Any], int]] = {
    "groups of 4": ({}, 4),
    "single frames": ({}, 1),
    "beside the original": ({"sees_original": True}, 4),
    "two groups together": ({"groups": 2}, 4),
    "spectral norm": ({"spectral_norm": True, "sees_original": True}, 4),
}
DISCRIMINATORS = {
    f"{kind}, {sight}": (from_mapping(DiscriminatorConfig, {"kind": kind, "width": 8, **SIGHTS[sight][0]}, "here"), t)
    for kind, (sight, (_, t)) in product(("conv", "fc"), SIGHTS.items())
}


@pytest.fixture(params=DISCRIMINATORS)
def judge(request: pytest.FixtureRequest) -> AnyDiscriminator:
    torch.manual_seed(0)
    return discriminator_of(*DISCRIMINATORS[request.param])


def _video(seed: int = 1, frames: int = 8, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _windows(judge: AnyDiscriminator) -> int:
    return 8 // judge.temporal_stride - judge.groups + 1


def test_a_logit_for_each_patch_of_each_group(judge: AnyDiscriminator) -> None:
    logits, features = judge(_video(), _video(2))
    n = 2 * _windows(judge)
    assert logits.dtype == torch.float32
    if isinstance(judge, ConvDiscriminator):
        assert logits.shape == (n, 1, 4, 6)
        assert [f.shape for f in features] == [(n, 8, 16, 24), (n, 16, 8, 12), (n, 32, 4, 6)]
    else:
        assert logits.shape == (n, 1)
        assert [f.shape for f in features] == [(n, 32)] * 3


def test_every_parameter_and_the_video_get_gradient(judge: AnyDiscriminator) -> None:
    video = _video().requires_grad_()
    torch.autograd.backward(judge(video, _video(2))[0].square().mean())
    without = [name for name, p in judge.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert video.grad is not None and video.grad.flatten(3).any(-1).all()


@torch.no_grad()
def test_windows_are_judged_one_by_one(judge: AnyDiscriminator) -> None:
    video, t = _video(), judge.temporal_stride
    changed = video.clone()
    changed[:, :, t * judge.groups :] = 0.0
    before, after = (judge(v, _video(2))[0].reshape(2, _windows(judge), -1) for v in (video, changed))
    assert torch.allclose(before[:, 0], after[:, 0], rtol=1e-5, atol=1e-6)
    assert not _windows(judge) > 1 or (before[:, 1:] - after[:, 1:]).abs().max() > 1e-4


@torch.no_grad()
def test_the_original_counts_only_where_it_is_seen(judge: AnyDiscriminator) -> None:
    video = _video()
    with_one, with_another = judge(video, _video(2))[0], judge(video, _video(3))[0]
    assert torch.equal(with_one, with_another) != judge.sees_original
    if judge.sees_original:
        with pytest.raises(ValueError, match="sees the partner too"):
            judge(video)
    else:
        assert torch.equal(judge(video)[0], with_one)


@torch.no_grad()
def test_looking_changes_nothing_and_an_update_follows_the_weights(judge: AnyDiscriminator) -> None:
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    judge(_video(), _video(2))
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())
    spectral = [module for module in judge.modules() if isinstance(module, SpectralConv)]
    for module in spectral:
        module.weight.mul_(3.0)
        module.weight[0] += 1.0
        for _ in range(30):
            module.iterate()
        largest = torch.linalg.matrix_norm(module.matrix(), 2)
        assert float(largest) == pytest.approx(1.0, abs=0.02)
    assert bool(spectral) == any(name.endswith(".left") for name in before)


def test_more_groups_than_there_are_is_said() -> None:
    judge = discriminator_of(DiscriminatorConfig(width=8, groups=3), 4)
    with pytest.raises(ValueError, match="3 groups are judged together, the video has 2"):
        judge(_video())
