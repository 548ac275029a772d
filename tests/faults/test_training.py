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
    assert bench.order_problems() == []
    killed = [case for case in cases if "KILL" in case.fault]
    first = [case for case in killed if case.call == "mkdir"][1:2]  # the run folder has no name of its own yet
    saves = [case for case in killed if case.call.startswith("rename") and "checkpoints/codec" in case.what]
    full = [case for case in cases if case.call == "fsync" and "ENOSPC" in case.fault][:1]
    assert bench.faults([*first, saves[0], *full], findings)[0] == 3, findings.problems


def test_folders_that_a_power_cut_could_take_are_seen_in_a_trace(tmp_path: Path) -> None:
    root = tmp_path / "dry"
    run = root / "above/run"
    calls = [
        f'mkdir("{run.parent}", 0777) = 0', f'fsync(3<{root}>) = 0', f'mkdir("{run}", 0777) = 0',
        f'fsync(3<{run.parent}>) = 0', f'mkdir("{run}/checkpoints", 0777) = 0', f'fsync(3<{run}>) = 0',
        f'mkdir("{run}/checkpoints/.0.part", 0777) = 0', f'fsync(3<{run}/checkpoints/.0.part>) = 0',
        f'rename("{run}/checkpoints/.0.part", "{run}/checkpoints/codec-0") = 0', f'fsync(3<{run}/checkpoints>) = 0',
    ]  # fmt: skip
    for left_out, said in ((None, None), (1, "above "), (3, "run "), (5, "checkpoints "), (9, "at the end")):
        lines = [call for number, call in enumerate(calls) if number != left_out]
        (tmp_path / "trace").write_text("\n".join(lines))
        problems = kills.order_problems(tmp_path / "trace", root)
        assert len(problems) == (left_out is not None) and all(str(said) in problem for problem in problems)


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


def test_high_losses_at_the_end_reach_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spikes, "STEPS", 40)
    monkeypatch.setattr(spikes, "SAVE_EVERY", 6)
    footage = spikes.prepare_sample(tmp_path, 0, 32, 32), None
    torch.manual_seed(0)
    codec = Codec(spikes.SMALL.codec).eval()
    for count, rewinds in ((5, 0), (20, 1)):
        faults = {35 + n: 3 * spikes.MILD["prior"] for n in range(count)}
        found = spikes.train("prior", tmp_path, footage, codec, faults)
        assert (found["error"], found["unsound"], found["rewinds"]) == ("", [], rewinds)
