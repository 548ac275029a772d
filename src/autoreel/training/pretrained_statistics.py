"""A pretrained codec in a run: nothing of it is trained, its latents are measured."""

from __future__ import annotations

import torch

from autoreel.clip import to_model
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.opening import CODEC_FILE
from autoreel.models.pretrained import DiffusersCodec
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, StageState

WINDOWS = 64
WINDOW_FRAMES = 17  # about


@torch.no_grad()
def latent_statistics(
    codec: VideoCodec, store: FootageStore, seed: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (C,) of the latents of a footage's training side, on the CPU.

    Args:
        codec: on `device`.
        store: the footage.
        seed: of the choice of windows.
        device: to encode on.
    """
    t = codec.temporal_stride
    frames = 1 + t * max(1, (WINDOW_FRAMES - 1) // t)
    count = 0
    total, squares = torch.zeros(2, codec.latent_channels, dtype=torch.float64)
    for batch in ClipLoader(store, "train", frames, 1, seed).clips(WINDOWS):
        with autocast(device, matrix_dtype(device)):
            latent = codec.encode(to_model(batch.frames, device)).mode().double().cpu()
        values = latent.transpose(0, 1).flatten(1)
        count += values.shape[1]
        total, squares = total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    deviation = (squares / count - mean**2).clamp(min=1e-8).sqrt()
    return mean.float(), deviation.float()


def measure_pretrained(run: RunFolder, store: FootageStore, device: torch.device) -> None:
    """Put what a run needs to know about its pretrained codec into the run folder, unless it is there.

    Args:
        run: whose config names the codec.
        store: the footage.
        device: to encode on.

    Raises:
        UsageError, RunError: the codec cannot be opened.
        DivergedError: it makes latents that are not finite of this footage.
    """
    config = run.config.pretrained
    if config is None or CODEC_FILE in run.manifest.weights:
        return
    codec = DiffusersCodec.open(config).to(device)
    mean, deviation = latent_statistics(codec, store, run.config.training.seed, device)
    run.save_weights(
        CODEC_FILE, {"latent_mean": mean, "latent_deviation": deviation},
        {"stage": "codec", "source": config.source, "sha256": config.sha256},
    )  # fmt: skip
    run.update_stage("codec", StageState(done=True))
