"""What this machine can do: seconds per step, measured on real steps rather than guessed from the hardware's name."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoreel.clip import Frames
from autoreel.config import PRESETS, Config, with_parts
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import ConfigError
from autoreel.models.compute import keep_memory
from autoreel.models.perceptual import Perceptual
from autoreel.training.budget import QUICKEST_STEP_S, Budget, choose_preset
from autoreel.training.stage import Stage, UnusableStepError


def step_seconds(stage: Stage, enough_s: float = 3.0, progress: float = 0.0) -> float:
    """Seconds per step: the best of a few after one that warms up. The stage has moved on afterwards.

    Args:
        stage: any.
        enough_s: no further step is begun after this time.
        progress: the part of the training that is measured, a share of its budget.
    """
    times: list[float] = []
    began = time.perf_counter()
    for step in range(4):
        started = time.perf_counter()
        with contextlib.suppress(UnusableStepError):  # only the time is of interest
            stage.step(step, progress)
        times.append(time.perf_counter() - started)
        if len(times) > 1 and time.perf_counter() - began > enough_s:
            break
    return min(times[1:])


def codec_step_s(config: Config, device: torch.device) -> float:
    """Seconds per codec step of a preset, on frames of noise of its size: the mean over both parts of its training.

    Args:
        config: the preset. On a CPU one clip at a time is measured, and the time multiplied by the batch.
        device: where.
    """
    from autoreel.training.codec_stage import CodecStage

    keep_memory()  # as training does
    batch = config.training.codec_batch if device.type == "cuda" else 1
    smaller = config.model_copy(update={"training": config.training.model_copy(update={"codec_batch": batch})})
    perceptual = Perceptual.of(config.objective)
    stage = CodecStage(smaller, NoiseFootage(config), device, fit=False, perceptual=perceptual)
    seconds = step_seconds(stage, enough_s=0.0)
    if stage.has_adversary:
        start = config.training.adversary_start
        seconds = start * seconds + (1 - start) * step_seconds(stage, enough_s=0.0, progress=1.0)
    return seconds * config.training.codec_batch / batch


def largest_preset(
    budget: Budget, device: torch.device, parts: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, float]]:  # fmt: skip
    """The largest preset that this machine can train in the time, after a few measured steps.

    Args:
        budget: of the whole training.
        device: where.
        parts: tables of values that every preset gets; one that cannot have them is not taken.

    Returns:
        The name, and the seconds per codec step of those that were measured.

    Raises:
        RunError: the weights of the LPIPS term's network cannot be used.
    """

    def seconds(name: str) -> float:
        try:
            config = with_parts(PRESETS[name], parts or {}, f"preset {name}")
        except ConfigError:
            return math.inf
        return codec_step_s(config, device)

    name, measured = choose_preset(
        budget, PRESETS["tiny"].training.codec_share, seconds,
        quickest_step_s=QUICKEST_STEP_S.get(device.type, QUICKEST_STEP_S["cuda"]),
    )  # fmt: skip
    return name, {preset: found for preset, found in measured.items() if math.isfinite(found)}


class NoiseFootage(FootageStore):
    """A store of one shot of noise that lies in no file.

    Args:
        config: of the run; its size is taken.
    """

    def __init__(self, config: Config) -> None:
        num_frames = 4 * config.training.codec_frames
        shots = [
            Shot(id=side, source=side, source_hash=side, label=None, split=side, num_frames=num_frames,
                 group=None, start_s=0.0, offset=0)
            for side in ("train", "validation")
        ]  # fmt: skip
        super().__init__(
            Path("noise"),
            {
                "size": [config.data.height, config.data.width], "rate": "25", "labels": [],
                "shots": [asdict(shot) for shot in shots],
                "config": {}, "hash": "noise", "key": "", "how_split": "noise", "num_rejects": 0, "shards": {},
            },
        )  # fmt: skip
        shape = (num_frames, config.data.height, config.data.width, 3)
        self._noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def frames(self, shot: Shot, start: int = 0, count: int | None = None) -> Frames:
        """Noise."""
        return self._noise[start : None if count is None else start + count]
