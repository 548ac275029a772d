"""Clips stay clips: shape, range, repeatable, each its own."""

from __future__ import annotations

import pytest
import torch

from autoreel.training.augment import augment


def _video() -> torch.Tensor:
    return torch.rand(6, 3, 5, 32, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("mildly", [False, True])
def test_shape_and_range_stay_and_the_seed_repeats_it(mildly: bool) -> None:
    video = _video()
    one = augment(video, torch.Generator().manual_seed(3), mildly=mildly)
    assert one.shape == video.shape
    assert one.abs().max() <= 1
    assert torch.equal(one, augment(video, torch.Generator().manual_seed(3), mildly=mildly))
    assert not torch.equal(one, augment(video, torch.Generator().manual_seed(4), mildly=mildly))


def test_each_clip_is_changed_in_its_own_way() -> None:
    same = _video()[:1].expand(6, -1, -1, -1, -1)
    changed = augment(same, torch.Generator().manual_seed(0))
    assert not torch.equal(changed[0], changed[1])


def test_mildly_makes_no_new_values() -> None:
    video = _video()
    changed = augment(video, torch.Generator().manual_seed(0), mildly=True)
    assert torch.isin(changed, video).all()
