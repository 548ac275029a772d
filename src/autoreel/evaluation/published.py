"""Published measures that need a network of somebody else's, from a file that the person gives.

Nothing is downloaded. A file is opened as TorchScript, which is executed: give only files from people you trust. Beside
every figure stand the file's hash and the protocol: FVD of one and the same model has been given as 168, 190 and 320 by
three people who measured it in three ways.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.evaluation.distances import frechet

MIN_CLIPS = 256  # on each side; fewer say more of the count than of the model
AT_ONCE = 4

Network = Callable[..., Tensor]


@dataclass(frozen=True)
class Protocol:
    """How clips become features.

    Args:
        name: of the measure.
        frames: of each clip, from its start on; 0 for all.
        least_frames: that the network takes.
        words: for a person, to stand beside the figure.
        run: the network and clips (B, T, H, W, 3) uint8 to features (B, D).
    """

    name: str
    frames: int
    least_frames: int
    words: str
    run: Callable[[Network, Tensor], Tensor]


def _i3d(network: Network, clips: Tensor) -> Tensor:
    video = clips.permute(0, 4, 1, 2, 3).float().contiguous()  # 0 to 255: the file scales and resizes by itself
    return network(video, rescale=True, resize=True, return_features=True)


def _video_mae(network: Network, clips: Tensor) -> Tensor:
    frames = clips.permute(0, 1, 4, 2, 3).float().flatten(0, 1) / 255
    frames = F.interpolate(frames, (224, 224), mode="bilinear", align_corners=False)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    frames = (frames - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    return network(frames.unflatten(0, (len(clips), -1)).transpose(1, 2).contiguous())  # type: ignore[no-untyped-call]


PROTOCOLS: Mapping[str, Protocol] = {
    "fvd": Protocol(
        "FVD", 0, 10,
        "I3D of Kinetics-400 as TorchScript (Unterthiner et al. 2018; the file of StyleGAN-V, Skorokhodov et al. 2022) "
        "that scales and resizes by itself; all frames of a clip; features before the classifier", _i3d,
    ),
    "cd_fvd": Protocol(
        "Content-debiased FVD", 16, 16,
        "VideoMAE as TorchScript (Ge et al. 2024): the first 16 frames, 224 x 224 bilinear, ImageNet's mean and "
        "deviation, (B, 3, 16, 224, 224) to features", _video_mae,
    ),
}  # fmt: skip


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}; give a TorchScript file") from error


def open_network(path: Path) -> Network:
    """Open a TorchScript file.

    Raises:
        UsageError: absent, or not TorchScript.
    """
    file_hash(path)
    try:
        with warnings.catch_warnings():  # TorchScript is on its way out of torch; the published files are in it
            warnings.simplefilter("ignore", DeprecationWarning)
            opened: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"{path} is not a TorchScript file: {str(error).splitlines()[0]}") from error
    network: Network = opened.eval()
    return network


@torch.no_grad()
def features(network: Network, clips: Frames, protocol: Protocol) -> NDArray[np.float64]:
    """What the network sees in clips.

    Args:
        network: of `open_network`.
        clips: uint8 (N, T, H, W, 3).
        protocol: how.

    Returns:
        float64 (N, D).

    Raises:
        UsageError: too short, or the network does not take or give what the protocol says.
    """
    if clips.shape[1] < protocol.least_frames:
        raise UsageError(f"{protocol.name} needs clips of {protocol.least_frames} frames, not {clips.shape[1]}")
    cut = clips[:, : protocol.frames or None]
    found = []
    for start in range(0, len(cut), AT_ONCE):
        try:
            part = protocol.run(network, torch.from_numpy(np.ascontiguousarray(cut[start : start + AT_ONCE])))
        except (RuntimeError, TypeError) as error:
            raise UsageError(f"the file for {protocol.name} does not take what it should ({protocol.words})") from error
        if part.ndim != 2 or len(part) != len(cut[start : start + AT_ONCE]):
            raise UsageError(f"the file for {protocol.name} gives {tuple(part.shape)} and not features (N, D)")
        found.append(part.double().numpy())
    return np.concatenate(found)


def video_distance(real: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    """Frechet distance of published features; fewer clips than features are usual here, and bias it upwards.

    Raises:
        TooFewError: fewer than 256 clips.
    """
    return frechet(real, made, least=MIN_CLIPS)
