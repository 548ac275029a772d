"""Families trained and measured by one call, which goes on where it was stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.footage import make_store

from autoreel.cli import main
from autoreel.config import PRESETS, CodecConfig, Config, DataConfig, PriorConfig, TrainingConfig
from autoreel.data.store import FootageStore
from autoreel.errors import FootageError, UsageError
from autoreel.report import compare as comparing
from autoreel.report.compare import FAMILIES, Plan, compare
from autoreel.report.evaluate import Wanted
from autoreel.training.budget import Budget

SMALL = Config(
    data=DataConfig(height=32, width=32),
    codec=CodecConfig(latent_channels=4, widths=(8, 8, 8), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    prior=PriorConfig(width=32, depth=1, heads=1, patch=2, window=4, steps=1),
    training=TrainingConfig(codec_batch=2, codec_frames=5, prior_batch=2, threads=1),
)
PLAN = Plan(("ae", "gan"), Budget(steps=4), 1, "tiny", Wanted(clips=12, frames=16, minute=False))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FootageStore:
    monkeypatch.setitem(PRESETS, "tiny", SMALL)
    return make_store(tmp_path / "footage")


def test_families_are_trained_measured_and_ranked(
    store: FootageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    page = compare([store.path], out, PLAN, device="cpu", report=lines.append)
    numbers = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    assert numbers["families"] == ["ae", "gan"] and set(numbers["runs"]) == {"ae-0", "gan-0"}
    assert sorted(numbers["mean_rank"]) == ["ae", "gan"]
    mmd2 = numbers["measures"]["mmd2"]
    assert mmd2["floor"] is not None and all(mmd2["families"][family]["value"] is not None for family in ("ae", "gan"))
    assert numbers["measures"]["psnr_db"]["families"]["gan"] is None
    assert numbers["measures"]["gaussian_mmd2"]["families"]["ae"]["value"] is not None
    text = page.read_text(encoding="utf-8")
    assert text.count("data:video/mp4;base64,") == 6 + 4 and "4 steps, equal steps" in text
    assert "One seed" in text
    assert any("training 2 of 2: gan" in line for line in lines)

    # Again: nothing is trained or measured twice, and what is missing is made.
    monkeypatch.setattr(comparing, "assess", None)
    written = {name: (out / name / "codec.safetensors").stat().st_mtime_ns for name in ("ae-0", "gan-0")}
    page.unlink()
    time.sleep(0.01)
    assert compare([store.path], out, PLAN, device="cpu", report=lines.append) == page and page.is_file()
    assert written == {name: (out / name / "codec.safetensors").stat().st_mtime_ns for name in written}


def test_what_runs_began_with_is_not_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def preparing(*_: Any, retry: bool, **__: Any) -> None:
        asked.append(retry)
        raise FootageError("not here")

    monkeypatch.setattr(comparing, "prepare", preparing)
    for folder in ("comparison/footage", "comparison/vae-0"):
        (tmp_path / folder).mkdir(parents=True)
        with pytest.raises(FootageError, match="not here"):
            compare([tmp_path], tmp_path / "comparison")
    assert asked == [True, False]


def test_a_plan_that_cannot_be_meant_is_refused(store: FootageStore, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, said in ((("gna",), "did you mean 'gan'"), (("ae", "ae"), "once"), ((), "once")):
        with pytest.raises(UsageError, match=said):
            Plan(families=wrong)
    with pytest.raises(UsageError, match="at least one training"):
        Plan(seeds=0)
    assert Plan().families == FAMILIES == ("gan", "ae", "vae", "vae-gan")
    assert main(["compare", str(store.path / "none"), "--out", str(store.path.parent / "out")]) in (2, 3)
    assert main(["compare", str(store.path), "--out", str(store.path.parent / "out"), "--preset", "small"]) == 2
    assert "--preset" in capsys.readouterr().err
