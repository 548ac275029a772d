"""Loss terms against answers that are known, or computed another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from autoreel.training.adversary import LogitAverages
from autoreel.training.augment import changed_alike, smaller_or_turned
from autoreel.training.objectives import (
    ADVERSARIES,
    RECONSTRUCTIONS,
    SOFT_EDGE,
    balance,
    charbonnier,
    contrast,
    feature_matching,
    frame_difference,
    gradient_penalty,
    l1,
    l2,
    lecam,
    wavelet,
)


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_pixel_terms() -> None:
    error = torch.tensor([3.0, -4.0, 0.0])
    assert float(l1(error)) == pytest.approx(7 / 3)
    assert float(l2(error)) == pytest.approx(25 / 3 / SOFT_EDGE)
    assert float(charbonnier(error)) == pytest.approx(
        np.mean([math.hypot(e, SOFT_EDGE) - SOFT_EDGE for e in (3, -4, 0)]), rel=1e-5
    )
    assert all(float(term(torch.zeros(3))) == 0 for term in RECONSTRUCTIONS.values())


def test_the_frame_difference_is_blind_to_what_stays() -> None:
    still = _noise(1, 3, 1, 4, 4).expand(-1, -1, 5, -1, -1)
    assert float(frame_difference(still, l1)) == 0.0
    ramp = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 3, 5, 4, 4)
    assert float(frame_difference(2 * ramp, l1)) == 2.0


def test_differences_count_more_where_groups_meet() -> None:
    error = torch.zeros(1, 3, 9, 4, 4)
    error[:, :, 5:] = 3.0  # a jump between the frames 4 and 5, where groups of four meet
    assert float(frame_difference(error, l1, 4, 8.0)) == pytest.approx(8 * 3 / 8)
    assert float(frame_difference(error, l1, 4, 1.0)) == float(frame_difference(error, l1)) == pytest.approx(3 / 8)
    assert float(frame_difference(error, l1, 1, 8.0)) == pytest.approx(3 / 8), "no groups, no borders"
    inside = torch.zeros(1, 3, 9, 4, 4)
    inside[:, :, 4:] = 3.0
    assert float(frame_difference(inside, l1, 4, 8.0)) == pytest.approx(3 / 8)


def test_wavelet_bands_are_those_of_the_haar_transform() -> None:
    still = torch.ones(1, 1, 1, 8, 8)
    # Nothing in the nine detail bands; the average doubles with each of three levels.
    assert float(wavelet(still, l1)) == pytest.approx(8 / 10)
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4).view(1, 1, 1, 8, 8)
    assert float(wavelet(board, l1)) == pytest.approx(2 / 10)  # all of it in the finest diagonal band
    stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).repeat(4, 4).view(1, 1, 1, 8, 8)
    assert float(wavelet(stripes, l1)) == pytest.approx(2 / 10)
    assert float(wavelet(torch.ones(1, 1, 1, 6, 6), l1)) == pytest.approx(2 / 4), "3 x 3 cannot be halved again"


def test_the_wavelet_transform_is_orthonormal() -> None:
    def energy(band: Tensor) -> Tensor:
        return band.square().sum()

    error = _noise(2, 3, 2, 16, 16)
    assert float(10 * wavelet(error, energy)) == pytest.approx(float(error.square().sum()), rel=1e-5)


def test_hinge_and_relativistic_adversaries() -> None:
    real, made = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    hinge, relativistic = ADVERSARIES["hinge"], ADVERSARIES["relativistic"]
    assert float(hinge.judge(real, made)) == pytest.approx((0 + 1) / 2 + (0 + 2) / 2)
    assert float(hinge.maker(real, made)) == pytest.approx(1.0)
    ahead, behind = ([math.log1p(math.exp(sign * gap)) for gap in (5, -1)] for sign in (-1, 1))
    assert float(relativistic.judge(real, made)) == pytest.approx(sum(ahead) / 2)
    assert float(relativistic.maker(real, made)) == pytest.approx(sum(behind) / 2)


def test_the_penalty_by_finite_differences_is_the_squared_gradient() -> None:
    slope = _noise(48, seed=1)
    video, noise = _noise(4000, 48), _noise(4000, 48, seed=2)
    penalty = gradient_penalty(video @ slope, (video + 0.05 * noise) @ slope, 0.05)
    assert float(penalty) == pytest.approx(float(slope.square().sum()), rel=0.05)


def test_lecam_holds_logits_near_the_other_sides_average() -> None:
    real, made = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])
    assert float(lecam(real, made, torch.tensor(2.0), torch.tensor(-1.0))) == pytest.approx(
        ((1 + 1) ** 2 + (3 + 1) ** 2) / 2 + ((2 + 1) ** 2 + (2 + 2) ** 2) / 2
    )
    averages = LogitAverages()
    averages.follow(torch.tensor([4.0, 6.0]), torch.tensor([-1.0]))
    assert (float(averages.real), float(averages.made)) == (5.0, -1.0), "the first is not averaged with zero"
    for _ in range(200):
        averages.follow(torch.tensor([7.0]), torch.tensor([-3.0]))
    assert float(averages.real) == pytest.approx(7.0, abs=0.5)


def test_feature_matching_weighs_every_level_by_its_size() -> None:
    levels = [_noise(2, 3, 4, 4), 100 * _noise(2, 5, 2, 2, seed=1)]
    assert float(feature_matching(levels, levels)) == 0.0
    assert float(feature_matching([2 * level for level in levels], levels)) == pytest.approx(1.0, rel=1e-5)


def test_the_adversarys_gradient_is_a_share_of_the_reconstructions() -> None:
    reference, other = _noise(2, 3, 5), _noise(2, 3, 5, seed=1)
    scaled = balance(reference, other, 0.5)
    assert float(scaled.norm()) == pytest.approx(0.5 * float(reference.norm()), rel=1e-5)
    assert float(torch.cosine_similarity(scaled.flatten(), other.flatten(), 0)) == pytest.approx(1.0, abs=1e-5)
    assert not balance(reference, torch.zeros_like(other), 0.5).any()


@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 6), (3, 5), (1, 1)])
def test_latents_and_video_shrink_and_turn_together(height: int, width: int) -> None:
    marks = _noise(2, 1, 2, height, width).repeat(1, 3, 1, 1, 1)
    video = marks.repeat_interleave(8, -1).repeat_interleave(8, -2)
    turns = set()
    for seed in range(8):
        latent, seen = smaller_or_turned(marks, video, torch.Generator().manual_seed(seed), turn=True)
        assert seen.shape[-2:] == (8 * latent.shape[-2], 8 * latent.shape[-1])
        if height % 2 == 0:  # every latent stands over what it stood over
            assert torch.allclose(torch.nn.functional.avg_pool3d(seen, (1, 8, 8)), latent, atol=1e-5)
        turns.add(float(latent[0, 0, 0, 0, 0]))
    smaller = (max(1, height // 2), max(1, width // 2))
    corners = 4 if smaller == (2, 2) else 1 if smaller == (1, 1) else 2
    assert len(turns) == corners


def test_real_and_made_are_changed_alike_before_they_are_judged() -> None:
    video = _noise(3, 3, 4, 16, 16).clamp(-1, 1)
    made = video.clone().requires_grad_()
    one, two = changed_alike((video, made), torch.Generator().manual_seed(0))
    assert torch.equal(one, two) and not torch.equal(one, video) and one.shape == video.shape
    torch.autograd.backward(two.square().sum())
    assert made.grad is not None and made.grad.flatten(1).any(-1).all()
    other, _ = changed_alike((video, made), torch.Generator().manual_seed(1))
    assert not torch.equal(one, other)


def test_contrast_wants_edges_as_strong_wherever_they_lie_and_no_pattern_on_the_grid() -> None:
    edge = torch.full((1, 3, 1, 20, 20), -0.5)
    edge[..., 12:] = 0.5
    moved, soft = torch.full_like(edge, -0.5), edge.clone()
    moved[..., 14:] = 0.5
    soft[..., 8:16] = torch.linspace(-0.5, 0.5, 8)
    assert contrast(edge, edge, 2) == 0.0
    assert contrast(moved, edge, 2) < 1e-6 < 0.001 < contrast(soft, edge, 2) < contrast(torch.zeros_like(edge), edge, 2)
    for grid in (2, 4):
        pattern = _noise(1, 3, 1, grid, grid).repeat(1, 1, 1, 20 // grid, 20 // grid)
        assert contrast(pattern, torch.zeros_like(edge), grid) < 1e-6
    grain = 0.01 * _noise(1, 3, 1, 20, 20)
    assert contrast(torch.zeros_like(edge), grain, 4) < 0.02 * contrast(torch.zeros_like(edge), 20 * grain, 4)
