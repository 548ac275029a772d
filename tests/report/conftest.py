"""A run of weights that were never trained, with footage beside it: quick to make, and everything can be measured."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from tests.evaluation.footage import LABELS, make_store

from autoreel.config import CodecConfig, Config, DataConfig, PriorConfig, TrainingConfig
from autoreel.data.store import FootageStore
from autoreel.evaluation import learning
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior
from autoreel.report import accuracy, efficiency, evaluate, likeness
from autoreel.runs import RunFolder
from autoreel.runs.folder import StageState


def make_run(path: Path, family: str = "vae-gan") -> RunFolder:
    """A run folder as training leaves it."""
    config = Config(
        data=DataConfig(height=32, width=32),
        codec=CodecConfig.model_validate({
            "family": family, "latent_channels": 4, "widths": (8, 8, 8), "encoder_depths": (1, 1, 1),
            "decoder_depths": (1, 1, 1),
        }),
        prior=PriorConfig(width=32, depth=1, heads=1, patch=2, window=4, steps=1),
        training=TrainingConfig(seed=3),
    )  # fmt: skip
    run = RunFolder.create(path, config)
    store = make_store(path / "footage")
    run.update(labels=LABELS, size=(32, 32), rate=Fraction(25), data_hash=store.hash)
    torch.manual_seed(0)
    digest = run.save_weights("codec.safetensors", Codec(config.codec).state_dict(), {})
    if family != "gan":
        run.save_weights("prior.safetensors", Prior(config.prior, 4, (4, 4), len(LABELS)).state_dict(), {})
        run.update_stage("prior", StageState(done=True, step=20, elapsed_s=30.0, codec_hash=digest))
    run.update_stage("codec", StageState(done=True, step=10, elapsed_s=90.0))
    for step in range(1, 6):
        row = {"stage": "codec", "step": step, "elapsed_s": 6.0 * step}
        run.append_metrics({**row, "loss": 1.0 / step})
        run.append_metrics({**row, "validation/psnr_db": 20.0 + step, "validation/temporal_psnr_db": 22.0 + step})
    return run


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """What is slow because it is thorough is less thorough here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learning, "STEPS", 2)
        patched.setattr(accuracy, "ENCODINGS", 3)
        patched.setattr(efficiency, "MIN_TIMED_S", 0.02)
        patched.setattr(evaluate, "MOST_TRAINED", 2)
        patched.setattr(likeness, "SPLITS", 6)
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs") / "mine <b>")


@pytest.fixture(scope="session")
def store(run: RunFolder) -> FootageStore:
    return FootageStore.open(run.path("footage"))
