"""Seconds per step, measured on real steps."""

import pytest
import torch
from tests.training.toy import ToyStage

from autoreel.config import CodecConfig, Config, DataConfig, PriorConfig, TrainingConfig
from autoreel.data.loader import ClipLoader
from autoreel.training import measure
from autoreel.training.codec_stage import CodecStage
from autoreel.training.measure import NoiseFootage, codec_step_s, step_seconds

SMALL = Config(
    data=DataConfig(height=16, width=24),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(0, 0, 0), decoder_depths=(0, 0, 0)),
    prior=PriorConfig(patch=1),
    training=TrainingConfig(codec_batch=2, codec_frames=5),
)


def test_a_few_steps_are_taken_and_the_first_only_warms_up() -> None:
    stage = ToyStage()
    assert step_seconds(stage) > 0
    assert stage.steps == [0, 1, 2, 3]
    hurried = ToyStage()
    assert step_seconds(hurried, enough_s=0.0) > 0
    assert hurried.steps == [0, 1]


def test_the_codec_of_any_config_can_be_measured_without_footage() -> None:
    assert codec_step_s(SMALL, torch.device("cpu")) > 0


def test_both_parts_of_the_training_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(stage: CodecStage, enough_s: float, progress: float = 0.0) -> float:
        return 1.0 if progress < stage.config.training.adversary_start else 6.0

    monkeypatch.setattr(measure, "step_seconds", seconds)
    assert codec_step_s(SMALL, torch.device("cpu")) == pytest.approx(2 * (0.6 * 1.0 + 0.4 * 6.0))


def test_noise_is_footage_like_any_other() -> None:
    store = NoiseFootage(SMALL)
    batch = ClipLoader(store, "train", 5, 3, seed=0).batch(0)
    assert batch.frames.shape == (3, 5, 16, 24, 3)
    assert batch.frames.std() > 50
    assert len(store.frames(store.shots[0])) == store.shots[0].num_frames == 20
