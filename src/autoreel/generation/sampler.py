"""From noise to latents: the rectified flow's ordinary differential equation, in a few steps.

The path is x_t = (1 - t) x + t n, so its velocity is n - x (Liu et al. 2022); it is followed from the start level to 0.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Solver = Literal["adams", "euler", "heun"]
Velocity = Callable[[Tensor, float], Tensor]


def level_shift(num_values: int) -> float:
    """How much further towards noise levels lie for a latent frame of this many values.

    A frame of more values carries more redundant detail, and the same level destroys less of it
    (Esser et al. 2024, section 5.3.2: the square root of the ratio of sizes); 512 values are the reference.
    """
    return max(1.0, math.sqrt(num_values / 512))


def shift_levels(level: Tensor, shift: float) -> Tensor:
    """Map levels [0, 1] to [0, 1], towards 1 for a shift above 1 (Esser et al. 2024, eq. 23)."""
    return shift * level / (1 + (shift - 1) * level)


def schedule(steps: int, start: float, shift: float) -> list[float]:
    """The levels a sample passes through, `steps + 1` of them, from `start` to 0."""
    if steps < 1:
        raise ValueError(f"at least one step is needed, not {steps}")
    evenly = shift_levels(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)
    return [start * float(level) for level in evenly]


def integrate(velocity: Velocity, x: Tensor, levels: list[float], solver: Solver = "adams") -> Tensor:
    """Follow the flow along `levels`.

    Args:
        velocity: of a state at a level.
        x: the state at levels[0].
        levels: falling, the last is 0.
        solver: "adams" carries the velocity's change from the step before into this one (second-order Adams-Bashforth
            with steps of unequal length: Hairer, Norsett & Wanner 1993, III.5): of second order for one evaluation a
            step. "heun" is so too, for two in every step but the last (Karras et al. 2022, algorithm 1).
    """
    before: tuple[Tensor, float] | None = None
    for here, there in itertools.pairwise(levels):
        step, slope = there - here, velocity(x, here)
        mean = slope
        if solver == "adams" and before is not None:
            mean = slope + 0.5 * step / before[1] * (slope - before[0])
        elif solver == "heun" and there > 0:
            mean = 0.5 * (slope + velocity(x + step * slope, there))
        x, before = x + step * mean, (slope, step)
    return x


def frame_noise(seed: int, frame: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise for one latent frame: a function of its arguments, whatever is made beside it.

    Drawn on the CPU, so that every device makes the same.
    """
    digest = hashlib.blake2b(f"{seed}/{frame}/{purpose}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.randn(shape, generator=generator)
