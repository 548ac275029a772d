"""The upscaler's stage: what Lanczos lacks, learned from the same footage at twice or four times the size.

    larger frames --shrunk--> frames of the run's size --codec--> what is given to the upscaler
          `-----------------------------------------------------> what it should make of it

Films enlarge what the codec's decoder painted; so three of four clips come through the codec, and the upscaler learns
to undo its blur as well. The fourth is only shrunk. Footage that was held back decides whether the result is better
than Lanczos, in pixels and in sharpness; only then it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.clip import Frames, as_stored, to_frames, to_model
from autoreel.config import Config
from autoreel.data.larger import times_larger
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.errors import FootageError, UsageError
from autoreel.evaluation.metrics import frame_psnr, sharpness_kept
from autoreel.media.encode import write_strip
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.upscaler import MATRICES, Upscaler, lanczos
from autoreel.models.video_codec import VideoCodec
from autoreel.training.objectives import charbonnier, contrast
from autoreel.training.stage import (
    Export,
    descend,
    pair_of_optimizers,
    set_rates,
    step_generator,
    update_average,
    warm_then_fall,
)  # fmt: skip

WARM_UP_STEPS = 10
LAST_RATE = 0.05
MAX_GRADIENT_NORM = 1.0
GROUPS = 2  # of frames in a clip, after the first frame
CROP = 32  # pixels a side of the small frames, that are learned from at once
PLAIN_EVERY = 4  # clip of a batch that does not come through the codec
VALIDATION_WINDOWS = 8
PREVIEW_CLIPS = 3


@dataclass(frozen=True)
class Enlarged:
    """How near enlarged clips come to the originals: means over clips.

    Args:
        psnr_db: peak signal-to-noise ratio of frames.
        sharpness_kept: 1 when none is lost.
    """

    psnr_db: float
    sharpness_kept: float

    def is_better_than(self, other: Enlarged) -> bool:
        """Nearer in pixels, and in sharpness."""
        return self.psnr_db > other.psnr_db and abs(1 - self.sharpness_kept) < abs(1 - other.sharpness_kept)

    def __str__(self) -> str:
        return f"{self.psnr_db:.2f} dB and {self.sharpness_kept:.0%} of the sharpness"


class UpscaleStage:
    """Training of the upscaler.

    Args:
        config: of the run.
        codec: trained; it is put on `device` and stands still.
        store: the footage the run learned from.
        larger: the same footage, two or four times as large.
        device: to train on.

    Raises:
        UsageError: a codec without an encoder.
        FootageError: other footage, or nothing of it was held back.
    """

    name = "upscale"

    def __init__(
        self, config: Config, codec: VideoCodec, store: FootageStore, larger: FootageStore, device: torch.device
    ) -> None:  # fmt: skip
        if not codec.has_encoder:
            raise UsageError("the family gan has no encoder, so that there are no pairs to learn enlarging from")
        self.times = times_larger(store, larger)
        self.held_out = next((side for side in ("validation", "test") if larger.split(side)), None)
        if self.held_out is None:
            raise FootageError(f"{larger.path}: nothing was held back to compare with Lanczos on; add footage")
        training = config.training
        self.seed, self.config, self.larger, self.device = training.seed, config, larger, device
        self.dtype = matrix_dtype(device)
        self.num_frames = 1 + GROUPS * codec.temporal_stride
        self.loader = ClipLoader(
            larger, "train", self.num_frames, training.upscale_batch, training.seed, training.mirror
        )
        self.codec = codec.to(device).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.upscaler = Upscaler(config.upscaler, self.times).to(device)
        self.averaged = copy.deepcopy(self.upscaler).requires_grad_(False).eval()
        named, base = dict(self.upscaler.named_parameters()), training.upscale_rate
        matrices = [p for name, p in named.items() if name.endswith(MATRICES)]
        others = [p for name, p in named.items() if not name.endswith(MATRICES)]
        self._optimizers = pair_of_optimizers(matrices, others, base, 0.5)

    def modules(self) -> Mapping[str, nn.Module]:
        """The upscaler and its average."""
        return {"upscale": self.upscaler, "averaged": self.averaged}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for the matrices inside the blocks, one for the rest."""
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update (see `Stage.step`)."""
        rate = warm_then_fall(step, progress, warm_up=WARM_UP_STEPS, last=LAST_RATE)
        set_rates(self._optimizers.values(), rate)
        original = to_model(self.loader.batch(step).frames, self.device)
        generator = step_generator(self.seed, self.name, step)
        small = shrunk(original, self.times)
        given = self.painted(small)
        start = int(torch.randint(PLAIN_EVERY, (), generator=generator))
        given[start::PLAIN_EVERY] = small[start::PLAIN_EVERY]
        given, original = self._cropped(given, original, generator)
        with autocast(self.device, self.dtype):
            made = self.upscaler(given)
        with torch.no_grad():  # by how much Lanczos is wrong, so that dull footage and lively count alike
            plain = lanczos(given, self.times)
            terms = charbonnier(plain - original), contrast(plain, original, self.times)
            usual = [term.clamp(min=1e-6) for term in terms]
        error, edges = charbonnier(made - original) / usual[0], contrast(made, original, self.times) / usual[1]
        loss = error + self.config.upscaler.contrast_weight * edges
        value, norm = descend(
            loss, "the upscaler", self.upscaler.parameters(), self._optimizers.values(), MAX_GRADIENT_NORM
        )
        update_average(self.averaged, self.upscaler, self.config.training.ema_decay, step)
        return {
            "loss": value, "error": error.item(), "edges": edges.item(), "gradient_norm": norm,
            "rate": float(self._optimizers["matrices"].param_groups[0]["lr"]),
        }  # fmt: skip

    @torch.no_grad()
    def painted(self, small: Tensor) -> Tensor:
        """What the codec makes of frames of the run's size, as bytes."""
        with autocast(self.device, self.dtype):
            found = self.codec.decode(self.codec.encode(small).mode()).float()
        return as_stored(found)

    def _cropped(self, given: Tensor, original: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same part of both, another one of each clip."""
        sides = [min(CROP, side) for side in given.shape[-2:]]
        parts = []
        for small, large in zip(given, original, strict=True):
            tops = [int(torch.randint(n - side + 1, (), generator=generator))
                    for n, side in zip(small.shape[-2:], sides, strict=True)]  # fmt: skip
            cut = [[slice(n * top, n * (top + side)) for top, side in zip(tops, sides, strict=True)]
                   for n in (1, self.times)]  # fmt: skip
            parts.append((small[..., cut[0][0], cut[0][1]], large[..., cut[1][0], cut[1][1]]))
        return torch.stack([a for a, _ in parts]), torch.stack([b for _, b in parts])

    def validate(self) -> dict[str, float]:
        """PSNR and sharpness of held-out footage that the codec painted, enlarged by the average and by Lanczos."""
        learned, plain = self.compared(VALIDATION_WINDOWS)
        return {
            "psnr_db": learned.psnr_db, "lanczos_psnr_db": plain.psnr_db,
            "sharpness_kept": learned.sharpness_kept, "lanczos_sharpness_kept": plain.sharpness_kept,
        }  # fmt: skip

    def compared(self, limit: int) -> tuple[Enlarged, Enlarged]:
        """What the average makes of held-out footage that the codec painted, and what Lanczos makes of it.

        Args:
            limit: at most so many windows.
        """
        rows = [
            [(float(frame_psnr(original, made).mean()), sharpness_kept(original, made)) for made in both]
            for original, _, *both in self._enlarged(self.held_out or "train", limit)
        ]
        learned, plain = (Enlarged(*(float(x) for x in np.mean([row[i] for row in rows], 0))) for i in (0, 1))
        return learned, plain

    def preview(self, folder: Path, step: int) -> None:
        """Lanczos, learned and original beside each other, as `upscale-STEP.png` in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = self._enlarged(self.held_out or "train", PREVIEW_CLIPS)
        cells = [clip[-1] for original, _, learned, plain in rows for clip in (plain, learned, original)]
        write_strip(folder / f"upscale-{step:06d}.png", np.stack(cells), columns=3)

    def export(self) -> Export:
        """The averaged weights; the header says how they compare with Lanczos."""
        tensors = {name: value.detach().clone().cpu() for name, value in self.averaged.state_dict().items()}
        learned, plain = self.compared(4 * VALIDATION_WINDOWS)
        wins = learned.is_better_than(plain)
        verdict = "it is used with --upscale learned" if wins else "Lanczos stays better and is kept"
        return Export(
            tensors, {"stage": self.name, "times": str(self.times), "wins": "yes" if wins else "no"},
            f"upscale: {self.held_out} footage, {self.times} times as large: learned {learned}, Lanczos {plain}: "
            f"{verdict}",
        )  # fmt: skip

    @torch.no_grad()
    def _enlarged(self, split: str, limit: int) -> list[tuple[Frames, Frames, Frames, Frames]]:
        """Originals, what the codec painted of them, and that enlarged by the average and by Lanczos."""
        found: list[tuple[Frames, Frames, Frames, Frames]] = []
        for batch in ClipLoader(self.larger, split, self.num_frames, 2, self.seed).clips(limit):
            given = self.painted(shrunk(to_model(batch.frames, self.device), self.times))
            with autocast(self.device, self.dtype):
                learned = self.averaged(given)
            clips = (to_frames(given), to_frames(learned), to_frames(lanczos(given, self.times)))
            found += list(zip(batch.frames, *clips, strict=True))
        return found


def shrunk(video: Tensor, times: int) -> Tensor:
    """Frames made smaller by area averaging, as preparation does it, and rounded to bytes.

    Args:
        video: (B, 3, T, H, W) in [-1, 1].
        times: by how much; H and W are multiples of it.
    """
    small = F.avg_pool3d(video.float(), (1, times, times))
    return as_stored(small)
