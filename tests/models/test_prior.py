"""The prior: shapes, causality in the order of the sequence, the cache, gradients."""

import pytest
import torch
from torch import Tensor

from autoreel.config import PriorConfig
from autoreel.models.prior import Prior

SMALL = PriorConfig(width=64, depth=2, heads=2, window=5)


@pytest.fixture
def prior() -> Prior:
    """A small prior whose zero-initialised parts are not zero, so that everything can be seen to matter."""
    torch.manual_seed(0)
    made = Prior(SMALL, latent_channels=3, latent_size=(4, 6), num_labels=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def window(frames: int = 5, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch, 3, frames, 4, 6, generator=generator)
    level = torch.rand(batch, frames, generator=generator)
    time = torch.arange(frames).float().expand(batch, -1)
    return latents, level, time, torch.tensor([0, -1])[:batch]


def test_velocity_has_the_shape_of_the_latents(prior: Prior) -> None:
    latents, level, time, label = window()
    assert prior(latents, level, time, label).shape == latents.shape


def test_a_fresh_prior_answers_what_is_right_for_white_noise() -> None:
    latents, level, time, label = window(batch=2)
    plain = SMALL.model_copy(update={"preconditioned": False})
    assert not Prior(plain, 3, (4, 6), 2)(latents, level, time, label).any()
    made = Prior(SMALL, 3, (4, 6), 2)
    clean, noise = torch.randn(2, 1_000_000, generator=torch.Generator().manual_seed(0))
    for t in (0.0, 0.2, 0.5, 0.9, 1.0):
        seen = (1 - t) * clean + t * noise
        slope = float((seen * (noise - clean)).mean() / seen.square().mean())
        answer = made(latents, torch.full_like(level, t), time, label)
        assert torch.allclose(answer, slope * latents, atol=0.02), "least squares of the velocity on what is seen"


def test_patches_must_fit() -> None:
    with pytest.raises(ValueError, match="patches of 2"):
        Prior(SMALL, 3, (5, 6), 2)
    with pytest.raises(ValueError, match="heads"):
        Prior(PriorConfig(width=32, heads=3), 3, (4, 6), 2)


@pytest.mark.parametrize("changed", range(5))
def test_a_frame_is_not_seen_by_those_before_it_in_the_sequence(prior: Prior, changed: int) -> None:
    latents, level, time, label = window()
    before = prior(latents, level, time, label)
    latents[:, :, changed] += 1.0
    after = prior(latents, level, time, label)
    differs = (before != after).flatten(3).any(-1).any(1).any(0)
    assert differs.tolist() == [i >= changed for i in range(5)]


def test_a_known_future_put_first_is_seen(prior: Prior) -> None:
    latents, level, time, label = window()
    order = [0, 4, 1, 2, 3]
    before = prior(latents[:, :, order], level[:, order], time[:, order], label)
    latents[:, :, 4] += 1.0
    after = prior(latents[:, :, order], level[:, order], time[:, order], label)
    assert (before[:, :, 2] != after[:, :, 2]).any()


def test_level_time_and_label_matter(prior: Prior) -> None:
    latents, level, time, label = window()
    plain = prior(latents, level, time, label)
    for other in (
        prior(latents, level * 0.5, time, label),
        prior(latents, level, time + (time > 2), label),
        prior(latents, level, time, 1 - label.clamp(min=0)),
    ):
        assert (plain != other).any()


def test_what_is_mirrored_is_told_by_sequence(prior: Prior) -> None:
    given = window()
    plain, told = prior(*given), prior(*given, mirrored=torch.tensor([False, True]))
    torch.testing.assert_close(told[0], plain[0])
    assert not torch.allclose(told[1], plain[1])
    never = Prior(SMALL.model_copy(update={"mirror": False}), 3, (4, 6), 2)
    assert "mirrored" in prior.state_dict() and "mirrored" not in never.state_dict()


def test_clips_of_a_batch_do_not_see_each_other(prior: Prior) -> None:
    latents, level, time, label = window()
    alone = prior(latents[:1], level[:1], time[:1], label[:1])
    torch.testing.assert_close(prior(latents, level, time, label)[:1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (1, 4)])
def test_fed_in_parts_equals_whole(prior: Prior, parts: tuple[int, ...]) -> None:
    latents, level, time, label = window()
    with torch.no_grad():
        whole = prior(latents, level, time, label)
        cache, pieces, place = prior.new_cache(), [], 0
        for count in parts:
            here = slice(place, place + count)
            piece = (latents[:, :, here], level[:, here], time[:, here], label, cache)
            prior(*piece)  # looking without keeping changes nothing
            pieces.append(prior(*piece, keep=True))
            place += count
    error = (torch.cat(pieces, 2) - whole).abs().max() / whole.abs().max()
    assert float(error) < 1e-5
    assert cache.num_tokens == 5 * prior.num_tokens


def test_every_parameter_receives_gradient(prior: Prior) -> None:
    prior(*window(), mirrored=torch.tensor([True, False])).square().mean().backward()
    without = [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == ["label.weight"] or not without
    assert prior.label.weight.grad is not None and prior.label.weight.grad[[0, 2]].abs().sum() > 0


def test_matrices_are_inside_the_blocks(prior: Prior) -> None:
    inside = {id(p) for block in prior.blocks for p in block.parameters()}
    matrices = prior.matrices()
    assert len(matrices) == 4 * SMALL.depth
    assert all(id(p) in inside and p.ndim == 2 for p in matrices)
