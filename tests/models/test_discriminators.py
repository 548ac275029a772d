"""The contract of every discriminator: shapes, gradients, what it looks at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autoreel.config import DiscriminatorConfig
from autoreel.models.discriminators import ConvDiscriminator

DISCRIMINATORS = {
    "groups of 4": (DiscriminatorConfig(width=8), 4),
    "single frames": (DiscriminatorConfig(width=8), 1),
    "beside the original": (DiscriminatorConfig(width=8, sees_original=True), 4),
}


@pytest.fixture(params=DISCRIMINATORS)
def judge(request: pytest.FixtureRequest) -> ConvDiscriminator:
    torch.manual_seed(0)
    return ConvDiscriminator(*DISCRIMINATORS[request.param])


def _video(seed: int = 1, frames: int = 8, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_logit_for_each_patch_of_each_group(judge: ConvDiscriminator) -> None:
    logits, features = judge(_video(), _video(2))
    groups = 2 * 8 // judge.temporal_stride
    assert logits.shape == (groups, 1, 4, 6) and logits.dtype == torch.float32
    assert [f.shape for f in features] == [(groups, 8, 16, 24), (groups, 16, 8, 12), (groups, 32, 4, 6)]


def test_every_parameter_and_the_video_get_gradient(judge: ConvDiscriminator) -> None:
    video = _video().requires_grad_()
    torch.autograd.backward(judge(video, _video(2))[0].square().mean())
    without = [name for name, p in judge.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert video.grad is not None and video.grad.flatten(3).any(-1).all()


@torch.no_grad()
def test_groups_are_judged_one_by_one(judge: ConvDiscriminator) -> None:
    video, t = _video(), judge.temporal_stride
    changed = video.clone()
    changed[:, :, t:] = 0.0
    before, after = (judge(v, _video(2))[0].unflatten(0, (2, 8 // t)) for v in (video, changed))
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1:], after[:, 1:])


@torch.no_grad()
def test_the_original_counts_only_where_it_is_seen(judge: ConvDiscriminator) -> None:
    video = _video()
    with_one, with_another = judge(video, _video(2))[0], judge(video, _video(3))[0]
    assert torch.equal(with_one, with_another) != judge.sees_original
    if judge.sees_original:
        with pytest.raises(ValueError, match="sees the original too"):
            judge(video)
    else:
        assert torch.equal(judge(video)[0], with_one)
