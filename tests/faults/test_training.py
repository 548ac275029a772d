"""Training that is killed, refused by the disk, or disturbed: the same command goes on as if nothing had happened."""

import math
import random
import shutil
from pathlib import Path

import pytest
import torch
from benchmarks.fault_campaigns import kills, spikes
from benchmarks.fault_campaigns.report import Findings

from autoreel.models.codec import Codec


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> kills.Bench:
    return kills.Bench(tmp_path_factory.mktemp("kills"), seed=0)


def test_a_kill_at_a_random_moment(bench: kills.Bench) -> None:
    findings = Findings("kills")
    assert bench.random_kills(1, random.Random(0), findings) == 1, findings.problems


def test_kills_and_a_full_disk_at_calls_of_a_save(bench: kills.Bench) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    cases, findings = bench.cases(), Findings("kills")
    assert len([case for case in cases if "KILL" in case.fault]) > 60
    assert kills.order_problems(bench.work / "dry.trace", bench.work / "dry") == []
    renames = [c for c in cases if c.call.startswith("rename") and "state" not in c.what and "KILL" in c.fault][:1]
    full = [case for case in cases if case.call == "fsync" and "ENOSPC" in case.fault][:1]
    assert bench.faults([*renames, *full], findings)[0] == 2, findings.problems


@pytest.mark.parametrize("stage", ["codec", "prior", "refine", "upscale"])
def test_losses_that_are_not_finite_reach_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(spikes, "STEPS", 48)
    monkeypatch.setattr(spikes, "SAVE_EVERY", 6)
    detail, larger = (64, spikes.prepare_sample(tmp_path, 0, 64, 64)) if stage == "upscale" else (32, None)
    footage = spikes.prepare_sample(tmp_path, 0, detail, 32), larger
    torch.manual_seed(0)
    codec = Codec(spikes.SMALL.codec).eval()
    faults = dict.fromkeys((3, 11, 20, 21, 22, 40), math.nan) | {30: spikes.SPIKE}
    found = spikes.train(stage, tmp_path, footage, codec, faults)
    assert (found["error"], found["unsound"], found["rewinds"]) == ("", [], 1)
    assert found["checkpoints"] >= 4
