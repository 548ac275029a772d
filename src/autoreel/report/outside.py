"""Published measures in a report: with networks from files that the person gives, and VMAF of an installed ffmpeg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autoreel.clip import Frames, to_model
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.published import MIN_CLIPS, PROTOCOLS, features, file_hash, open_network, video_distance
from autoreel.evaluation.samples import read, windows
from autoreel.evaluation.uncertainty import mean_interval
from autoreel.evaluation.vmaf import vmaf, vmaf_program
from autoreel.models.perceptual import Perceptual
from autoreel.report.accuracy import Pairs
from autoreel.report.figures import Figure, not_measured, with_interval
from autoreel.report.subject import Subject


@dataclass(frozen=True)
class Files:
    """Networks of the person's own; None leaves a measure out.

    Args:
        fvd: TorchScript of I3D.
        cd_fvd: TorchScript of VideoMAE.
        lpips: safetensors with LPIPS weights for VGG16 (models/perceptual.py).
        vmaf: whether to measure VMAF with the ffmpeg that is installed.
    """

    fvd: Path | None = None
    cd_fvd: Path | None = None
    lpips: Path | None = None
    vmaf: bool = False

    def any(self) -> bool:
        """Whether there is anything to do."""
        return self.vmaf or any(path is not None for path in (self.fvd, self.cd_fvd, self.lpips))


def outside(subject: Subject, files: Files, made: Frames, pairs: Pairs | None, seed: int) -> list[Figure]:
    """Every measure that a file was given for.

    Args:
        subject: the run.
        files: what was given.
        made: generated clips (N, T, H, W, 3).
        pairs: held-out clips beside their reconstructions.
        seed: of the clips.

    Raises:
        UsageError: a file that is not what it should be.
        RunError: LPIPS weights that are not what they should be.
    """
    figures = [
        _distance(subject, key, path, made, seed)
        for key, path in (("fvd", files.fvd), ("cd_fvd", files.cd_fvd))
        if path is not None
    ]
    if files.lpips is not None:
        figures.append(_lpips(files.lpips, pairs, seed))
    if files.vmaf:
        figures.append(_vmaf(subject, pairs, seed))
    return figures


def _distance(subject: Subject, key: str, path: Path, made: Frames, seed: int) -> Figure:
    protocol = PROTOCOLS[key]
    about: dict[str, Any] = {
        "key": key, "name": protocol.name, "unit": "", "better": "lower", "seed": seed,
        "meaning": "Fréchet distance to training clips in the features of a network of many videos; biased by the "
        "count, and kind to replays.",
        "floor_of": "held-out real clips",
    }  # fmt: skip
    chosen = windows(subject.store.split("train"), made.shape[1], len(made))
    network = open_network(path)
    words = f"file {path.name}, SHA-256 {file_hash(path)[:16]}; {protocol.words}; {made.shape[1]} frames at "
    words += f"{subject.run.size[1]} × {subject.run.size[0]} pixels"
    try:
        if min(len(chosen), len(made)) < MIN_CLIPS:
            raise TooFewError(protocol.name, min(len(chosen), len(made)), MIN_CLIPS)
        real = features(network, read(subject.store, chosen), protocol)
        value = video_distance(real, features(network, made, protocol))
    except TooFewError as error:
        return Figure(**about, **not_measured(error))
    kept = windows(subject.held_out(), made.shape[1], len(made))
    floor = None
    if len(kept) >= MIN_CLIPS:
        floor = video_distance(real, features(network, read(subject.store, kept), protocol))
    return Figure(**about, value=value, count=len(made), floor=floor, note=words)


@torch.no_grad()
def _lpips(path: Path, pairs: Pairs | None, seed: int) -> Figure:
    about: dict[str, Any] = {
        "key": "lpips", "name": "LPIPS", "unit": "", "better": "lower", "seed": seed,
        "meaning": "How different reconstructions look to a network that was fitted to people's judgement; 0 is equal.",
    }  # fmt: skip
    network = Perceptual.open(path)
    if pairs is None:
        return Figure(**about, **not_measured("there are no reconstructions"))
    values = [
        float(network(to_model(b), to_model(a))) for a, b in zip(pairs.original, pairs.made, strict=True)
    ]
    words = f"VGG16, file {path.name}, SHA-256 {file_hash(path)[:16]}; every frame at its own size"
    return Figure(**about, **with_interval(mean_interval(values, seed)), note=words)


def _vmaf(subject: Subject, pairs: Pairs | None, seed: int) -> Figure:
    about: dict[str, Any] = {
        "key": "vmaf", "name": "VMAF", "unit": "", "better": "higher", "seed": seed,
        "meaning": "Netflix's estimate of how good reconstructions look, 0 to 100; made for large pictures, so that "
        "small ones are scaled up to 1080 lines.",
    }  # fmt: skip
    program = vmaf_program()
    if program is None:
        return Figure(**about, **not_measured("no ffmpeg with libvmaf is installed"))
    if pairs is None:
        return Figure(**about, **not_measured("there are no reconstructions"))
    several = list(zip(pairs.original, pairs.made, strict=True))[:8]
    values = [vmaf(program, a, b, subject.run.rate) for a, b in several]
    return Figure(**about, **with_interval(mean_interval(values, seed)), note="ffmpeg's libvmaf with its own model")
