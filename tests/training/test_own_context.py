"""Context that the network paints itself: what of a window changes, how far, and that the footage stays the aim."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.test_prior_stage import BUDGET, CONFIG, CPU, store
from torch import Tensor

from autoreel.generation.timeline import NO_LABEL
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior
from autoreel.runs import RunFolder
from autoreel.training import prior_stage
from autoreel.training.own_context import MAX_ERROR_SCALE, own_context
from autoreel.training.prior_stage import PriorStage

TIMES = torch.tensor([[0.0, 1, 2], [4, 5, 6]])
LABELS = torch.tensor([0, 1])


@pytest.fixture
def prior() -> Prior:
    torch.manual_seed(0)
    made = Prior(CONFIG.prior, 4, (2, 2), 2)
    torch.nn.init.normal_(made.velocity.weight, std=0.3)  # else it answers nothing
    return made


def own(
    prior: Prior, latents: Tensor, *, guidance: float = 1.5, above: float = 0.5, seed: int = 0, labels: Tensor = LABELS
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return own_context(prior, latents, TIMES, labels, generator, guidance=guidance, guided_above=above)


def test_all_but_the_first_frame_of_all_changes(prior: Prior) -> None:
    latents = torch.randn(2, 4, 3, 2, 2)
    changed = (own(prior, latents) != latents).flatten(3).any(-1).any(1)
    assert changed.tolist() == [[False, True, True], [True, True, True]]


def test_it_is_a_function_of_the_generator_and_heeds_guidance(prior: Prior) -> None:
    latents = torch.randn(2, 4, 3, 2, 2)
    assert torch.equal(own(prior, latents), own(prior, latents))
    assert not torch.equal(own(prior, latents), own(prior, latents, seed=1))
    assert not torch.equal(own(prior, latents), own(prior, latents, guidance=4.0))


def test_guidance_below_1_holds_at_every_level_and_0_asks_for_no_label(prior: Prior) -> None:
    latents = torch.randn(2, 4, 3, 2, 2)
    for guidance in (0.0, 0.5):
        assert torch.equal(own(prior, latents, guidance=guidance), own(prior, latents, guidance=guidance, above=0.0))
    assert not torch.equal(own(prior, latents, guidance=0.5), own(prior, latents, guidance=1.0, above=0.0))
    assert not torch.equal(own(prior, latents), own(prior, latents, above=0.0)), "over 1 it holds above a level"
    nobodys = torch.full_like(LABELS, NO_LABEL)
    assert torch.equal(own(prior, latents, guidance=0.0), own(prior, latents, guidance=1.0, labels=nobodys))


def test_a_network_that_knows_the_footage_changes_nothing() -> None:
    class Knowing(torch.nn.Module):
        """Of footage that is zero everywhere the velocity is what it sees over the level."""

        def forward(self, x: Tensor, level: Tensor, times: Tensor, labels: Tensor, mirrored: None) -> Tensor:
            return x / level[:, None, :, None, None]

    latents = torch.zeros(2, 4, 3, 2, 2)
    assert own(Knowing(), latents).abs().max() < 1e-6 * MAX_ERROR_SCALE  # type: ignore[arg-type]


def test_the_stage_shows_it_in_the_last_part_and_still_asks_for_the_footage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Tensor] = []

    def painted(prior: Prior, latents: Tensor, *rest: object, **options: object) -> Tensor:
        asked.append(latents)
        return latents + 100

    monkeypatch.setattr(prior_stage, "own_context", painted)
    shares = {"own_context_share": 0.25, "behind_clean_share": 1.0}
    config = CONFIG.model_copy(update={"prior": CONFIG.prior.model_copy(update=shares)})
    torch.manual_seed(0)
    run = RunFolder.create(tmp_path / "run", config)
    stage = PriorStage.open(run, store(), Codec(CONFIG.codec).eval(), CPU, BUDGET)
    stage.step(0, 0.7)
    assert not asked
    loss = stage.step(1, 0.8)["loss"]
    assert len(asked) == 1
    assert loss < 10  # of an aim that is wrong by 100 it would be thousands
