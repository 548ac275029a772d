"""Published measures on small files of the test's own, that take and give what the published ones do."""

from __future__ import annotations

import os
import stat
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoreel.errors import UsageError
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.published import PROTOCOLS, features, file_hash, open_network, video_distance
from autoreel.evaluation.vmaf import vmaf, vmaf_program


class LikeI3D(nn.Module):
    """Takes what the published file takes; gives the mean colour and its change."""

    def forward(
        self, video: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        assert rescale and resize and return_features
        colour = video.mean(dim=[2, 3, 4])
        change = (video[:, :, 1:] - video[:, :, :-1]).abs().mean(dim=[2, 3, 4])
        return torch.cat([colour, change], 1)


class LikeVideoMAE(nn.Module):
    def forward(self, video: Tensor) -> Tensor:
        assert video.shape[1:] == torch.Size([3, 16, 224, 224])
        return video.mean(dim=[2, 3, 4])


def script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out of torch; the published files stay
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


def clips(count: int = 5, frames: int = 16) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, frames, 8, 8, 3), np.uint8)


def test_the_files_see_what_the_protocol_says(tmp_path: Path) -> None:
    given = clips()
    found = features(open_network(script(LikeI3D(), tmp_path / "i3d.pt")), given, PROTOCOLS["fvd"])
    assert found[:, :3] == pytest.approx(given.mean((1, 2, 3)), rel=1e-4)  # levels of 0 to 255
    seen = features(open_network(script(LikeVideoMAE(), tmp_path / "mae.pt")), given, PROTOCOLS["cd_fvd"])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert seen == pytest.approx((given.mean((1, 2, 3)) / 255 - mean) / deviation, abs=0.1)


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_hash(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_wrong_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.pt cannot be read"):
        open_network(tmp_path / "no.pt")
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(UsageError, match="not a TorchScript file") as caught:
        open_network(tmp_path / "text.pt")
    assert "\n" not in str(caught.value)
    network = open_network(script(LikeVideoMAE(), tmp_path / "mae.pt"))
    with pytest.raises(UsageError, match="does not take what it should"):
        features(network, clips(), PROTOCOLS["fvd"])
    with pytest.raises(UsageError, match="clips of 16 frames"):
        features(network, clips(frames=15), PROTOCOLS["cd_fvd"])


def test_too_few_clips_are_refused() -> None:
    few = np.random.default_rng(0).normal(size=(255, 4))
    with pytest.raises(TooFewError, match="at least 256"):
        video_distance(few, few)
    enough = np.random.default_rng(0).normal(size=(256, 300))  # fewer clips than features are usual here
    assert video_distance(enough, enough) == pytest.approx(0.0, abs=1e-6)


def test_vmaf_is_read_from_ffmpegs_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that checks the sizes it is told, where no ffmpeg with libvmaf is at hand."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-filters*) echo " ... libvmaf  VV->V  Calculate the VMAF"; exit 0;; esac\n'
        '[ "$(wc -c < original.rgb)" = 1152 ] || { echo "wrong size" >&2; exit 1; }\n'
        'case "$*" in *"-s 8x16 -r 25/2"*) ;; *) echo "wrong geometry" >&2; exit 1;; esac\n'
        'echo \'{"pooled_metrics": {"vmaf": {"mean": 87.5}}}\' > vmaf.json\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert vmaf_program() == str(program)
    clip = np.zeros((3, 16, 8, 3), np.uint8)
    assert vmaf(str(program), clip, clip, Fraction(25, 2)) == 87.5
    with pytest.raises(UsageError, match="VMAF: wrong geometry"):
        vmaf(str(program), clip.reshape(3, 8, 16, 3), clip.reshape(3, 8, 16, 3), Fraction(25, 2))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert vmaf_program() is None


@pytest.mark.skipif(vmaf_program() is None, reason="no ffmpeg with libvmaf is installed: VMAF itself was not measured")
def test_vmaf_itself() -> None:
    program = vmaf_program()
    assert program is not None
    random = np.random.default_rng(0)
    original = np.repeat(random.integers(60, 180, (1, 64, 64, 3)), 4, 0).astype(np.uint8)
    noisy = np.clip(original + random.normal(0, 40, original.shape), 0, 255).astype(np.uint8)
    assert vmaf(program, original, original, Fraction(25)) > 90 > vmaf(program, original, noisy, Fraction(25)) + 5
