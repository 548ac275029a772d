"""The prior's stage: one flow-matching update on cached latents.

Two kinds of steps, by noise levels in the order of the sequence; their shares are in the config:

    behind clean context    seen     0  0  0  0  0       lightly noised copies, as in a rollout
                            learned  .3 .8 .1 .6 .9 .4   each sees the copies before it and itself
    alone                   learned  .3 .8 .1 .6 .9 .4   each sees the noisy ones before it
                            or       .6 .6 .6 .6 .6 .6   of equal level

The first is what sampling meets, for every frame of a window in one pass. Every frame has its own level (Diffusion
Forcing, Chen et al. 2024); equal levels because else the network copies a near-clean neighbour on still footage. In a
share of the windows the end is moved forward in the sequence: a known future, which is only seen. Of the others that
skip frames after their first, a share sees context that drifts towards another scene, as in minutes of film; the first
frame is kept, to go by.

Where footage is little, half of the windows are mirrored (training/latents.py), and the network is told which, so that
nothing mirrored is made.

In the last `own_context_share` of the training at least half of the steps are of the first kind, and the copies are
what the network makes of footage (training/own_context.py).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autoreel.clip import to_frames
from autoreel.config import Config, PriorConfig
from autoreel.data.store import FootageStore
from autoreel.generation.draws import Gaussian
from autoreel.generation.drift import write_look
from autoreel.generation.rollout import Sampling, roll_out
from autoreel.generation.sampler import level_shift, shift_levels
from autoreel.generation.timeline import NO_LABEL, generate
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.prior import Prior
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, StageState
from autoreel.training.budget import Budget
from autoreel.training.latents import LatentWindows, cached_latents
from autoreel.training.own_context import own_context
from autoreel.training.previews import write_clip, write_rows
from autoreel.training.stage import (
    Export,
    descend,
    pair_of_optimizers,
    set_rates,
    step_generator,
    update_average,
    warm_then_fall,
)  # fmt: skip
from autoreel.training.styles import Styles, examples

WARM_UP_STEPS = 30
DECAY_FROM = 0.5  # share of the budget after which the rate falls linearly
LAST_RATE = 0.02
MAX_GRADIENT_NORM = 1.0
VALIDATION_WINDOWS = 32
VALIDATION_LEVELS = (0.3, 0.6, 0.9)
PREVIEW_LABELS = 8
STYLE_COLUMNS = 8
OWN_CONTEXT_STEPS = 0.5  # of those in the part of the training that shows the network what it makes, at least
MOST_DRIFT = 0.3  # of the way to the other scene
UNIFORM_LEVELS = 0.1  # of the levels, evenly from 0 to 1, a third of them 1: sampling begins there, others never come


class PriorStage:
    """Training of the prior. Use `open` for a run folder.

    Args:
        config: of the run.
        codec: trained, for previews.
        train: windows to learn from.
        validation: held-out windows; None when there are none.
        num_labels: how many labels there are.
        rate: frames per second, of previews.
        device: to train on.
    """

    name = "prior"

    def __init__(
        self,
        config: Config,
        codec: VideoCodec,
        train: LatentWindows,
        validation: LatentWindows | None,
        num_labels: int,
        rate: Fraction,
        device: torch.device,
    ) -> None:
        self.seed, self.config, self.device = config.training.seed, config, device
        self.codec, self.train, self.validation = codec, train, validation
        self.num_labels, self.frame_rate = num_labels, rate
        _, channels, height, width = train.latents.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.prior = Prior(config.prior, channels, (height, width), num_labels).to(device)
        self.averaged = copy.deepcopy(self.prior).requires_grad_(False).eval()
        self.dtype = matrix_dtype(device)
        self.shift = level_shift(channels * height * width)
        base = config.training.prior_rate
        matrices = self.prior.matrices()
        inside = {id(p) for p in matrices}
        others = [p for p in self.prior.parameters() if id(p) not in inside]
        self._optimizers = pair_of_optimizers(matrices, others, base, 1.0)

    @classmethod
    def open(
        cls, run: RunFolder, store: FootageStore, codec: VideoCodec, device: torch.device, budget: Budget
    ) -> PriorStage:  # fmt: skip
        """Take the footage's latents from the run folder, or encode them now.

        Args:
            run: whose config and folder to use.
            store: the footage.
            codec: trained; it is put on `device` and into evaluation.
            device: to train on.
            budget: of this stage; how much footage is encoded follows it.

        Raises:
            OutputError: the latents cannot be written.
        """
        codec = codec.to(device).eval().requires_grad_(False)
        train = cached_latents(run, store, "train", codec, device, budget)
        if train is None:
            raise ValueError("the footage store has no training shots")
        validation = cached_latents(run, store, "validation", codec, device, budget)
        write_look(run, store)
        names = store.labels
        if not names:
            styles = styles_of(run, train, codec)
            if styles is not None:
                names, train = styles.names, train.labelled(styles.of(train.as_shot))
                validation = validation and validation.labelled(styles.of(validation))
        if names != run.manifest.labels:
            run.update(labels=names)
        if run.manifest.codec_hash is not None:
            for old in run.root.glob("gaussian-*.safetensors"):
                old.unlink()
            fitted = Gaussian.fit(train.as_shot.latents, train.as_shot.starts)
            fitted.save(run.path(f"gaussian-{run.manifest.codec_hash}.safetensors"))
        return cls(run.config, codec, train, validation, len(names), store.rate, device)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network and its average."""
        return {"prior": self.prior, "averaged": self.averaged}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for the matrices inside the blocks, one for the rest."""
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update (see `Stage.step`)."""
        config = self.config.prior
        rate = warm_then_fall(step, progress, warm_up=WARM_UP_STEPS, last=LAST_RATE, fall_from=DECAY_FROM)
        set_rates(self._optimizers.values(), rate)
        generator = step_generator(self.seed, self.name, step)
        batch = self.config.training.prior_batch
        latents, times, labels, mirrored = self.train.draw(generator, batch, config.window)
        labels = torch.where(torch.rand(len(labels), generator=generator) < config.label_dropout, NO_LABEL, labels)
        own = progress > 1 - config.own_context_share
        share = max(config.behind_clean_share, OWN_CONTEXT_STEPS) if own else config.behind_clean_share
        is_behind = float(torch.rand((), generator=generator)) < share
        levels = draw_levels(generator, len(labels), config, self.shift)
        counted, context = torch.ones_like(levels), None
        if is_behind:
            order, counted = draw_order(generator, len(labels), config)
            latents, times = reorder(latents, times, order)
            seen = latents
            if own:
                seen = self._own_context(latents, times, labels, mirrored, generator)
            seen = drift_context(generator, seen, times, counted, config)
            context = draw_context(generator, seen, config)
        noise = torch.randn(latents.shape, generator=generator)
        # What is dropped is decided by the step alone, as all else.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            error = self._errors(self.prior, latents, levels, times, labels, noise, context, mirrored)
        counted = counted.to(self.device)
        loss = (error * counted).sum() / counted.sum()
        value, norm = descend(
            loss, "the prior", self.prior.parameters(), self._optimizers.values(), MAX_GRADIENT_NORM
        )
        update_average(self.averaged, self.prior, self.config.training.ema_decay, step)
        return {"loss": value, "gradient_norm": norm, "rate": float(self._optimizers["matrices"].param_groups[0]["lr"])}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Flow loss on held-out windows at fixed levels and noise: of a first frame, and of one after clean context."""
        if self.validation is None:
            return {}
        latents, times, labels, _ = self.validation.spread(VALIDATION_WINDOWS, self.config.prior.window)
        generator = step_generator(self.seed, "prior.validation", 0)
        found: dict[str, float] = {}
        for name, frames in (("first", 1), ("next", self.config.prior.window)):
            errors = []
            for level in VALIDATION_LEVELS:
                levels = torch.full((len(labels), frames), self.config.prior.context_noise)
                levels[:, -1] = level
                part = latents[:, :, :frames]
                noise = torch.randn(part.shape, generator=generator)
                errors.append(self._errors(self.averaged, part, levels, times[:, :frames], labels, noise)[:, -1].mean())
            found[f"flow_{name}"] = float(torch.stack(errors).mean())
        found["loss"] = 0.5 * (found["flow_first"] + found["flow_next"])
        return found

    def preview(self, folder: Path, step: int) -> None:
        """A made clip of each label: `prior-STEP.png`, a row of frames each, and `prior.mp4` in `folder`."""
        labels = list(range(self.num_labels))[:PREVIEW_LABELS] or [NO_LABEL]
        config = self.config.prior
        blank = generate(config.window, (self.prior.latent_channels, *self.prior.latent_size))
        sampling = Sampling(steps=config.steps, guidance=config.guidance, context_noise=config.context_noise)
        with torch.no_grad(), autocast(self.device, self.dtype):
            made = roll_out(self.averaged, [blank.of(label, self.seed) for label in labels], sampling)
            video = self.codec.decode(self.codec.denormalise(torch.cat(list(made), 2)))
        frames = to_frames(video)
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / f"prior-{step:06d}.png", frames)
        write_clip(folder / "prior.mp4", list(frames), self.frame_rate)

    def export(self) -> Export:
        """The averaged weights."""
        tensors = {name: tensor.detach().clone() for name, tensor in self.averaged.state_dict().items()}
        return Export(tensors, {"stage": self.name})

    def _own_context(
        self, latents: Tensor, times: Tensor, labels: Tensor, mirrored: Tensor, generator: torch.Generator
    ) -> Tensor:  # fmt: skip
        config = self.config.prior
        latents, times, labels, mirrored = (x.to(self.device) for x in (latents, times, labels, mirrored))
        with autocast(self.device, self.dtype):
            return own_context(
                self.averaged, latents, times, labels, generator,
                guidance=config.guidance, guided_above=Sampling.guided_above, mirrored=mirrored,
            ).cpu()  # fmt: skip

    def _errors(
        self, prior: Prior, latents: Tensor, levels: Tensor, times: Tensor, labels: Tensor, noise: Tensor,
        context: tuple[Tensor, Tensor] | None = None, mirrored: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Mean squared error of the velocity, (B, T); behind frames as they are seen, and their levels, if given."""
        latents, levels, times, labels, noise = (
            x.to(self.device) for x in (latents, levels, times, labels, noise)
        )  # fmt: skip
        t, frames = levels[:, None, :, None, None], latents.shape[2]
        x, bias = (1 - t) * latents + t * noise, None
        if context is not None:
            seen, seen_levels = (part.to(self.device)[:, :, : frames - 1] for part in context)
            x, bias = torch.cat([seen, x], 2), prior.clean_context_bias(frames)
            levels, times = torch.cat([seen_levels[:, 0], levels], 1), torch.cat([times[:, :-1], times], 1)
        told = None if mirrored is None else mirrored.to(self.device)
        with autocast(self.device, self.dtype):
            velocity = prior(x, levels, times, labels, bias=bias, mirrored=told)[:, :, -frames:]
        error: Tensor = (velocity.float() - (noise - latents)).square().mean((1, 3, 4))
        return error


def styles_of(run: RunFolder, train: LatentWindows, codec: VideoCodec) -> Styles | None:
    """The styles of footage without labels: those of the run, or found now and shown in samples/styles.png.

    Args:
        run: where they are kept, as long as its codec stays the same.
        train: windows of the training side.
        codec: that made them.

    Returns:
        None where none are found, or where the prior has begun without them.

    Raises:
        OutputError: they cannot be written.
    """
    codec_hash = run.manifest.codec_hash
    path = run.path(f"styles-{codec_hash}.safetensors")
    begun = codec_hash is not None and run.manifest.stages.get("prior", StageState()).codec_hash == codec_hash
    if path.exists() and run.manifest.labels:
        return Styles.load(path, codec.latent_channels, len(run.manifest.labels))
    styles = None if begun else Styles.find(train.as_shot, run.config.training.seed)
    for old in run.root.glob("styles-*.safetensors"):
        old.unlink()
    if styles is None:
        return None
    styles.save(path)
    folder = run.path("samples")
    folder.mkdir(exist_ok=True)
    rows = []
    for found in examples(train.as_shot, styles, STYLE_COLUMNS):
        latents = found.to(codec.latent_mean.device)[:, :, None]
        pictures = to_frames(codec.decode(codec.denormalise(latents)))[:, 0]
        rows.append(np.concatenate([pictures, np.zeros_like(pictures[:1]).repeat(STYLE_COLUMNS - len(pictures), 0)]))
    write_rows(folder / "styles.png", np.stack(rows), STYLE_COLUMNS)
    return styles


def draw_levels(generator: torch.Generator, batch: int, config: PriorConfig, shift: float) -> Tensor:
    """Noise levels of the frames of training windows, (B, T), most of them logit-normal.

    Args:
        generator: of the step.
        batch: windows.
        config: the window, and the share of those whose frames have one level.
        shift: of levels, for the size of a latent frame.
    """
    shape = (batch, config.window)
    level = shift_levels(torch.sigmoid(torch.randn(shape, generator=generator)), shift)
    even = (1.5 * torch.rand(shape, generator=generator)).clamp(max=1.0)
    level = torch.where(torch.rand(shape, generator=generator) < UNIFORM_LEVELS, even, level)
    return torch.where(torch.rand(batch, 1, generator=generator) < config.equal_level_share, level[:, :1], level)


def draw_order(generator: torch.Generator, batch: int, config: PriorConfig) -> tuple[Tensor, Tensor]:
    """Which frame of the window stands at each place of the sequence, and which places are learned.

    Args:
        generator: of the step.
        batch: windows.
        config: the window, and the share of those whose end is known.

    Returns:
        order, int64 (B, T), and counted, float (B, T): 0 for a known end.
    """
    frames = config.window
    place = torch.arange(frames)
    future = torch.randint(1, 3, (batch, 1), generator=generator).clamp(max=frames - 1)
    past = (torch.rand(batch, 1, generator=generator) * (frames - future)).long()  # at least one frame is made
    moved = torch.rand(batch, 1, generator=generator) < config.reorder_share
    # past, then the last `future` frames, then what is between them
    later = torch.where(place < past + future, place - past + frames - future, place - future)
    order = torch.where(place < past, place, later)
    known = moved & (place >= past) & (place < past + future)
    return torch.where(moved, order, place), 1.0 - known.float()


def drift_context(
    generator: torch.Generator, latents: Tensor, times: Tensor, counted: Tensor, config: PriorConfig
) -> Tensor:
    """Frames as a rollout shows them that drifts into another scene; the first frame, which stays in view, is kept.

    The mean of a window's later frames, its scene, is led a part of the way to that of the next window of the batch, as
    in mixup (Zhang et al. 2018). Learned is the frame that the footage has next, so what drifted is taken back. In a
    batch of one window, and in footage of one scene, there is nothing to drift to. The mean also contains the frames
    to be learned, which a rollout does not have yet; each is a small part of it, and rollouts were not seen to suffer.

    Args:
        generator: of the step.
        latents: (B, C, T, h, w), in the order of the sequence.
        times: (B, T).
        counted: (B, T), 0 for a known end.
        config: the share of the windows that have no known end (what is given is true) and skip frames after their
            first (else a rollout has hardly begun).

    Returns:
        Latents of the same shape.
    """
    if not config.drift_share:
        return latents  # and nothing is drawn: runs of before this was learned go on as they were begun
    later = (times > 0).float()[:, None, :, None, None]
    scene = (latents * later).sum(2, keepdim=True) / later.sum(2, keepdim=True)
    may = (counted > 0).all(1) & (times[:, 1] > 1)
    drifts = may & (torch.rand(len(latents), generator=generator) < config.drift_share)
    amount = MOST_DRIFT * torch.rand(len(latents), generator=generator) * drifts
    return latents + amount[:, None, None, None, None] * later * (scene.roll(1, 0) - scene)


def draw_context(generator: torch.Generator, latents: Tensor, config: PriorConfig) -> tuple[Tensor, Tensor]:
    """Frames as they are seen by those that come after them: noised a little.

    Args:
        generator: of the step.
        latents: (B, C, T, h, w).
        config: how much.

    Returns:
        Latents of the same shape, and their levels (B, 1, T), from none to twice that of sampling.
    """
    level = 2 * config.context_noise * torch.rand(len(latents), 1, latents.shape[2], generator=generator)
    t = level[..., None, None]
    return (1 - t) * latents + t * torch.randn(latents.shape, generator=generator), level


def reorder(latents: Tensor, times: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Put the frames of each window into the order of its sequence.

    Args:
        latents: (B, C, T, h, w).
        times: (B, T).
        order: int64 (B, T).
    """
    rows = torch.arange(len(order))[:, None]
    return latents.transpose(1, 2)[rows, order].transpose(1, 2), times.gather(1, order)
