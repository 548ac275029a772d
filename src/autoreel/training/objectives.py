"""Loss terms: tensors to scalars. A stage joins them; none of them knows a network or a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SOFT_EDGE = 0.1  # of the Charbonnier term: squares below, absolute values above; 5 % of the values' range


def l1(error: Tensor) -> Tensor:
    """Mean absolute error."""
    return error.abs().mean()


def l2(error: Tensor) -> Tensor:
    """Mean squared error, scaled to meet the absolute one at `SOFT_EDGE`."""
    return error.square().mean() / SOFT_EDGE


def charbonnier(error: Tensor) -> Tensor:
    """Squares near zero and absolute values beyond (Charbonnier et al. 1994)."""
    return ((error.square() + SOFT_EDGE**2).sqrt() - SOFT_EDGE).mean()


RECONSTRUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


def relativistic(ahead: Tensor, behind: Tensor) -> Tensor:
    """Relativistic pairing loss (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, eq. 2).

    Args:
        ahead: logits of what should look more real.
        behind: logits of the other of each pair.
    """
    return F.softplus(behind - ahead).mean()


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Distance in the discriminator's features (Larsen et al. 2015, eq. 8), each level by its own size."""
    distances = [
        (a - b).abs().float().mean() / b.abs().float().mean().clamp(min=1e-4) for a, b in zip(made, real, strict=True)
    ]
    return torch.stack(distances).mean()


def balance(reference: Tensor, other: Tensor, share: float) -> Tensor:
    """The other gradient, scaled to `share` of the reference's norm; both float32 at the decoder's output.

    Args:
        reference: gradient of the reconstruction.
        other: gradient of the adversary.
        share: of the reference's norm.
    """
    scale = share * reference.norm() / other.norm().clamp(min=1e-12)
    scaled: Tensor = other * scale
    return scaled
