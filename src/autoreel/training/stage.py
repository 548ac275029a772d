"""What the one loop asks of a stage, and where a stage takes its randomness from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from autoreel.training.muon import Muon

_most_loss: ContextVar[float] = ContextVar("most_loss", default=math.inf)


class UnusableStepError(ArithmeticError):
    """A step that is better left out; raised before any weight, average or optimizer state has changed.

    Args:
        what: the term or the network in which it was found.
        message: for a person.
    """

    def __init__(self, what: str, message: str) -> None:
        self.what = what
        super().__init__(message)


class NonFiniteError(UnusableStepError):
    """A loss or a gradient is not finite.

    Args:
        what: the term or the network in which it was found, for the message.
        value: the loss, when it is a loss.
    """

    def __init__(self, what: str, value: float | None = None) -> None:
        super().__init__(what, f"{what} is not finite" + (f" ({value})" if value is not None else ""))


class OutlierError(UnusableStepError):
    """A loss is so far above all before it that its gradient would fill the momentum of many steps.

    Args:
        what: the loss.
        value: of it.
        most: above which it is one.
    """

    def __init__(self, what: str, value: float, most: float) -> None:
        super().__init__(what, f"{what} is {value:.3g}, far above {most:.3g}")


@contextmanager
def losses_up_to(most: float) -> Iterator[None]:
    """A block in which `usable` takes no loss above a value for a loss."""
    token = _most_loss.set(most)
    try:
        yield
    finally:
        _most_loss.reset(token)


def finite(what: str, loss: Tensor) -> float:
    """The value of a loss.

    Args:
        what: the loss, for the message.
        loss: a scalar.

    Raises:
        NonFiniteError: it is not finite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteError(what, value)
    return value


def usable(what: str, loss: Tensor) -> float:
    """The value of a loss that can be learned from.

    Args:
        what: the loss, for the message.
        loss: a scalar.

    Raises:
        NonFiniteError: it is not finite.
        OutlierError: it is far above those before it (`losses_up_to`).
    """
    value, most = finite(what, loss), _most_loss.get()
    if value > most:
        raise OutlierError(what, value, most)
    return value


@dataclass(frozen=True)
class Export:
    """What a finished stage leaves for others.

    Args:
        tensors: the averaged (EMA) weights, by name.
        metadata: plain strings for the header of the file.
        note: what a person should know of them, in a line.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    note: str = ""


@runtime_checkable
class Stage(Protocol):
    """One part of training: its networks, their optimizers and what one update is.

    Everything that changes from step to step lies in `modules()` and `optimizers()` (as parameters, buffers or
    optimizer state): these are what a checkpoint holds, so that stop and resume equals no interruption.
    """

    name: str
    seed: int

    def modules(self) -> Mapping[str, nn.Module]:
        """All that a checkpoint saves: the networks and their averaged copies, by the prefix of their names.

        The stage's own name is the network that `export` is about, "averaged" the average of it that is exported.
        """
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """By name; each parameter group carries "base_lr", the rate its schedule starts from.

        The loop halves "base_lr" after a divergence (`scale_rates`); the stage reads it at every step.
        """
        ...

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One update of every network.

        Args:
            step: counted from 0; with the seed and the name it decides data and noise (`step_generator`).
            progress: share of the stage's budget that has passed, in [0, 1]; schedules follow it.

        Returns:
            Finite scalars for the metrics; "loss" is the one watched for divergence.

        Raises:
            UnusableStepError: a loss or gradient is not finite or a loss far too high; nothing has changed.
        """
        ...

    def validate(self) -> dict[str, float]:
        """Scalars on held-out footage; changes no state."""
        ...

    def preview(self, folder: Path, step: int) -> None:
        """Write pictures or clips of what it can do so far; changes no state."""
        ...

    def export(self) -> Export:
        """The averaged weights as others load them."""
        ...


def step_generator(seed: int, name: str, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The randomness of one step: a function of its arguments and of nothing that happened before.

    Args:
        seed: the run's seed.
        name: the stage, and what the numbers are for when a step needs several streams ("codec", "codec.noise").
        step: the step.
        device: where the numbers are drawn.
    """
    digest = hashlib.blake2b(f"{seed}/{name}/{step}".encode(), digest_size=8).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return generator


def pair_of_optimizers(
    matrices: Sequence[nn.Parameter], others: Sequence[nn.Parameter], rate: float, others_share: float
) -> dict[str, torch.optim.Optimizer]:
    """"matrices" and "others", each group with its "base_lr" (see `Stage.optimizers`).

    Orthogonalised momentum for the matrices (training/muon.py), its update scaled to the size of Adam's.

    Args:
        matrices: weights inside the blocks, two-dimensional.
        others: all other weights.
        rate: of the matrices.
        others_share: of that rate, for the others.
    """
    optimizers: dict[str, torch.optim.Optimizer] = {
        "matrices": Muon(matrices, lr=rate),
        "others": torch.optim.AdamW(others, lr=others_share * rate, betas=(0.9, 0.95), weight_decay=0.0),
    }
    keep_base_rates(optimizers.values())
    return optimizers


def keep_base_rates(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Keep the rate that each group begins with as its "base_lr"."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]


def set_rates(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Give each group a share of its "base_lr"."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * share


def warm_then_fall(step: int, progress: float, *, warm_up: int, last: float, fall_from: float = 0.0) -> float:
    """The share of its base that a rate has: rising over the first steps, whole, then falling linearly.

    Args:
        step: counted from 0.
        progress: share of the budget that has passed, in [0, 1].
        warm_up: steps until it is whole.
        last: it falls no lower.
        fall_from: progress from which it falls.
    """
    fall = 1.0 if progress < fall_from else (1.0 - progress) / (1.0 - fall_from)
    return min(1.0, (step + 1) / warm_up) * max(last, fall)


def descend(
    loss: Tensor, what: str, parameters: Iterable[nn.Parameter], optimizers: Iterable[torch.optim.Optimizer],
    most_norm: float,
) -> tuple[float, float]:  # fmt: skip
    """One update of all of a stage's weights along its loss.

    Args:
        loss: a scalar.
        what: the network in words, for the message.
        parameters: whose gradient is clipped together.
        optimizers: that take the step.
        most_norm: of the gradient.

    Returns:
        The loss, and the gradient's norm before it was clipped.

    Raises:
        UnusableStepError: one of both is not finite, or the loss far too high; nothing has changed.
    """
    value, optimizers = usable(f"{what}'s loss", loss), list(optimizers)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = float(nn.utils.clip_grad_norm_(parameters, most_norm))
    if not np.isfinite(norm):
        raise NonFiniteError(f"{what}'s gradient")
    for optimizer in optimizers:
        optimizer.step()
    return value, norm


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the exponential moving average of a network's parameters one step on, in place.

    Args:
        averaged: the average, of the same shape.
        network: as it is after the step.
        decay: what stays of the average, in [0, 1).
        step: counted from 0. Young averages forget fast: a short run is not averaged with its own beginning.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
