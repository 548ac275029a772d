"""Orthogonalised momentum for matrices (Muon, Jordan et al. 2024), at a cost that a CPU can bear.

The update is U V^T of the momentum's singular value decomposition, nearly: five rounds of X <- (a + b G + c G^2) X with
G = X X^T. torch.optim.Muon does them in bfloat16 on every machine; where that is slow they took a third of a step of
training. They are polynomials in the first G, so that a wide matrix needs to be multiplied only at both ends:

    G = X X^T     round by round  Q = a + b G + c G^2,  P <- Q P,  G <- Q G Q     P X

For 256 x 2304 that is as much as 35 products of two matrices of 256 x 256 in place of 95 (2 * 256^3 operations each).
It needs float32: what rounding leaves of an eigenvalue that is zero, 1e-7 of the largest, grows twelvefold a round and
stays small; of bfloat16's it would not. Where networks are computed in bfloat16 all rounds are done on the whole matrix
in it: six of 256 x 2304 take 27 ms, gathered in float32 39 (two cores of an AMD EPYC, Zen 5, 2026-11-28), whose float32
products are far slower than its convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

from autoreel.models.compute import matrix_dtype

ROUNDS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # the quintic of Jordan et al., steep at zero
LEAST_NORM = 1e-7
MATCHES_ADAM = 0.2  # root mean square of an update of Adam, about (Liu et al. 2025, section 2.2)
WIDE = 1.6  # columns for each row from which the rounds are cheaper on the small matrix


def orthogonalised(x: Tensor) -> Tensor:
    """The nearest orthogonal matrix, nearly: singular values come out between about 0.7 and 1.2.

    Args:
        x: (m, n), float32.

    Returns:
        (m, n), float32.
    """
    is_tall = x.shape[0] > x.shape[1]
    wide = x.mT if is_tall else x
    wide = wide / wide.norm().clamp(min=LEAST_NORM)
    if matrix_dtype(x.device) == torch.bfloat16:
        wide = _round_by_round(wide.bfloat16()).float()
    elif wide.shape[1] < WIDE * wide.shape[0]:
        wide = _round_by_round(wide)
    else:
        wide = _gathered(wide)
    return wide.mT if is_tall else wide


def _round_by_round(x: Tensor) -> Tensor:
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def _gathered(x: Tensor) -> Tensor:
    """The same rounds on the small matrix."""
    gram = x @ x.mT
    gathered = None
    for number in range(ROUNDS):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        gathered = factor if gathered is None else factor @ gathered
        if number < ROUNDS - 1:
            gram = factor @ gram @ factor
    assert gathered is not None
    return gathered @ x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, at the size of Adam's updates.

    Args:
        parameters: two-dimensional.
        lr: the rate; as Adam's.
        momentum: what stays of the momentum, in [0, 1).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim != 2]
        if shapes:
            raise ValueError(f"Muon takes matrices, not parameters of the shape {shapes[0]}")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"]
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalised(parameter.grad.lerp(buffer, group["momentum"]))
                size = MATCHES_ADAM * math.sqrt(max(parameter.shape))
                parameter.add_(update, alpha=-group["lr"] * size)
        return loss
