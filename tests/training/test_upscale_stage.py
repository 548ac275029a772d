"""Learning to enlarge: what it leaves in a run, when that is used, and that it is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.test_stage_contracts import SMALL, larger_noise

from autoreel.clip import Frames
from autoreel.config import UpscalerConfig
from autoreel.data.store import Shot
from autoreel.errors import FootageError, RunError, UsageError
from autoreel.models.codec import Codec
from autoreel.models.opening import open_upscaler
from autoreel.runs import RunFolder
from autoreel.training import upscale_stage
from autoreel.training.budget import Budget
from autoreel.training.measure import NoiseFootage
from autoreel.training.train import begin, train
from autoreel.training.upscale_stage import Enlarged, UpscaleStage

CPU = torch.device("cpu")


def trained(path: Path, stage: str, steps: int = 1, times: int = 2) -> tuple[RunFolder, list[str]]:
    lines: list[str] = []
    store = NoiseFootage(SMALL)
    root = path if path.exists() else RunFolder.create(path, SMALL).root
    larger = larger_noise(times) if stage == "upscale" else None
    train(begin(root, store), store, budget=Budget(steps=steps), stage=stage, report=lines.append, device="cpu",
          larger=larger)  # fmt: skip
    return RunFolder.open(root), lines


def test_it_is_used_only_where_it_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="no trained codec"):
        trained(tmp_path / "run", "upscale")
    run, _ = trained(tmp_path / "run", "codec")
    with pytest.raises(RunError, match=r"has not learned to enlarge.*--stage upscale --large FOLDER"):
        open_upscaler(run)
    monkeypatch.setattr(Enlarged, "is_better_than", lambda self, other: False)
    run, lines = trained(tmp_path / "run", "upscale")
    assert any("Lanczos stays better and is kept" in line for line in lines), lines
    with pytest.raises(RunError, match="Lanczos was better"):
        open_upscaler(run)
    monkeypatch.setattr(Enlarged, "is_better_than", lambda self, other: True)
    run, lines = trained(tmp_path / "run", "upscale", steps=2)
    assert any("validation footage, 2 times as large: learned" in line for line in lines), lines
    assert open_upscaler(run).times == 2
    run, lines = trained(tmp_path / "run", "upscale", steps=2)
    assert any("already trained" in line for line in lines), lines
    run, lines = trained(tmp_path / "run", "upscale", steps=2, times=4)
    assert any("the larger footage has changed, so it begins again" in line for line in lines), lines
    assert open_upscaler(run).times == 4
    run, _ = trained(tmp_path / "run", "codec", steps=2)
    with pytest.raises(RunError, match="has not learned to enlarge"):
        open_upscaler(run)


def test_what_it_needs_is_said(tmp_path: Path) -> None:
    run, _ = trained(tmp_path / "run", "codec")
    store = NoiseFootage(SMALL)
    with pytest.raises(UsageError, match="give it with --large"):
        train(run, store, budget=Budget(steps=1), stage="upscale", report=lambda _: None, device="cpu")
    all_train = larger_noise(2)
    all_train.shots = tuple(shot for shot in all_train.shots if shot.split == "train")
    with pytest.raises(FootageError, match="nothing was held back"):
        UpscaleStage(SMALL, Codec(SMALL.codec), store, all_train, CPU)


def test_better_means_in_pixels_and_in_sharpness() -> None:
    lanczos = Enlarged(25.0, 0.5)
    assert Enlarged(25.1, 0.7).is_better_than(lanczos) and Enlarged(25.1, 1.2).is_better_than(lanczos)
    for other in (Enlarged(24.9, 0.7), Enlarged(25.1, 0.4), Enlarged(25.1, 1.6), lanczos):
        assert not other.is_better_than(lanczos)


class Bars(NoiseFootage):
    """Sharp grey bars, other ones in every frame; what was held back looks like what is learned from."""

    def frames(self, shot: Shot, start: int = 0, count: int | None = None) -> Frames:
        chance, (tall, wide) = np.random.default_rng(len(shot.id)), self.size
        found = np.repeat(chance.integers(0, 256, (shot.num_frames, 1, wide // 3 + 1, 1), np.uint8), 3, axis=2)
        found = np.broadcast_to(found[:, :, :wide], (shot.num_frames, tall, wide, 3))
        return found[start : None if count is None else start + count]


def test_sharp_edges_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscale_stage, "CROP", 16)
    monkeypatch.setattr(UpscaleStage, "painted", lambda self, small: small.clone())  # a codec that loses nothing
    data: Any = SMALL.data.model_copy(update={"height": 64, "width": 64})
    training = SMALL.training.model_copy(update={"upscale_rate": 2e-2})
    head = UpscalerConfig(width=16, depth=1, contrast_weight=0.0)
    config = SMALL.model_copy(update={"upscaler": head, "training": training})
    stage = UpscaleStage(config, Codec(SMALL.codec), NoiseFootage(SMALL), Bars(SMALL.model_copy(update={"data": data})),
                         CPU)  # fmt: skip
    for step in range(60):
        stage.step(step, step / 60)
    learned, lanczos = stage.compared(4)
    assert learned.psnr_db > lanczos.psnr_db + 2.0
