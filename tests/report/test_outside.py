"""Published measures in a report: with a file they are given with its hash, without one they are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.test_published import LikeI3D, script

from autoreel.errors import RunError
from autoreel.evaluation import published
from autoreel.report import outside as published_part
from autoreel.report.accuracy import Pairs
from autoreel.report.outside import Files, outside
from autoreel.report.subject import Subject
from autoreel.runs import RunFolder


@pytest.fixture(scope="module")
def subject(run: RunFolder) -> Subject:
    return Subject.open(run.root, device="cpu")


def clips(count: int = 12) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 32, 32, 3), np.uint8)


def test_a_distance_has_its_files_hash_and_protocol(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = script(LikeI3D(), tmp_path / "i3d.pt")
    (few,) = outside(subject, Files(fvd=file), clips(), None, 7)
    assert few.value is None and "at least 256 clips" in few.note
    for module in (published, published_part):
        monkeypatch.setattr(module, "MIN_CLIPS", 12)
    (found,) = outside(subject, Files(fvd=file), clips(), None, 7)
    assert found.value is not None and found.value > 0 and found.floor is not None
    assert published.file_hash(file)[:16] in found.note and "I3D" in found.note and "i3d.pt" in found.note
    assert found.count == 12 and found.seed == 7


def test_what_is_not_installed_is_said(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = outside(subject, Files(vmaf=True), clips(), Pairs(clips(2), clips(2)), 0)
    assert found.value is None and "no ffmpeg with libvmaf" in found.note
    assert not Files().any() and Files(vmaf=True).any()


def test_wrong_weights_are_refused(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "lpips.safetensors").write_bytes(b"none of it")
    with pytest.raises(RunError, match="LPIPS weights"):
        outside(subject, Files(lpips=tmp_path / "lpips.safetensors"), clips(), None, 0)
