"""The adversary of a codec: a discriminator, what it pushes the decoder to, and what it learns itself.

    footage   real -- look --------> logits, features
    painted   made -- look, frozen -> logits, features   --> push: gradient at what was painted
              made -- look --------> logits              --> learn: gradient of the discriminator

Where the discriminator sees a partner, it is given both pictures of a pair, and is to say whether the first one is the
footage (the reconstruction GAN of LTX-Video 2024): footage beside what was painted of it, and the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoreel.config import Config
from autoreel.models.codec import fill_first_group
from autoreel.models.compute import autocast
from autoreel.models.discriminators import discriminator_of
from autoreel.training.objectives import ADVERSARIES, feature_matching, gradient_penalty, lecam

APPROXIMATION = 0.05  # deviation of the noise that stands in for the gradient in R1 and R2
AVERAGE_DECAY = 0.99  # of the logits' averages

Look = tuple[Tensor, list[Tensor]]
"""Logits, and the features of each level."""


class LogitAverages(nn.Module):
    """What the discriminator usually says (LeCAM, Tseng et al. 2021): state of the training, saved with it."""

    real: Tensor
    made: Tensor
    updates: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("real", "made", "updates"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def follow(self, real: Tensor, made: Tensor) -> None:
        """Move the averages one update on; the first ones forget fast."""
        rest = 1 - torch.clamp((1 + self.updates) / (10 + self.updates), max=AVERAGE_DECAY)
        rest = torch.where(self.updates == 0, torch.ones_like(rest), rest)
        self.real.lerp_(real.mean(), rest)
        self.made.lerp_(made.mean(), rest)
        self.updates += 1


class Adversary:
    """A discriminator in training.

    Args:
        config: of the run.
        device: where it lies.
        dtype: of its matrix products.
    """

    def __init__(self, config: Config, device: torch.device, dtype: torch.dtype) -> None:
        self.objective, self.device, self.dtype = config.objective, device, dtype
        self.loss = ADVERSARIES[config.objective.adversary]
        self.temporal_stride = config.codec.temporal_stride
        self.is_paired = config.codec.family != "gan"  # what is painted has an original
        self.judge = discriminator_of(config.discriminator, config.codec.temporal_stride).to(device)
        self.averages = LogitAverages().to(device) if config.objective.lecam_weight else None
        self._said: tuple[Tensor, Tensor] | None = None  # logits that the averages do not know yet

    def modules(self) -> Mapping[str, nn.Module]:
        """What a checkpoint saves."""
        return {"discriminator": self.judge, **({"logits": self.averages} if self.averages is not None else {})}

    def judged(self, video: Tensor) -> Tensor:
        """The frames that are judged: whole groups; where nothing else teaches the first frame, it fills one.

        Args:
            video: (B, 3, 1 + k * t, H, W).

        Returns:
            (B, 3, G * t, H, W).
        """
        t = self.temporal_stride
        if self.is_paired:
            return video[:, :, -(video.shape[2] // t * t) :]
        return fill_first_group(video, t) if t > 1 else video

    def look(self, video: Tensor, partner: Tensor) -> Look:
        """Judge; the partner, the other one of its pair, counts where the discriminator sees it."""
        with autocast(self.device, self.dtype):
            found: Look = self.judge(video, partner)
            return found

    def push(self, made: Tensor, real: Tensor, seen: Look) -> tuple[Tensor, dict[str, float]]:
        """What the decoder is to minimise, and its terms.

        Args:
            made: as `judged`, with a gradient.
            real: what it is compared with, of the same shape.
            seen: `look` at the real one, beside what was made.
        """
        for parameter in self.judge.parameters():
            parameter.requires_grad_(False)
        logits, features = self.look(made, real)
        for parameter in self.judge.parameters():
            parameter.requires_grad_(True)
        pushing = self.loss.maker(seen[0].detach(), logits)
        terms = {"adversary": pushing.item()}
        if self.objective.feature_weight and self.is_paired:
            distance = feature_matching(features, [level.detach() for level in seen[1]])
            terms["features"] = distance.item()
            pushing = pushing + self.objective.feature_weight * distance
        return pushing, terms

    def learn(
        self, made: Tensor, real: Tensor, seen: Look, generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """What the discriminator is to minimise, and its terms.

        Args:
            made: as `judged`, without a gradient.
            real: of the same shape.
            seen: `look` at the real one, beside what was made.
            generator: of the penalty's noise.
            step: the penalty comes every few steps, as much stronger.
        """
        objective = self.objective
        logits, _ = self.look(made, real)
        judged = self.loss.judge(seen[0], logits)
        terms = {"discriminator": judged.item()}
        loss = judged
        sides = ((real, made, seen[0], objective.r1_weight), (made, real, logits, objective.r2_weight))
        if step % objective.r1_every == 0 and any(weight for *_, weight in sides):
            terms["penalty"] = 0.0
            for video, partner, said, weight in sides:
                if weight:
                    noise = torch.randn(video.shape, generator=generator, device=self.device)
                    near, _ = self.look(video + APPROXIMATION * noise, partner)
                    penalty = gradient_penalty(said, near, APPROXIMATION)
                    terms["penalty"] += penalty.item()
                    loss = loss + weight * objective.r1_every * penalty
        if self.averages is not None:
            held = lecam(seen[0], logits, self.averages.real, self.averages.made)
            terms["lecam"] = held.item()
            loss = loss + objective.lecam_weight * held
            self._said = (seen[0].detach(), logits.detach())
        return loss, terms

    def updated(self) -> None:
        """To be called once the discriminator's weights have moved: what follows them moves too."""
        self.judge.iterate()
        if self.averages is not None and self._said is not None:
            self.averages.follow(*self._said)
            self._said = None
