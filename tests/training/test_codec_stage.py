"""The codec's stage on a store of noise: what each part of it trains, and where it begins."""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from tests.training.test_stage_contracts import SMALL

from autoreel.clip import to_model
from autoreel.config import ADVERSARIAL, Backbone, Config, DataConfig, Family, Judge, ObjectiveConfig, with_parts
from autoreel.data.loader import ClipLoader
from autoreel.models.codec import Codec, LinearPath
from autoreel.models.perceptual import Perceptual
from autoreel.runs import RunFolder
from autoreel.training import adversary, codec_stage, linear_fit, objectives
from autoreel.training.checkpoint import Checkpoints, Place
from autoreel.training.codec_stage import CodecStage
from autoreel.training.linear_fit import fit_linear_path
from autoreel.training.measure import NoiseFootage

CPU = torch.device("cpu")
VIDEO = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def make(objective: ObjectiveConfig | None = None) -> CodecStage:
    config = SMALL.model_copy(update={"objective": objective or ObjectiveConfig()})
    return CodecStage(config, NoiseFootage(config), CPU)


STRIDES: dict[str, dict[str, Any]] = {
    "4x8x8": {},
    "4x16x16": {
        "spatial_stride": 16, "widths": (8, 8, 8, 8), "encoder_depths": (1, 1, 0, 1), "decoder_depths": (1, 0, 1, 1),
    },
    "1x8x8": {"temporal_stride": 1},
}  # fmt: skip
COMBINATIONS = [
    (family, backbone, judge, stride)
    for family, backbone, judge, stride in product(get_args(Family), get_args(Backbone), get_args(Judge), STRIDES)
    if family in ADVERSARIAL or judge == "conv"  # where nobody judges, it does not matter who would
]


@pytest.mark.parametrize(("family", "backbone", "judge", "stride"), COMBINATIONS)
def test_every_combination_of_parts_trains(family: str, backbone: str, judge: str, stride: str) -> None:
    parts = {
        "codec": {"family": family, "backbone": backbone, **STRIDES[stride]},
        "discriminator": {"kind": judge},
        "prior": {"patch": 1},
        "training": {"codec_batch": 1, "codec_frames": 5},
    }
    config = with_parts(SMALL, parts, "here")
    stage = CodecStage(config, NoiseFootage(config), CPU, fit=False)
    before = [p.detach().clone() for p in stage.codec.parameters()]
    for step, progress in enumerate((0.1, 0.95)):
        metrics = stage.step(step, progress)
        assert all(np.isfinite(value) for value in metrics.values())
    assert ("discriminator" in metrics) == (family in ADVERSARIAL)
    assert any(not torch.equal(a, b) for a, b in zip(before, stage.codec.parameters(), strict=True))
    exported = stage.export().tensors
    assert exported.keys() == Codec(config.codec).state_dict().keys()
    assert all(bool(torch.isfinite(value).all()) for value in exported.values())


def test_in_the_second_part_the_encoder_stands_still() -> None:
    stage = make()
    for step in range(3):
        stage.step(step, 0.1)
    latent = torch.ones(1, 4, 2, 4, 4)
    with torch.no_grad():
        before, painted = stage.codec.encode(VIDEO), stage.codec.decode(latent)
    for step in range(3, 6):
        stage.step(step, 0.95)
    with torch.no_grad():
        after, repainted = stage.codec.encode(VIDEO), stage.codec.decode(latent)
    assert torch.equal(before.mean, after.mean)
    assert before.log_variance is not None and after.log_variance is not None
    assert torch.equal(before.log_variance, after.log_variance)
    assert not torch.equal(painted, repainted)


def test_a_judge_of_pairs_never_sees_one_picture_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"discriminator": {"sees_original": True}, "objective": {"r1_weight": 0.1, "r2_weight": 0.1, "r1_every": 1}}
    stage = CodecStage(with_parts(SMALL, parts, "here"), NoiseFootage(SMALL), CPU)
    pairs = []
    look = stage.adversary.look

    def noted(video: torch.Tensor, partner: torch.Tensor) -> Any:
        pairs.append((video.detach(), partner.detach()))
        return look(video, partner)

    monkeypatch.setattr(stage.adversary, "look", noted)
    stage.step(0, 0.95)
    (real, made), *others = pairs
    assert not torch.equal(real, made)
    # The decoder's look and the judge's, then each side with a little noise, its partner as it is.
    assert [torch.equal(partner, real) for _, partner in others] == [True, True, False, True]
    assert torch.equal(others[2][1], made)
    assert all(torch.allclose(a, b, atol=0.5) for (a, _), b in zip(others, (made, made, real, made), strict=True))
    with torch.no_grad():  # a perfect reconstruction leaves nothing to tell the sides apart by
        assert torch.equal(look(real, real.clone())[0], look(real.clone(), real)[0])


def test_a_term_of_weight_zero_is_left_out() -> None:
    assert "penalty" in make().step(0, 0.95)
    assert "penalty" not in make(ObjectiveConfig(r1_weight=0.0, r2_weight=0.0)).step(0, 0.95)
    assert "features" not in make(ObjectiveConfig(feature_weight=0.0)).step(0, 0.95)
    assert {"adversary", "features"} <= make().step(0, 0.95).keys()
    without = make(ObjectiveConfig(adversarial_weight=0.0))
    metrics = without.step(0, 0.95)
    assert "adversary" not in metrics and "kl" in metrics, "the first part lasts until the end"


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_linear_path_moves_slowly(share: float) -> None:
    config = SMALL.model_copy(update={"training": SMALL.training.model_copy(update={"linear_share": share})})
    stage = CodecStage(config, NoiseFootage(config), CPU)
    before = {name: p.detach().clone() for name, p in stage.codec.named_parameters()}
    assert stage.step(0, 0.1)["rate"] < config.training.codec_rate
    moved = {name: (p - before[name]).abs().max().item() for name, p in stage.codec.named_parameters()}
    assert moved["linear.up"] == pytest.approx(share * moved["decoder.head.weight"], rel=1e-2)
    assert len(stage.optimizers()["others"].param_groups) == (2 if share < 1 else 1), "as in checkpoints of before"


def test_the_rate_in_the_metrics_is_the_one_that_is_used() -> None:
    stage = make()
    for group in stage.optimizers()["matrices"].param_groups:
        group["base_lr"] *= 0.5
    rate = stage.step(100, 0.1)["rate"]
    assert rate == 0.5 * SMALL.training.codec_rate == stage.optimizers()["matrices"].param_groups[0]["lr"]


class Gradient(NoiseFootage):
    """Footage with structure: each frame of noise is smoothed along its rows."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._noise = np.cumsum(self._noise.astype(np.float32) - 127, 2).clip(-500, 500)
        self._noise = ((self._noise + 500) / 1000 * 255).astype(np.uint8)


def test_the_linear_path_is_numpys_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_fit, "FIT_WINDOWS", 6)
    monkeypatch.setattr(LinearPath, "solve_painting", lambda self, *_: self.up.clone())
    store = Gradient(SMALL)
    loader = ClipLoader(store, "train", SMALL.training.codec_frames, 2, seed=0)
    codec = Codec(SMALL.codec)
    fit_linear_path(codec, loader)

    blocks = []
    for step in range(3):
        video = loader.batch(step).frames.astype(np.float64) / 127.5 - 1
        groups = np.concatenate([video[:, :1].repeat(3, 1), video], 1).reshape(2, 2, 4, 4, 8, 4, 8, 3)
        blocks.append(groups.transpose(0, 1, 3, 5, 2, 7, 4, 6).reshape(-1, 768))  # t, c, y, x inside a block
    values = np.concatenate(blocks)
    mean = values.mean(0)
    _, deviations, basis = np.linalg.svd(values - mean, full_matrices=False)
    deviations = deviations / np.sqrt(len(values))

    down, up, bias = (p.detach().double().numpy() for p in (
        codec.linear.down, codec.linear.up[:, :, 1, 1], codec.linear.bias,
    ))  # fmt: skip
    assert np.allclose(bias, mean, atol=1e-4)
    for i in range(SMALL.codec.latent_channels):
        sign = np.sign(up[:, i] @ basis[i])
        assert np.allclose(sign * up[:, i], basis[i] * deviations[i], atol=2e-3 * deviations[0])
        assert np.allclose(sign * down[i], basis[i] / deviations[i], atol=2e-3 / deviations[i])


@torch.no_grad()
def test_neighbours_help_to_paint_and_it_is_numpys_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_fit, "FIT_WINDOWS", 6)
    loader = ClipLoader(Gradient(SMALL), "train", SMALL.training.codec_frames, 2, seed=0)
    codec = Codec(SMALL.codec)
    fit_linear_path(codec, loader)
    clips = [linear_fit._folded(video, 4) for video in islice(linear_fit._clips(loader, changed=True), 3)]

    def error() -> float:
        made = ((codec.linear.decode(codec.linear.encode(x), groups), x) for x, groups in clips)
        return sum(float((painted - x).square().sum()) for painted, x in made)

    fitted, channels = error(), SMALL.codec.latent_channels
    features, targets = [], []
    for x, groups in clips:
        own = codec.linear.encode(x).double().numpy()
        clip = own.reshape(-1, groups, *own.shape[1:])
        past = np.concatenate([clip[:, :1], clip[:, :-1]], 1).reshape(own.shape)
        z = np.pad(np.concatenate([own, past], 1), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        h, w = z.shape[2] - 2, z.shape[3] - 2
        around = np.stack([z[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)], 2)
        features.append(around.reshape(len(z), -1, h, w).transpose(0, 2, 3, 1).reshape(-1, around.shape[1] * 9))
        targets.append((codec.linear.blocks(x) - codec.linear.bias).double().numpy().reshape(-1, 768))
    a, b = np.concatenate(features), np.concatenate(targets)
    ridge = linear_fit.PAINTING_RIDGE * np.eye(a.shape[1])
    solved = np.linalg.solve(a.T @ a / len(a) + ridge, a.T @ b / len(a))
    expected = solved.T.reshape(codec.linear.up.shape)
    assert np.allclose(codec.linear.up.numpy(), expected, atol=1e-3 * np.abs(expected).max())

    codec.linear.up[:, channels:] = 0.0
    without_past = error()
    codec.linear.up[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0.0
    assert fitted < without_past < error()


@torch.no_grad()
def test_a_trained_codec_is_set_right_for_other_footage() -> None:
    config = SMALL.model_copy(update={"data": DataConfig(height=64, width=64)})
    stage = CodecStage(config, Gradient(config), CPU, fit=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        weights = Codec(SMALL.codec).state_dict()
    video = to_model(stage.loader.batch(1000).frames)

    def error(codec: Codec) -> float:
        return float((codec.decode(codec.encode(video).mode()) - video).square().mean())

    stage.codec.load_state_dict(weights)
    before = error(stage.codec)
    stage.start_from(weights)
    changed = {name for name, value in stage.codec.state_dict().items() if not torch.equal(value, weights[name])}
    assert changed == {"linear.up"}
    assert error(stage.codec) < 0.95 * before
    assert torch.equal(stage.averaged.linear.up, stage.codec.linear.up)


def test_the_linear_path_is_not_fitted_where_a_checkpoint_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = RunFolder.create(tmp_path / "run", SMALL), NoiseFootage(SMALL)
    first = CodecStage.open(run, store, CPU)
    Checkpoints(run.path("checkpoints"), first, print).save(Place(0))

    def refuse(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(codec_stage, "fit_linear_path", refuse)
    again = CodecStage.open(run, store, CPU)
    Checkpoints(run.path("checkpoints"), again, print).load()
    assert torch.equal(again.codec.linear.up, first.codec.linear.up)


def test_lpips_is_part_of_the_reconstruction_where_it_has_a_weight() -> None:
    objective = ObjectiveConfig(lpips_weight=0.5, lpips_weights=Path("alex.safetensors"), lpips_network="alex")
    config = SMALL.model_copy(update={"objective": objective})
    store = NoiseFootage(config)
    with pytest.raises(ValueError, match="give its network"):
        CodecStage(config, store, CPU)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Perceptual("alex")
    without = CodecStage(SMALL, store, CPU, fit=False).step(0, 0.1)["reconstruction"]
    stage = CodecStage(config, store, CPU, fit=False, perceptual=network)
    assert stage.step(0, 0.1)["reconstruction"] > without
    assert "features" in stage.step(1, 0.95)


def test_lecams_averages_are_state_and_looking_leaves_them() -> None:
    stage = make(ObjectiveConfig(lecam_weight=0.1))
    averages = stage.modules()["logits"]
    assert "lecam" not in stage.step(0, 0.1) and not any(bool(b) for b in averages.buffers())
    assert "lecam" in stage.step(1, 0.95)
    before = {name: value.clone() for name, value in averages.state_dict().items()}
    assert before.keys() == {"real", "made", "updates"} and before["updates"] == 1
    stage.validate()
    assert all(torch.equal(value, before[name]) for name, value in averages.state_dict().items())
    assert "logits" not in make().modules()


def test_the_penalties_come_every_few_updates_and_as_much_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversary, "gradient_penalty", lambda logits, near, deviation: logits.new_tensor(2.0))
    real, made = VIDEO[:, :, 1:], VIDEO[:, :, 1:].flip(-1)
    for every in (1, 3):
        objective = ObjectiveConfig(r1_weight=0.25, r2_weight=0.5, r1_every=every)
        side = adversary.Adversary(SMALL.model_copy(update={"objective": objective}), CPU, torch.float32)
        for step in range(6):
            loss, terms = side.learn(made, real, side.look(real, made), torch.Generator(), step)
            added = every * (0.25 + 0.5) * 2.0 if step % every == 0 else 0.0
            assert loss.item() == pytest.approx(terms["discriminator"] + added, rel=1e-5)
            assert terms.get("penalty") == (4.0 if step % every == 0 else None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_balanced_in_float32_where_the_decoder_ends(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_stage, "matrix_dtype", lambda device: dtype)
    seen: list[tuple[torch.Tensor, torch.Tensor, float]] = []

    def balance(reference: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
        seen.append((reference, other, share))
        return objectives.balance(reference, other, share)

    monkeypatch.setattr(codec_stage, "balance", balance)
    make(ObjectiveConfig(adversarial_weight=0.5)).step(0, 1.0)
    ((reference, other, share),) = seen
    assert reference.dtype == other.dtype == torch.float32 and reference.shape == other.shape == (2, 3, 5, 32, 32)
    added = objectives.balance(reference, other, share)
    assert share == 0.5 and float(added.norm() / reference.norm()) == pytest.approx(0.5, rel=1e-3)
