"""The refinement's stage: the encoder learns to read what the decoder paints, so that re-encoding drifts less.

    latent z  --decoder (stands still), to bytes-->  video  --encoder-->  z' should be z

Half of the latents are generated (by the prior, or from N(0, I) where there is none); the others are of footage, every
second of them of footage that was painted once already. Footage itself goes on being read as before: the latents, and
with them prior and decoder, stay valid. Only the encoder's convolutional path changes; it is kept in a file of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autoreel.clip import Frames, as_stored, to_frames, to_model
from autoreel.config import Config
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.errors import UsageError
from autoreel.evaluation.metrics import frame_psnr
from autoreel.generation.rollout import Sampling, roll_out
from autoreel.generation.timeline import NO_LABEL, generate
from autoreel.models.codec import MATRICES, Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.prior import Prior
from autoreel.training.previews import write_clip, write_pairs
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
POOL_CLIPS = 32  # that the prior makes, once, to learn from
POOL_AT_ONCE = 8
VALIDATION_WINDOWS = 4
PREVIEW_CLIPS = 4
TIMES = 5  # that footage is encoded and decoded for validation and previews


class RefineStage:
    """Training of the encoder on generated video.

    Args:
        config: of the run.
        codec: trained; it is put on `device` and stands still, but for a copy of its encoder.
        prior: trained; None draws latents from N(0, I).
        store: the footage.
        device: to train on.

    Raises:
        UsageError: a codec without an encoder.
    """

    name = "refine"

    def __init__(
        self, config: Config, codec: Codec, prior: Prior | None, store: FootageStore, device: torch.device
    ) -> None:  # fmt: skip
        if not codec.has_encoder:
            raise UsageError("the family gan has no encoder to refine")
        training = config.training
        self.seed, self.config, self.store, self.device = training.seed, config, store, device
        self.dtype = matrix_dtype(device)
        self.loader = ClipLoader(
            store, "train", training.codec_frames, training.codec_batch, training.seed, training.mirror
        )
        self.held_out = "validation" if store.split("validation") else None
        self.before = codec.to(device).eval().requires_grad_(False)
        self.pool = self._pool(prior.to(device).eval()) if prior is not None else None
        self.codec = copy.deepcopy(self.before)
        self.codec.encoder.requires_grad_(True)
        self.averaged = copy.deepcopy(self.before)
        # How much a latent's change changes the picture, by channel: of the linear path, which paints most of it.
        painted = codec.linear.up.detach().square().sum((0, 2, 3))  # of its own group, and of the next
        energy = painted.view(-1, codec.latent_channels).sum(0) * codec.latent_deviation.square()
        self.weight = (energy / energy.mean() / codec.latent_deviation.square()).view(1, -1, 1, 1, 1).to(device)
        encoder, base = self.codec.encoder, training.refine_rate
        matrices = [p for name, p in encoder.named_parameters() if name.endswith(MATRICES)]
        inside = {id(p) for p in matrices}
        others = [p for p in encoder.parameters() if id(p) not in inside]
        self._optimizers = pair_of_optimizers(matrices, others, base, 0.1)

    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder and its average."""
        return {"refine": self.codec.encoder, "averaged": self.averaged.encoder}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for the matrices inside the blocks, one for the rest."""
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update (see `Stage.step`)."""
        rate = warm_then_fall(step, progress, warm_up=WARM_UP_STEPS, last=LAST_RATE)
        set_rates(self._optimizers.values(), rate)
        video = to_model(self.loader.batch(step).frames, self.device)
        generator = step_generator(self.seed, self.name, step)
        with torch.no_grad(), autocast(self.device, self.dtype):
            known = self.before.encode(video).mode().float()
            latent = self._latents(known, generator)
            painted = as_stored(self.before.decode(latent))
        with autocast(self.device, self.dtype):
            again, read = self.codec.encode(painted).mean, self.codec.encode(video).mean
        drift, anchor = self._distance(again, latent), self._distance(read, known)
        loss = drift + self.config.training.refine_anchor * anchor
        value, norm = descend(
            loss, "the refinement", self.codec.encoder.parameters(), self._optimizers.values(), MAX_GRADIENT_NORM
        )
        update_average(self.averaged.encoder, self.codec.encoder, self.config.training.ema_decay, step)
        return {
            "loss": value, "drift": drift.item(), "anchor": anchor.item(), "gradient_norm": norm,
            "rate": float(self._optimizers["matrices"].param_groups[0]["lr"]),
        }  # fmt: skip

    def _latents(self, known: Tensor, generator: torch.Generator) -> Tensor:
        """What is painted: the first half generated, the rest of footage, every second of it painted once already."""
        half = max(1, len(known) // 2) if len(known) > 1 else int(torch.randint(2, (), generator=generator))
        if self.pool is not None:
            drawn = self.pool[torch.randint(len(self.pool), (half,), generator=generator)].to(self.device)
        else:
            drawn = torch.randn((half, *known.shape[1:]), generator=generator).to(self.device)
        rest = known[half:]
        if len(rest) > 1:
            once = self.before.encode(as_stored(self.before.decode(rest[1::2]))).mode().float()
            rest = torch.cat([rest[::2], once])
        return torch.cat([self.before.denormalise(drawn), rest])

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = ((a.float() - b).square() * self.weight).mean()
        return found

    @torch.no_grad()
    def _pool(self, prior: Prior) -> Tensor:
        """Latents of clips that the prior makes (N, C, T, h, w), normalised, on the CPU; the same for the same seed."""
        config, training = self.config.prior, self.config.training
        groups = 1 + (training.codec_frames - 1) // self.before.temporal_stride
        blank = generate(groups, (prior.latent_channels, *prior.latent_size))
        sampling = Sampling(
            steps=config.steps, guidance=config.guidance, context_noise=config.context_noise, dtype=self.dtype
        )
        labels = [i % prior.num_labels if prior.num_labels else NO_LABEL for i in range(POOL_CLIPS)]
        rows = [blank.of(label, training.seed + i) for i, label in enumerate(labels)]
        parts = [
            torch.cat(list(roll_out(prior, rows[i : i + POOL_AT_ONCE], sampling)), 2).float().cpu()
            for i in range(0, POOL_CLIPS, POOL_AT_ONCE)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of held-out footage after one and after several generations of encoding and decoding."""
        if self.held_out is None:
            return {}
        found: dict[str, list[float]] = {}
        for original, made in self._rebuilt(self.held_out, VALIDATION_WINDOWS):
            for times in (1, TIMES):
                found.setdefault(f"psnr_db_{times}", []).append(float(frame_psnr(original, made[times]).mean()))
        return {name: float(np.mean(values)) for name, values in found.items()}

    @torch.no_grad()
    def preview(self, folder: Path, step: int) -> None:
        """Originals over their fifth generation, as `refine-STEP.png` and, playing, `refine.mp4` in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        pairs = [(a, made[TIMES]) for a, made in self._rebuilt(self.held_out or "train", PREVIEW_CLIPS)]
        write_pairs(folder / f"refine-{step:06d}.png", np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))
        write_clip(folder / "refine.mp4", [np.concatenate(pair, 1) for pair in pairs], self.store.rate)

    def export(self) -> Export:
        """The averaged encoder."""
        tensors = {name: value.detach().clone().cpu() for name, value in self.averaged.encoder.state_dict().items()}
        return Export(tensors, {"stage": self.name})

    def _rebuilt(self, split: str, limit: int) -> list[tuple[Frames, dict[int, Frames]]]:
        pairs = []
        for batch in ClipLoader(self.store, split, self.config.training.codec_frames, 4, self.seed).clips(limit):
            made = generations(self.averaged, batch.frames, (1, TIMES), self.device)
            pairs += [(clip, {n: frames[i] for n, frames in made.items()}) for i, clip in enumerate(batch.frames)]
        return pairs


@torch.no_grad()
def generations(codec: Codec, frames: Frames, times: tuple[int, ...], device: torch.device) -> dict[int, Frames]:
    """Encode and decode clips again and again, as bytes in between.

    Args:
        codec: on `device`.
        frames: uint8 (B, T, H, W, 3), T a length that the codec takes.
        times: after how many generations they are kept.
        device: where to compute.

    Returns:
        uint8 (B, T, H, W, 3) for each of `times`.
    """
    found, made, dtype = {}, frames, matrix_dtype(device)
    for count in range(1, max(times) + 1):
        with autocast(device, dtype):
            made = to_frames(codec.decode(codec.encode(to_model(made, device)).mode()))
        if count in times:
            found[count] = made
    return found
