"""Context as the network would have made it: what a rollout sees, and training on footage alone never shows.

    footage       x0  x1  x2  x3  x4     x5
    half noised   x0  ~1  ~2  ~3  ~4            every window to a level of its own
    painted       x0  y1  y2  y3  y4            by the averaged network, in two steps of Euler's, all frames at once
    learned       x0  y1  y2  y3  y4  -> x5     the next frame of the footage, not of what was painted

What is painted from half-noised footage has the network's own faults - a contrast, a colour, a softness - and is still
in step with the footage, so that its true next frame can be asked for: faults are taken back instead of carried on. In
the manner of scheduled sampling (Bengio et al. 2015); Self Forcing (Huang et al. 2025) needs whole rollouts and a
critic. The frame at time 0 stays as it is: a rollout keeps it in view, to measure the others by.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from autoreel.generation.timeline import NO_LABEL
from autoreel.models.prior import Prior

MIN_LEVEL, MAX_LEVEL = 0.2, 0.8  # to which footage is noised; above, what is painted is out of step with it
SOLVER_STEPS = 2
MAX_ERROR_SCALE = 1.5  # faults are shown up to this many times as large: in a rollout they have added up


@torch.no_grad()
def own_context(
    prior: Prior, latents: Tensor, times: Tensor, labels: Tensor, generator: torch.Generator,
    *, guidance: float, guided_above: float, mirrored: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Windows painted by the network itself, for later frames to be seen behind.

    Args:
        prior: the averaged network.
        latents: normalised, (B, C, T, h, w), in the order of the sequence, on the network's device.
        times: (B, T).
        labels: int64 (B,).
        generator: of the step, on the CPU.
        guidance: of sampling (see `Sampling`): below 1 it holds at every level, and 0 asks for no label at all.
        guided_above: levels above which a guidance over 1 holds.
        mirrored: bool (B,), as the network is told it.

    Returns:
        Latents of the same shape.
    """
    batch, frames = times.shape
    start = MIN_LEVEL + (MAX_LEVEL - MIN_LEVEL) * torch.rand(batch, 1, generator=generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    amount = MAX_ERROR_SCALE * torch.rand(batch, 1, generator=generator)

    def everywhere(values: Tensor) -> Tensor:
        return values.to(latents)[:, None, :, None, None]

    nobodys = torch.full_like(labels, NO_LABEL)
    labels = labels if guidance else nobodys
    x = (1 - everywhere(start)) * latents + everywhere(start) * noise
    for here, there in itertools.pairwise(1 - torch.arange(SOLVER_STEPS + 1) / SOLVER_STEPS):
        level = (start * here).expand(-1, frames)
        velocity = prior(x, level.to(latents), times, labels, mirrored=mirrored).float()
        guided = level > (guided_above if guidance > 1 else 0)
        if guidance not in (0, 1) and bool(guided.any()):
            free = prior(x, level.to(latents), times, nobodys, mirrored=mirrored).float()
            velocity = torch.where(everywhere(guided) > 0, free + guidance * (velocity - free), velocity)
        x = x + everywhere(start * (there - here)) * velocity
    later = (times > 0)[:, None, :, None, None]
    return torch.where(later, latents + everywhere(amount) * (x - latents), latents)
