"""The codec's stage: reconstruction first, then the adversary. Families and losses are terms switched on and off.

    share of the budget   0 ........................ adversary_start ............... 1
    learns                encoder and decoder        decoder and discriminator
    terms    ae           reconstruction ...................................................
             vae          reconstruction, KL ...............................................
             vae-gan      reconstruction, KL         reconstruction, adversary and its features
             gan          adversary, from the first step on: footage against decoded N(0, I)

Reconstruction is the pixels' error and, by their weights, that of frame differences, of the strength of edges, wavelet
bands and LPIPS features.

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
from autoreel.config import ADVERSARIAL, Config
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr, temporal_psnr
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.perceptual import Perceptual
from autoreel.runs import RunFolder
from autoreel.training.adversary import Adversary
from autoreel.training.augment import augment, changed_alike, smaller_or_turned
from autoreel.training.linear_fit import fit_linear_path, fit_rest
from autoreel.training.objectives import RECONSTRUCTIONS, balance, contrast, frame_difference, wavelet
from autoreel.training.previews import write_clip, write_pairs, write_rows
from autoreel.training.stage import (
    Export,
    NonFiniteError,
    finite,
    keep_base_rates,
    pair_of_optimizers,
    set_rates,
    step_generator,
    update_average,
    usable,
)  # fmt: skip

OTHERS_SHARE = 0.1  # of the matrices' rate, for all other weights
WARM_UP_STEPS = 20
DECAY_FROM = 0.3  # share of the first part after which the rate falls linearly
REST = 0.1  # of the rate, at the end of the first part
ADVERSARIAL_REST = 0.3  # of the rate, at the beginning of the second part
SHORT_AVERAGE = 0.98  # decay in the second part
MAX_GRADIENT_NORM = 1.0
MAX_CODEC_NORM = 0.1  # two to five times the usual: one odd clip must not fill the momentum of many steps
STATISTICS_WINDOWS = 64  # from which the latents' mean and deviation are computed
VALIDATION_WINDOWS = 16
PREVIEW_CLIPS = 4
PAINTED_GRID = 2  # pixels; the decoder's last step is a pixel shuffle
RAMP = 0.2  # share of the second part in which the adversary's weight grows


class CodecStage:
    """Training of the codec. Use `open` for a run folder.

    Args:
        config: of the run.
        store: the footage.
        device: to train on.
        fit: compute the linear path from the footage; not worth its time where a checkpoint replaces it.
        perceptual: the network of the LPIPS term, where that has a weight.
    """

    name = "codec"

    def __init__(
        self, config: Config, store: FootageStore, device: torch.device, *, fit: bool = True,
        perceptual: Perceptual | None = None,
    ) -> None:  # fmt: skip
        self.seed, self.config, self.store, self.device = config.training.seed, config, store, device
        self.dtype = matrix_dtype(device)
        training = config.training
        self.loader = ClipLoader(
            store, "train", training.codec_frames, training.codec_batch, training.seed, training.mirror
        )
        self.held_out = "validation" if store.split("validation") else None
        objective = config.objective
        if objective.lpips_weight and perceptual is None:
            raise ValueError("the LPIPS term has a weight; give its network")
        self.has_adversary = config.codec.family in ADVERSARIAL and objective.adversarial_weight > 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.codec = Codec(config.codec)
            self.adversary = Adversary(config, device, self.dtype)
        if fit and self.codec.has_encoder:
            fit_linear_path(self.codec, self.loader)
        self.codec.to(device)
        self.perceptual = perceptual.to(device) if perceptual is not None else None
        self.averaged = copy.deepcopy(self.codec).requires_grad_(False)
        self._optimizers = self._make_optimizers()

    @classmethod
    def open(cls, run: RunFolder, store: FootageStore, device: torch.device, *, fit: bool = True) -> Self:
        """The stage of a run folder; `fit` as above.

        Raises:
            FootageError: no footage to train on.
            RunError: the weights of the LPIPS term's network cannot be used.
        """
        begun = any(run.path("checkpoints").glob(f"{cls.name}-*"))
        return cls(run.config, store, device, fit=fit and not begun, perceptual=Perceptual.of(run.config.objective))

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with the weights of a trained codec, its linear path set right for this footage.

        Args:
            weights: all of them, by name.
        """
        self.codec.load_state_dict(weights)
        if self.codec.has_encoder:
            fit_rest(self.codec, self.loader, self.dtype)
        self.averaged.load_state_dict(self.codec.state_dict())

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        training = self.config.training
        matrices = self.codec.matrices()
        # Updates of the size that the rest needs would for a hundred steps be noise on what least squares have found.
        slow = list(self.codec.linear.parameters()) if self.codec.has_encoder and training.linear_share < 1 else []
        apart = {id(p) for p in (*matrices, *slow)}
        others = [p for p in self.codec.parameters() if id(p) not in apart]
        # Half the steps of Adam's for the same error here.
        optimizers = pair_of_optimizers(matrices, others, training.codec_rate, OTHERS_SHARE)
        if slow:
            rate = training.linear_share * OTHERS_SHARE * training.codec_rate
            optimizers["others"].add_param_group({"params": slow, "lr": rate, "base_lr": rate})
        optimizers["discriminator"] = torch.optim.AdamW(
            self.adversary.judge.parameters(), lr=training.discriminator_rate, betas=(0.0, 0.99), weight_decay=0.0
        )
        keep_base_rates([optimizers["discriminator"]])
        return optimizers

    def modules(self) -> Mapping[str, nn.Module]:
        """The codec, its average, and the adversary's."""
        return {"codec": self.codec, "averaged": self.averaged, **self.adversary.modules()}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for the matrices inside the blocks, one for the rest, one for the discriminator."""
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update (see `Stage.step`)."""
        training = self.config.training
        alone = not self.codec.has_encoder  # the adversary is all there is
        adversarial = self.has_adversary and (alone or progress >= training.adversary_start)
        first_part = training.adversary_start if self.has_adversary and not alone else 1.0
        rate = _rate(step, progress, first_part)
        names = ("matrices", "others", "discriminator") if alone else ("matrices", "others")
        set_rates([self._optimizers[name] for name in names], rate)
        video = to_model(self.loader.batch(step).frames, self.device)
        generator = step_generator(self.seed, self.name, step, self.device)
        if training.augment and not alone:  # a generator would learn to make what the changes make
            video = augment(video, step_generator(self.seed, "codec.augment", step), mildly=adversarial)
        if adversarial:
            since = (progress - first_part) / max(1e-9, 1 - first_part)
            metrics = self._adversarial_step(video, generator, 1.0 if alone else min(1.0, since / RAMP), step)
        else:
            metrics = self._reconstruction_step(video, generator)
        # A short second part must not be averaged away.
        decay = min(training.ema_decay, SHORT_AVERAGE) if adversarial and not alone else training.ema_decay
        update_average(self.averaged, self.codec, decay, step)
        return metrics | {"rate": float(self._optimizers["matrices"].param_groups[0]["lr"])}

    def _reconstruction_step(self, video: Tensor, generator: torch.Generator) -> dict[str, float]:
        objective = self.config.objective
        with autocast(self.device, self.dtype):
            posterior = self.codec.encode(video)
            latent = posterior.sample(generator)
            made = self.codec.decode(self._noised(latent, generator))
        reconstruction = self._reconstruction(made.float(), video)
        loss, terms = reconstruction, {"reconstruction": reconstruction.item()}
        if self.config.codec.family != "ae":
            kl = posterior.kl()
            loss, terms = loss + objective.kl_weight * kl, {**terms, "kl": kl.item()}
        if objective.equivariance_weight:
            latent, video = smaller_or_turned(latent, video, generator, turn=objective.equivariance == "scale-rotation")
            with autocast(self.device, self.dtype):
                made = self.codec.decode(latent)
            equivariance = RECONSTRUCTIONS[objective.reconstruction](made.float() - video)
            loss = loss + objective.equivariance_weight * equivariance
            terms["equivariance"] = equivariance.item()
        value = usable("the codec's loss", loss)
        self._zero()
        torch.autograd.backward(loss)
        norm = self._clip("codec", MAX_CODEC_NORM)
        self._update("matrices", "others")
        return {"loss": value, **terms, "gradient_norm": norm}

    def _adversarial_step(
        self, video: Tensor, generator: torch.Generator, ramp: float, step: int
    ) -> dict[str, float]:  # fmt: skip
        codec, adversary, weight = self.codec, self.adversary, self.config.objective.adversarial_weight
        with autocast(self.device, self.dtype):
            if codec.has_encoder:
                with torch.no_grad():
                    latent = codec.encode(video).mode()
                latent = self._noised(latent, generator)
            else:
                latent = self._drawn(len(video), generator)
            made = codec.decode(latent)
        out = made.detach().float().requires_grad_()
        real, fake = adversary.judged(video), adversary.judged(out)
        if self.config.discriminator.augment:
            real, fake = changed_alike((real, fake), step_generator(self.seed, "codec.judged", step))

        seen = adversary.look(real, fake.detach())  # for both sides: the judge is the same until it is updated
        pushing, terms = adversary.push(fake, real, seen)
        finite("the adversary's loss", pushing)
        (push,) = torch.autograd.grad(pushing, out)
        if codec.has_encoder:
            reconstruction = self._reconstruction(out, video)
            value = usable("the codec's loss", reconstruction)
            (gradient,) = torch.autograd.grad(reconstruction, out)
            total = gradient + balance(gradient, push, weight * ramp)
        else:
            value, total = 0.0, weight * push
        self._zero()
        torch.autograd.backward(made, total.to(made.dtype))
        if codec.has_encoder:
            codec.linear.bias.grad = None  # it is the encoder's too, and the encoder stands still

        judge_loss, judge_terms = adversary.learn(fake.detach(), real, seen, generator, step)
        finite("the discriminator's loss", judge_loss)
        torch.autograd.backward(judge_loss)
        norm = self._clip("codec", MAX_GRADIENT_NORM)
        self._clip("discriminator", MAX_GRADIENT_NORM)  # both are known to be finite before either network changes
        self._update("matrices", "others", "discriminator")
        adversary.updated()
        if not codec.has_encoder:  # the value of the game (Goodfellow et al. 2014): below zero, its size means nothing
            value = -judge_terms["discriminator"]
        return {"loss": value, **terms, **judge_terms, "gradient_norm": norm}

    def _noised(self, latent: Tensor, generator: torch.Generator) -> Tensor:
        """Latents with noise of any deviation up to the config's: a prior's are not perfect either (LTX-Video 2024)."""
        most = self.config.objective.latent_noise
        if not most:
            return latent
        shape = (len(latent), 1, 1, 1, 1)
        level = most * torch.rand(shape, generator=generator, device=self.device)
        return latent + level * torch.randn(latent.shape, generator=generator, device=self.device)

    def _drawn(self, clips: int, generator: torch.Generator) -> Tensor:
        """Latents from N(0, I), of as many frames as a training window has."""
        codec, training = self.codec, self.config.training
        size = (self.store.size[0] // codec.spatial_stride, self.store.size[1] // codec.spatial_stride)
        groups = 1 + (training.codec_frames - 1) // codec.temporal_stride
        return torch.randn((clips, codec.latent_channels, groups, *size), generator=generator, device=self.device)

    def _reconstruction(self, made: Tensor, video: Tensor) -> Tensor:
        objective = self.config.objective
        term = RECONSTRUCTIONS[objective.reconstruction]
        error = made - video
        loss = term(error)
        if video.shape[2] > 1 and objective.difference_weight:
            stride = self.config.codec.temporal_stride
            changed = frame_difference(error, term, stride, objective.border_weight)
            loss = loss + objective.difference_weight * changed
        if objective.wavelet_weight:
            loss = loss + objective.wavelet_weight * wavelet(error, term)
        if objective.contrast_weight and min(video.shape[-2:]) > PAINTED_GRID:
            loss = loss + objective.contrast_weight * contrast(made, video, PAINTED_GRID)
        if self.perceptual is not None:
            with autocast(self.device, self.dtype):
                loss = loss + objective.lpips_weight * self.perceptual(made, video)
        return loss

    def _zero(self) -> None:
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _clip(self, network: str, most: float) -> float:
        parameters = [p for p in self.modules()[network].parameters() if p.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, most))
        if not np.isfinite(norm):
            raise NonFiniteError(f"the {network}'s gradient")
        return norm

    def _update(self, *names: str) -> None:
        for name in names:
            self._optimizers[name].step()
        self.codec.hold_gains()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of held-out windows, of the averaged weights, and of their frame differences."""
        if self.held_out is None or not self.codec.has_encoder:
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
        """Originals over reconstructions, as `codec-STEP.png` and, playing, `codec.mp4` in `folder`.

        Of a codec without an encoder, what it makes of N(0, I).
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not self.codec.has_encoder:
            with autocast(self.device, self.dtype):
                drawn = self._drawn(PREVIEW_CLIPS, step_generator(self.seed, "codec.preview", 0, self.device))
                made = to_frames(self.averaged.decode(drawn))
            write_rows(folder / f"codec-{step:06d}.png", made)
            write_clip(folder / "codec.mp4", list(made), self.store.rate)
            return
        pairs = self._rebuilt(self.held_out or "train", PREVIEW_CLIPS)
        write_pairs(folder / f"codec-{step:06d}.png", np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))
        write_clip(folder / "codec.mp4", [np.concatenate(pair, 1) for pair in pairs], self.store.rate)

    @torch.no_grad()
    def export(self) -> Export:
        """The averaged weights, with the mean and deviation of the footage's latents."""
        tensors = {name: tensor.detach().clone().cpu() for name, tensor in self.averaged.state_dict().items()}
        if self.codec.has_encoder:  # else they are drawn from N(0, I)
            latents = []
            loader = ClipLoader(self.store, "train", self.config.training.codec_frames, 4, self.seed)
            for batch in loader.clips(STATISTICS_WINDOWS):
                with autocast(self.device, self.dtype):
                    latents.append(self.averaged.encode(to_model(batch.frames, self.device)).mode().float())
            values = torch.cat(latents).transpose(0, 1).flatten(1)
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


def _rate(step: int, progress: float, first_part: float) -> float:
    place = min(1.0, progress / max(first_part, 1e-9))
    last = REST if first_part < 1 else 0.0
    fall = 1.0 if place < DECAY_FROM else last + (1 - last) * (1 - place) / (1 - DECAY_FROM)
    if progress >= first_part < 1:
        fall = ADVERSARIAL_REST * (1 - 0.9 * (progress - first_part) / (1 - first_part))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, fall)
