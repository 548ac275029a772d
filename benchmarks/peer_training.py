"""Training from scratch within a wall-clock budget, ours and peers alike: same data, batches, frames and threads.

The clock counts steps and what a side needs before its first one (our linear path), not the looking in between.
Peers learn what ours does: the error of pixels and of frame differences and a little KL, by AdamW with a warm-up and a
linear decay over the budget, weights averaged; in bfloat16 where the machine has it, again in float32 when that leaves
the finite numbers. A peer's width, batch and rate are searched before in shorter trainings.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from peer_models import RATES, Layout, Peer, parameters_of
from torch import Tensor, nn

from autoreel.clip import to_frames, to_model
from autoreel.config import Config
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr, ms_ssim, ssim, temporal_psnr
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.training.augment import augment
from autoreel.training.codec_stage import CodecStage
from autoreel.training.objectives import RECONSTRUCTIONS, frame_difference
from autoreel.training.stage import NonFiniteError, step_generator, update_average

CPU = torch.device("cpu")
WARM_UP_STEPS = 20
MAX_GRADIENT_NORM = 1.0
MARKS = (0.05, 0.1, 0.2, 0.5, 1.0)  # shares of the budget after which the test split is looked at; and before it
LOOKED_AT = 24  # windows of the curve; the final measures are of all of them


class Side(Protocol):
    """What is trained."""

    def step(self, step: int, progress: float) -> dict[str, float]: ...

    def rebuild(self, video: Tensor) -> Tensor: ...


@dataclass
class Result:
    """How a training went.

    Args:
        name: of the side.
        parameters: numbers learned.
        precision: of the matrix products.
        steps: taken.
        seconds: of the budget that were used.
        curve: (seconds, PSNR in dB of the first windows of the test split), the same windows at every look.
        final: all measures at the end, of all windows.
    """

    name: str
    parameters: int
    precision: str
    steps: int = 0
    seconds: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What a peer is trained with.

    Args:
        width: of its first level.
        batch: clips of a step.
        rate: of AdamW.
        dtype: of the matrix products.
        layout: of weights and clips in memory.
    """

    width: int
    batch: int
    rate: float
    dtype: torch.dtype
    layout: torch.memory_format = torch.contiguous_format


class Ours:
    """Our codec in its own stage of training."""

    def __init__(self, config: Config, store: FootageStore, start: dict[str, Tensor] | None = None) -> None:
        self.stage = CodecStage(config, store, CPU, fit=start is None)
        if start is not None:
            self.stage.start_from(start)

    @property
    def codec(self) -> Codec:
        return self.stage.averaged

    def step(self, step: int, progress: float) -> dict[str, float]:
        return self.stage.step(step, progress)

    def rebuild(self, video: Tensor) -> Tensor:
        return self.codec.decode(self.codec.encode(video).mode())


class Theirs:
    """A peer, trained the same way with its own optimizer."""

    def __init__(
        self, name: str, settings: Settings, layout: Layout, config: Config, store: FootageStore
    ) -> None:
        torch.manual_seed(config.training.seed)
        self.config, self.dtype, self.base_rate = config, settings.dtype, settings.rate
        self.layout = settings.layout
        self.peer = Peer(name, settings.width, layout)
        for parameter in self.peer.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=settings.layout)
        self.averaged = copy.deepcopy(self.peer).requires_grad_(False)
        training = config.training
        self.loader = ClipLoader(
            store, "train", training.codec_frames, settings.batch, training.seed, training.mirror
        )
        learned, rate = self.peer.parameters(), settings.rate
        self.optimizer = torch.optim.AdamW(learned, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, step: int, progress: float) -> dict[str, float]:
        training, objective = self.config.training, self.config.objective
        video = to_model(self.loader.batch(step).frames)
        if training.augment:
            video = augment(video, step_generator(training.seed, "codec.augment", step))
        rate = min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.02, 1.0 if progress < 0.3 else (1 - progress) / 0.7)
        for group in self.optimizer.param_groups:
            group["lr"] = self.base_rate * rate
        term = RECONSTRUCTIONS[objective.reconstruction]
        with autocast(CPU, self.dtype):
            mean, log_variance = self.peer.moments(video.contiguous(memory_format=self.layout))
            log_variance = log_variance.clamp(-12.0, 4.0)
            made = self.peer.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean)).float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
        error = made - video
        loss = term(error) + objective.difference_weight * frame_difference(error, term) + objective.kl_weight * kl
        if not torch.isfinite(loss):
            raise NonFiniteError("the peer's loss", float(loss))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.peer.parameters(), MAX_GRADIENT_NORM)
        if not torch.isfinite(norm):
            raise NonFiniteError("the peer's gradient")
        self.optimizer.step()
        update_average(self.averaged, self.peer, training.ema_decay, step)
        return {"loss": float(loss.detach())}

    def rebuild(self, video: Tensor) -> Tensor:
        return self.averaged(video)


def train_ours(config: Config, store: FootageStore, budget_s: float, start: dict[str, Tensor] | None = None) -> Result:
    """Our codec for so many seconds."""
    began = time.perf_counter()
    side = Ours(config, store, start)
    result = Result("ours", parameters_of(side.codec), _name(matrix_dtype(CPU)))
    return _train(side, result, config, store, budget_s, time.perf_counter() - began, side.stage.dtype)


def search_peer(
    name: str, widths: Sequence[int], layout: Layout, config: Config, store: FootageStore, budget_s: float
) -> tuple[Settings, list[Result]]:
    """The settings that train best in a short budget: width, then half a batch, a memory layout, another rate.

    Each training has a whole schedule of its own. The choice is by the test split, which favours the peer a little.
    """
    tried: dict[Settings, Result] = {}

    def best() -> Settings:
        return max(tried, key=lambda key: tried[key].final.get("psnr_db", 0.0))

    def attempt(settings: Settings) -> None:
        used, result = train_peer(name, settings, layout, config, store, budget_s, ())
        tried[used] = result

    batch = config.training.codec_batch
    for width in widths:
        attempt(Settings(width, batch, RATES[0], matrix_dtype(CPU)))
    # A batch of one is left out: torch's convolutions of one small clip are ten times slower than those of two.
    attempt(replace(best(), batch=max(2, batch // 2)))
    attempt(replace(best(), layout=torch.channels_last_3d))
    for rate in RATES[1:]:
        attempt(replace(best(), rate=rate))
    return best(), list(tried.values())


def train_peer(
    name: str, settings: Settings, layout: Layout, config: Config, store: FootageStore, budget_s: float,
    marks: Sequence[float] = MARKS,
) -> tuple[Settings, Result]:  # fmt: skip
    """A peer for so many seconds, in float32 when bfloat16 fails, at a third of the rate when that fails too; the
    settings used, and how it went."""
    in_float32 = replace(settings, dtype=torch.float32)
    for used in dict.fromkeys((settings, in_float32, replace(in_float32, rate=settings.rate / 3))):
        side = Theirs(name, used, layout, config, store)
        label = f"{name} {used.width}, batch {used.batch}, rate {used.rate:g}"
        label += ", channels last" * (used.layout == torch.channels_last_3d)
        result = Result(label, parameters_of(side.peer), _name(used.dtype))
        try:
            return used, _train(side, result, config, store, budget_s, 0.0, used.dtype, marks)
        except NonFiniteError as error:
            print(f"{result.name}: {error} in {result.precision} after {result.steps} steps", flush=True)
    return used, result


def _train(
    side: Side, result: Result, config: Config, store: FootageStore, budget_s: float, used_s: float, dtype: Any,
    shares: Sequence[float] = MARKS,
) -> Result:  # fmt: skip
    marks = [share * budget_s for share in shares]

    def look() -> None:
        psnr = measure(side.rebuild, store, config.training.codec_frames, dtype, LOOKED_AT)["psnr_db"]
        result.curve.append((used_s, psnr))
        print(f"{result.name}: {used_s:.0f} s, {result.steps} steps, {psnr:.2f} dB", flush=True)

    if marks:
        look()
    while used_s < budget_s:
        began = time.perf_counter()
        side.step(result.steps, min(1.0, used_s / budget_s))
        used_s += time.perf_counter() - began
        result.steps, result.seconds = result.steps + 1, used_s
        if marks and used_s >= marks[0] and used_s < budget_s:
            while marks and used_s >= marks[0]:
                marks.pop(0)
            look()
    if shares:
        look()
    result.final = measure(side.rebuild, store, config.training.codec_frames, dtype, None)
    print(f"{result.name}: {used_s:.0f} s, {result.steps} steps, {result.final}", flush=True)
    return result


@torch.no_grad()
def measure(
    rebuild: Callable[[Tensor], Tensor], store: FootageStore, num_frames: int, dtype: Any, limit: int | None,
    split: str | None = None,
) -> dict[str, float]:  # fmt: skip
    """Means over fixed windows of the test split (of validation where there is none)."""
    split = split or ("test" if store.split("test") else "validation")
    scales = 3 if min(store.size) < 176 else 5
    rows = []
    for batch in ClipLoader(store, split, num_frames, 2, 0).clips(limit):
        with autocast(CPU, dtype):
            made = to_frames(rebuild(to_model(batch.frames)).float())
        for a, b in zip(batch.frames, made, strict=True):
            rows.append((frame_psnr(a, b).mean(), ssim(a, b), ms_ssim(a, b, scales), temporal_psnr(a, b)))
    mean = np.mean(rows, 0)
    names = ("psnr_db", "ssim", "ms_ssim", "temporal_psnr_db")
    return {**dict(zip(names, map(float, mean), strict=True)), "windows": len(rows)}


def reached_after(result: Result, psnr: float) -> float | None:
    """Seconds until a PSNR was seen first; between two looks by a straight line."""
    before = (0.0, 0.0)
    for seconds, value in result.curve:
        if value >= psnr:
            share = (psnr - before[1]) / max(1e-9, value - before[1]) if before[1] else 1.0
            return before[0] + share * (seconds - before[0])
        before = (seconds, value)
    return None


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
