"""The codec's stage: reconstruction first, then the adversary.

    share of the budget   0 ........................ adversary_start ............... 1
    learns                encoder and decoder        decoder and discriminator
    terms                 reconstruction,            reconstruction, frame difference,
                          frame difference, KL       adversary and its features

In the second part the encoder stands still, so that the latents stay what they are (FAR 2025, VidTok 2024): with it the
mean block of the linear path, which encoder and decoder share. The adversary's gradient is scaled to a share of the
reconstruction's, both taken at the decoder's output in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from autoreel.clip import Frames, to_frames, to_model
from autoreel.config import Config
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr, temporal_psnr
from autoreel.models.codec import Codec, fill_first_group, fold
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.discriminators import ConvDiscriminator
from autoreel.runs import RunFolder
from autoreel.training.augment import augment
from autoreel.training.objectives import RECONSTRUCTIONS, balance, feature_matching, relativistic
from autoreel.training.previews import write_clip, write_pairs
from autoreel.training.stage import Export, NonFiniteError, step_generator, update_average

WARM_UP_STEPS = 20
DECAY_FROM = 0.3  # share of the first part after which the rate falls linearly
REST = 0.1  # of the rate, at the end of the first part
ADVERSARIAL_REST = 0.3  # of the rate, at the beginning of the second part
SHORT_AVERAGE = 0.98  # decay in the second part
MAX_GRADIENT_NORM = 1.0
FIT_WINDOWS = 96  # from which the linear path is computed
FIT_BLOCKS = 40_000
STATISTICS_WINDOWS = 64  # from which the latents' mean and deviation are computed
VALIDATION_WINDOWS = 16
PREVIEW_CLIPS = 4
APPROXIMATION = 0.05  # deviation of the noise that stands in for the gradient in R1 and R2
RAMP = 0.2  # share of the second part in which the adversary's weight grows


class CodecStage:
    """Training of the codec. Use `open` for a run folder.

    Args:
        config: of the run.
        store: the footage.
        device: to train on.
        fit: compute the linear path from the footage; not worth its time where a checkpoint replaces it.
    """

    name = "codec"

    def __init__(self, config: Config, store: FootageStore, device: torch.device, *, fit: bool = True) -> None:
        self.seed, self.config, self.store, self.device = config.training.seed, config, store, device
        self.dtype = matrix_dtype(device)
        training = config.training
        self.loader = ClipLoader(
            store, "train", training.codec_frames, training.codec_batch, training.seed, training.mirror
        )
        self.held_out = "validation" if store.split("validation") else None
        objective = config.objective
        self.has_adversary = config.codec.family == "vae-gan" and objective.adversarial_weight > 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.codec = Codec(config.codec)
            self.discriminator = ConvDiscriminator(config.discriminator, config.codec.temporal_stride)
        if fit:
            fit_linear_path(self.codec, self.loader)
        self.codec.to(device)
        self.discriminator.to(device)
        self.averaged = copy.deepcopy(self.codec).requires_grad_(False)
        self._optimizers = self._make_optimizers()

    @classmethod
    def open(cls, run: RunFolder, store: FootageStore, device: torch.device) -> Self:
        """The stage of a run folder.

        Raises:
            FootageError: no footage to train on.
        """
        begun = any(run.path("checkpoints").glob(f"{cls.name}-*"))
        return cls(run.config, store, device, fit=not begun)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        training = self.config.training
        inner = {
            name for name, _ in self.codec.named_parameters()
            if name.endswith(("conv1.weight", "conv2.weight", "conv.weight"))
        }  # fmt: skip
        matrices = [p for name, p in self.codec.named_parameters() if name in inner]
        others = [p for name, p in self.codec.named_parameters() if name not in inner]
        # Orthogonalised momentum (Muon, Jordan et al. 2024): half the steps of Adam's for the same error here.
        optimizers: dict[str, torch.optim.Optimizer] = {
            "matrices": torch.optim.Muon(
                matrices, lr=training.codec_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            ),
            "others": torch.optim.AdamW(
                others, lr=0.1 * training.codec_rate, betas=(0.9, 0.95), weight_decay=0.0
            ),
            "discriminator": torch.optim.AdamW(
                self.discriminator.parameters(), lr=training.discriminator_rate, betas=(0.0, 0.99), weight_decay=0.0
            ),
        }  # fmt: skip
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["base_lr"] = group["lr"]
        return optimizers

    def modules(self) -> Mapping[str, nn.Module]:
        """The codec, its average, and the discriminator."""
        return {"codec": self.codec, "averaged": self.averaged, "discriminator": self.discriminator}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for the matrices inside the blocks, one for the rest, one for the discriminator."""
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update (see `Stage.step`)."""
        training = self.config.training
        adversarial = self.has_adversary and progress >= training.adversary_start
        first_part = training.adversary_start if self.has_adversary else 1.0
        rate = _rate(step, progress, first_part)
        for name in ("matrices", "others"):
            for group in self._optimizers[name].param_groups:
                group["lr"] = group["base_lr"] * rate
        video = to_model(self.loader.batch(step).frames, self.device)
        generator = step_generator(self.seed, self.name, step, self.device)
        if training.augment:
            video = augment(video, step_generator(self.seed, "codec.augment", step), mildly=adversarial)
        if adversarial:
            since = (progress - first_part) / max(1e-9, 1 - first_part)
            metrics = self._adversarial_step(video, generator, min(1.0, since / RAMP), step)
        else:
            metrics = self._reconstruction_step(video, generator)
        # A short second part must not be averaged away.
        decay = min(training.ema_decay, SHORT_AVERAGE) if adversarial else training.ema_decay
        update_average(self.averaged, self.codec, decay, step)
        return metrics | {"rate": float(self._optimizers["matrices"].param_groups[0]["lr"])}

    def _reconstruction_step(self, video: Tensor, generator: torch.Generator) -> dict[str, float]:
        objective = self.config.objective
        with autocast(self.device, self.dtype):
            posterior = self.codec.encode(video)
            made = self.codec.decode(posterior.sample(generator))
        reconstruction = self._reconstruction(made.float(), video)
        kl = posterior.kl()
        loss = reconstruction + objective.kl_weight * kl
        value = _finite("the codec's loss", loss)
        self._zero()
        torch.autograd.backward(loss)
        norm = self._clip("codec")
        self._update("matrices", "others")
        return {"loss": value, "reconstruction": reconstruction.item(), "kl": kl.item(), "gradient_norm": norm}

    def _adversarial_step(
        self, video: Tensor, generator: torch.Generator, ramp: float, step: int
    ) -> dict[str, float]:  # fmt: skip
        objective, codec, judge = self.config.objective, self.codec, self.discriminator
        t = codec.temporal_stride
        with autocast(self.device, self.dtype):
            with torch.no_grad():
                latent = codec.encode(video).mode()
            made = codec.decode(latent)
        out = made.detach().float().requires_grad_()
        reconstruction = self._reconstruction(out, video)
        (gradient,) = torch.autograd.grad(reconstruction, out)
        real, fake = video[:, :, -(video.shape[2] // t * t) :], out[:, :, -(video.shape[2] // t * t) :]

        with autocast(self.device, self.dtype):
            real_logits, real_features = judge(real, real)  # for both sides: the judge is the same until it is updated
        for parameter in judge.parameters():
            parameter.requires_grad_(False)
        with autocast(self.device, self.dtype):
            fake_logits, fake_features = judge(fake, real)
        adversary = relativistic(fake_logits, real_logits.detach())
        terms = {"adversary": adversary.item()}
        pushing = adversary
        if objective.feature_weight:
            features = feature_matching(fake_features, [level.detach() for level in real_features])
            terms["features"] = features.item()
            pushing = adversary + objective.feature_weight * features
        (push,) = torch.autograd.grad(pushing, out)
        for parameter in judge.parameters():
            parameter.requires_grad_(True)

        self._zero()
        total = gradient + balance(gradient, push, objective.adversarial_weight * ramp)
        value = _finite("the codec's loss", reconstruction)
        _finite("the adversary's loss", adversary)
        torch.autograd.backward(made, total.to(made.dtype))
        codec.linear.bias.grad = None  # it is the encoder's too, and the encoder stands still

        penalised = objective.r1_weight > 0 and step % objective.r1_every == 0
        fake = fake.detach()
        with autocast(self.device, self.dtype):
            fake_logits, _ = judge(fake, real)
            penalty = real_logits.new_zeros(())
            if penalised:  # R1 and R2 by finite differences: no second derivatives (Lin et al. 2025, eq. 6)
                for seen, logits in ((real, real_logits), (fake, fake_logits)):
                    noise = torch.randn(seen.shape, generator=generator, device=self.device)
                    near, _ = judge(seen + APPROXIMATION * noise, real)
                    penalty = penalty + (near - logits).square().mean() / APPROXIMATION**2
        judged = relativistic(real_logits, fake_logits)
        judge_loss = judged + objective.r1_weight * objective.r1_every * penalty
        _finite("the discriminator's loss", judge_loss)
        torch.autograd.backward(judge_loss)
        norm = self._clip("codec")
        self._clip("discriminator")  # both are known to be finite before either network changes
        self._update("matrices", "others", "discriminator")
        if penalised:
            terms["penalty"] = penalty.item()
        return {"loss": value, **terms, "discriminator": judged.item(), "gradient_norm": norm}

    def _reconstruction(self, made: Tensor, video: Tensor) -> Tensor:
        term = RECONSTRUCTIONS[self.config.objective.reconstruction]
        error = made - video
        loss = term(error)
        if video.shape[2] > 1 and self.config.objective.difference_weight:
            loss = loss + self.config.objective.difference_weight * term(error[:, :, 1:] - error[:, :, :-1])
        return loss

    def _zero(self) -> None:
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _clip(self, network: str) -> float:
        parameters = [p for p in self.modules()[network].parameters() if p.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM))
        if not np.isfinite(norm):
            raise NonFiniteError(f"the {network}'s gradient")
        return norm

    def _update(self, *names: str) -> None:
        for name in names:
            self._optimizers[name].step()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of held-out windows, of the averaged weights, and of their frame differences."""
        if self.held_out is None:
            return {}
        psnr, changes = [], []
        for original, made in self._rebuilt(self.held_out, VALIDATION_WINDOWS):
            psnr.append(float(frame_psnr(original, made).mean()))
            if len(original) > 1:
                changes.append(temporal_psnr(original, made))
        found = {"psnr_db": float(np.mean(psnr))}
        if changes:
            found["temporal_psnr_db"] = float(np.mean(changes))
        return found

    @torch.no_grad()
    def preview(self, folder: Path, step: int) -> None:
        """Originals over reconstructions, as `codec-STEP.png` and, playing, `codec.mp4` in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        pairs = self._rebuilt(self.held_out or "train", PREVIEW_CLIPS)
        write_pairs(folder / f"codec-{step:06d}.png", np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))
        write_clip(folder / "codec.mp4", [np.concatenate(pair, 1) for pair in pairs], self.store.rate)

    @torch.no_grad()
    def export(self) -> Export:
        """The averaged weights, with the mean and deviation of the footage's latents."""
        latents = []
        loader = ClipLoader(self.store, "train", self.config.training.codec_frames, 4, self.seed)
        for batch in loader.clips(STATISTICS_WINDOWS):
            with autocast(self.device, self.dtype):
                latents.append(self.averaged.encode(to_model(batch.frames, self.device)).mode().float())
        values = torch.cat(latents).transpose(0, 1).flatten(1)
        tensors = {name: tensor.detach().clone().cpu() for name, tensor in self.averaged.state_dict().items()}
        tensors["latent_mean"] = values.mean(1).cpu()
        tensors["latent_deviation"] = values.std(1).clamp(min=1e-4).cpu()
        return Export(tensors, {"stage": self.name, "family": self.config.codec.family})

    def _rebuilt(self, split: str, limit: int) -> list[tuple[Frames, Frames]]:
        loader = ClipLoader(self.store, split, self.config.training.codec_frames, 4, self.seed)
        pairs = []
        for batch in loader.clips(limit):
            with autocast(self.device, self.dtype):
                made = self.averaged.decode(self.averaged.encode(to_model(batch.frames, self.device)).mode())
            pairs += list(zip(batch.frames, to_frames(made), strict=True))
        return pairs


@torch.no_grad()
def fit_linear_path(codec: Codec, loader: ClipLoader) -> None:
    """Set the linear path to the Karhunen-Loeve transform of the footage: principal components of its blocks.

    Args:
        codec: on the CPU.
        loader: of the training side.
    """
    t, path = codec.temporal_stride, codec.linear
    blocks = []
    batches = -(-FIT_WINDOWS // loader.batch_size)
    for step in range(batches):
        video = to_model(loader.batch(step).frames)
        if t > 1:
            video = fill_first_group(video, t)
        found = path.blocks(fold(video, t)[0]).flatten(0, 2)
        # Thinned at once: all blocks of large frames would fill the memory.
        blocks.append(found[torch.linspace(0, len(found) - 1, min(len(found), FIT_BLOCKS // batches)).long()])
    values = torch.cat(blocks)
    mean = values.mean(0)
    if values.shape[1] <= 1024:
        variance, basis = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))
        basis, variance = basis.flip(1), variance.flip(0)
    else:  # the first few components are all that is needed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, deviations, basis = torch.pca_lowrank(values - mean, q=2 * codec.latent_channels, center=False, niter=4)
        variance = deviations.square() / len(values)
    channels = codec.latent_channels
    # Components that the footage does not have (a grey wall) would be divided by nothing.
    deviation = variance[:channels].clamp(min=0).sqrt().clamp(min=1e-2)
    path.fit(mean, basis[:, :channels], deviation)


def _finite(what: str, loss: Tensor) -> float:
    value = loss.item()
    if not np.isfinite(value):
        raise NonFiniteError(what, value)
    return value


def _rate(step: int, progress: float, first_part: float) -> float:
    place = min(1.0, progress / max(first_part, 1e-9))
    last = REST if first_part < 1 else 0.0
    fall = 1.0 if place < DECAY_FROM else last + (1 - last) * (1 - place) / (1 - DECAY_FROM)
    if progress >= first_part < 1:
        fall = ADVERSARIAL_REST * (1 - 0.9 * (progress - first_part) / (1 - first_part))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, fall)
