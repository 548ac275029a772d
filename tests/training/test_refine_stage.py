"""The refinement: what it changes in a run, and that encoding what was decoded drifts less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.test_stage_contracts import SMALL

from autoreel.config import with_parts
from autoreel.errors import RunError, UsageError
from autoreel.models.codec import Codec
from autoreel.models.opening import open_codec, own_codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.measure import NoiseFootage
from autoreel.training.refine_stage import RefineStage, generations
from autoreel.training.train import begin, train

CPU = torch.device("cpu")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoreel.training.refine_stage.POOL_CLIPS", 4)


def trained(tmp_path: Path, *stages: str) -> tuple[RunFolder, NoiseFootage]:
    store = NoiseFootage(SMALL)
    run = RunFolder.create(tmp_path / "run", SMALL)
    for stage in stages:
        train(begin(run.root, store), store, budget=Budget(steps=2), stage=stage, report=lambda _: None, device="cpu")
    return RunFolder.open(run.root), store


@pytest.mark.usefixtures("quiet")
def test_it_changes_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    run, store = trained(tmp_path, "codec", "prior", "refine")
    before, after = (open_codec(run, refined=refined) for refined in (False, True))
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert changed and all(name.startswith("encoder.") for name in changed)
    assert "prior.safetensors" in run.manifest.weights, "its latents are still those of the decoder"

    train(begin(run.root, store), store, budget=Budget(steps=3), stage="codec", report=lambda _: None, device="cpu")
    again = RunFolder.open(run.root)
    assert not {"prior.safetensors", "refine.safetensors"} & again.manifest.weights.keys(), "those of another codec"
    open_codec(again)


@pytest.mark.usefixtures("quiet")
def test_it_needs_a_codec_that_can_encode_and_no_prior(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trained codec"):
        trained(tmp_path, "refine")
    run, store = trained(tmp_path / "other", "codec", "refine")
    assert "refine.safetensors" in run.manifest.weights
    gan = with_parts(SMALL, {"codec": {"family": "gan"}}, "here")
    with pytest.raises(UsageError, match="no encoder"):
        RefineStage(gan, Codec(gan.codec), None, store, CPU)


def test_encoding_what_was_decoded_drifts_less(tmp_path: Path) -> None:
    run, store = trained(tmp_path, "codec")
    codec = own_codec(run)
    for parameter in codec.encoder.parameters():  # an encoder that reads badly
        parameter.data.add_(0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    stage = RefineStage(SMALL, codec, None, store, CPU)
    drifts = [stage.step(step, 0.0)["drift"] for step in range(30)]
    assert np.mean(drifts[-5:]) < 0.7 * np.mean(drifts[:5])


@torch.no_grad()
def test_generations_are_the_codec_again_and_again() -> None:
    torch.manual_seed(0)
    codec = Codec(SMALL.codec).eval()
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    found = generations(codec, frames, (1, 3), CPU)
    assert found.keys() == {1, 3} and found[1].shape == frames.shape and found[1].dtype == np.uint8
    assert np.array_equal(generations(codec, generations(codec, found[1], (1,), CPU)[1], (1,), CPU)[1], found[3])
