"""Latents without a prior: their distribution, their seeds, and what they refuse."""

from pathlib import Path

import pytest
import torch

from autoreel.config import CodecConfig
from autoreel.errors import RunError, UsageError
from autoreel.generation import draws
from autoreel.generation import timeline as rows
from autoreel.generation.draws import Gaussian, normal
from autoreel.models.codec import Codec

SHAPE = (2, 3, 4)


def footage() -> tuple[torch.Tensor, torch.Tensor]:
    """Streams of 50 latent frames (50, 2, 3, 4) in which two directions follow from frame to frame."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(24, 2, generator=generator)).Q
    frames = []
    for _ in range(40):
        state = torch.randn(2, generator=generator)
        for _ in range(50):
            state = 0.9 * state + (1 - 0.81) ** 0.5 * torch.randn(2, generator=generator)
            frames.append(3 + directions @ (state * torch.tensor([4.0, 2.0])))
    return torch.stack(frames).view(-1, *SHAPE), 50 * torch.arange(40)


def test_a_long_footage_is_fitted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "MOST_FRAMES", 60)
    latents = torch.cat([torch.randn(100, *SHAPE) + 4, torch.randn(50, *SHAPE), torch.randn(50, *SHAPE) - 8])
    fit = Gaussian.fit(latents, torch.tensor([0, 100, 150]))
    assert float(fit.mean.mean()) == pytest.approx(float(latents.mean()), abs=0.2)


def test_the_gaussian_is_that_of_the_footage() -> None:
    latents, starts = footage()
    fit = Gaussian.fit(latents, starts)
    assert fit.deviation[:2].tolist() == pytest.approx([4, 2], rel=0.15)
    assert fit.following[:2].tolist() == pytest.approx([0.9, 0.9], abs=0.05)
    drawn = torch.cat(list(fit.draw([rows.generate(300, SHAPE).of(seed=s) for s in range(8)])), 2)
    assert drawn.shape == (8, 2, 300, 3, 4)
    x, y = latents.flatten(1), drawn.transpose(1, 2).flatten(0, 1).flatten(1)
    assert float((y.mean(0) - x.mean(0)).abs().max()) < 0.7
    assert float(torch.cov(y.T).trace()) == pytest.approx(float(torch.cov(x.T).trace()), rel=0.15)
    step = drawn.diff(dim=2).square().mean()
    assert float(step) == pytest.approx(float(latents.view(40, 50, *SHAPE).diff(dim=1).square().mean()), rel=0.2)


def test_a_seed_decides_and_a_file_keeps_it(tmp_path: Path) -> None:
    fit = Gaussian.fit(*footage())
    fit.save(tmp_path / "fit.safetensors")
    row = rows.generate(5, SHAPE)
    one, same, other = (torch.cat(list(g.draw([row.of(seed=s)])), 2) for g, s in (
        (fit, 1), (Gaussian.load(tmp_path / "fit.safetensors", 24), 1), (fit, 2)))  # fmt: skip
    assert torch.equal(one, same) and not torch.equal(one, other)
    with pytest.raises(RunError, match="keeps no Gaussian fit"):
        Gaussian.load(tmp_path / "absent.safetensors", 24)
    with pytest.raises(RunError):
        Gaussian.load(tmp_path / "fit.safetensors", 25)


def test_little_footage_can_be_fitted() -> None:
    fit = Gaussian.fit(torch.randn(5, *SHAPE), torch.tensor([0]))
    made = torch.cat(list(fit.draw([rows.generate(4, SHAPE)])), 2)
    assert torch.isfinite(made).all() and fit.directions.shape == (24, 24)


def test_normal_is_normal_where_the_decoder_sees_it() -> None:
    codec = Codec(CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(0, 0, 0), decoder_depths=(0, 0, 0)))
    codec.latent_mean += 2
    codec.latent_deviation *= 3
    made = torch.cat(list(normal(codec, [rows.generate(50, (4, 8, 8))])), 2)
    seen = codec.denormalise(made)
    assert float(seen.mean()) == pytest.approx(0, abs=0.05) and float(seen.std()) == pytest.approx(1, abs=0.05)


def test_what_is_given_is_not_silently_left_out() -> None:
    with pytest.raises(UsageError, match="only new footage"):
        list(Gaussian.fit(*footage()).draw([rows.rebuild(torch.zeros(2, 3, 3, 4))]))
