"""Loss terms: tensors to scalars. A stage joins them; none of them knows a network or a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Term = Callable[[Tensor], Tensor]

GRAIN = 0.01  # of the contrast term: weaker edges hardly count; 0.5 % of the values' range
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


RECONSTRUCTIONS: dict[str, Term] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


def frame_difference(error: Tensor, term: Term, stride: int = 1, border_weight: float = 1.0) -> Tensor:
    """The term on what changes wrongly from frame to frame.

    A group of frames brings what the one before did not know, all at once: pictures jump where groups meet, and stand
    still inside. More weight there makes the decoder lead over to it.

    Args:
        error: (B, C, 1 + k * stride, H, W), k >= 1.
        term: of `RECONSTRUCTIONS`.
        stride: frames of a group; the first stands alone.
        border_weight: of a difference where two groups meet, where those inside have 1.

    Returns:
        A scalar: the weighted sum over the places in time, as a share of their number.
    """
    change = error[:, :, 1:] - error[:, :, :-1]
    if stride == 1 or border_weight == 1.0:
        return term(change)
    groups = change.reshape(*change.shape[:2], -1, stride, *change.shape[3:])
    return (border_weight * term(groups[:, :, :, 0]) + (stride - 1) * term(groups[:, :, :, 1:])) / stride


def wavelet(error: Tensor, term: Term, levels: int = 3) -> Tensor:
    """The term on every band of the error's Haar transform in space (WF-VAE, Li et al. 2024, has one level).

        a b    average     (a + b + c + d) / 2   goes on to the next level
        c d    horizontal  (a - b + c - d) / 2
               vertical    (a + b - c - d) / 2
               diagonal    (a - b - c + d) / 2

    Orthonormal: what is spread evenly over pixels counts the same at every level, what is smooth counts at the last.

    Args:
        error: (B, C, T, H, W); H and W multiples of 2**levels, or the levels stop before.
        term: of `RECONSTRUCTIONS`.
        levels: how often the size is halved.

    Returns:
        Mean over the bands of all levels.
    """
    average = error.transpose(1, 2).flatten(0, 1)
    found: list[Tensor] = []
    for _ in range(levels):
        if average.shape[-1] % 2 or average.shape[-2] % 2:
            break
        a, b = average[..., ::2, ::2], average[..., ::2, 1::2]
        c, d = average[..., 1::2, ::2], average[..., 1::2, 1::2]
        found += [term((a - b + c - d) / 2), term((a + b - c - d) / 2), term((a - b - c + d) / 2)]
        average = (a + b + c + d) / 2
    return torch.stack([*found, term(average)]).mean()


def contrast(made: Tensor, original: Tensor, grid: int, side: int = 8) -> Tensor:
    """How far the edges of parts of a picture are from being as strong as the original's, wherever in a part they lie.

    Squares and absolute values are smallest for a mean of all that may be there, which is soft; this is not. But a
    network without chance would paint the original's grain as a pattern on the grid of its own pixel shuffle. A mean
    over that grid's period sees no such pattern; so it is taken first.

    Args:
        made: (B, C, T, H, W).
        original: the same shape.
        grid: the period, pixels.
        side: of a part, pixels.

    Returns:
        Mean absolute difference of the parts' root mean square differences of neighbouring pixels, across and down.
    """
    smooth = [_mean_of_neighbours(_mean_of_neighbours(video, -1, grid), -2, grid) for video in (made, original)]
    found = []
    for dim in (-1, -2):
        energies = [F.avg_pool2d(video.diff(dim=dim).square().mean(1), side, ceil_mode=True) for video in smooth]
        strengths = [(energy + GRAIN**2).sqrt() for energy in energies]
        found.append((strengths[0] - strengths[1]).abs().mean())
    return torch.stack(found).mean()


def _mean_of_neighbours(video: Tensor, dim: int, count: int) -> Tensor:
    """Moving average; a sum of slices trains faster on CPUs than average pooling."""
    length = video.shape[dim] - count + 1
    total = video.narrow(dim, 0, length)
    for start in range(1, count):
        total = total + video.narrow(dim, start, length)
    return total / count


def relativistic(ahead: Tensor, behind: Tensor) -> Tensor:
    """Relativistic pairing loss (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, eq. 2).

    Args:
        ahead: logits of what should look more real.
        behind: logits of the other of each pair.
    """
    return F.softplus(behind - ahead).mean()


def hinge_judge(real: Tensor, made: Tensor) -> Tensor:
    """What the discriminator minimises (Lim & Ye 2017): real above 1, made below -1."""
    return F.relu(1.0 - real).mean() + F.relu(1.0 + made).mean()


def hinge_maker(real: Tensor, made: Tensor) -> Tensor:
    """What the generator minimises: made as high as can be."""
    return -made.mean()


@dataclass(frozen=True)
class AdversaryLoss:
    """Two losses of the logits of real and of made footage, in this order.

    Args:
        judge: what the discriminator minimises.
        maker: what the generator minimises.
    """

    judge: Callable[[Tensor, Tensor], Tensor]
    maker: Callable[[Tensor, Tensor], Tensor]


ADVERSARIES: dict[str, AdversaryLoss] = {
    "relativistic": AdversaryLoss(relativistic, lambda real, made: relativistic(made, real)),
    "hinge": AdversaryLoss(hinge_judge, hinge_maker),
}


def gradient_penalty(logits: Tensor, near: Tensor, deviation: float) -> Tensor:
    """Zero-centred gradient penalty by finite differences, without second derivatives (Lin et al. 2025, eq. 6).

    On real footage it stands in for R1 (Mescheder et al. 2018), on made footage for R2.

    Args:
        logits: of some footage.
        near: of the same with Gaussian noise added.
        deviation: of that noise.
    """
    return (near - logits).square().mean() / deviation**2


def lecam(real: Tensor, made: Tensor, usual_real: Tensor, usual_made: Tensor) -> Tensor:
    """LeCAM regularisation (Tseng et al. 2021, eq. 5, one-sided as in the authors' code): logits do not go further from
    the moving average of the other side's than they must.

    Args:
        real: logits.
        made: logits.
        usual_real: moving average of the logits of real footage, a scalar.
        usual_made: of made footage.
    """
    return F.relu(real - usual_made).square().mean() + F.relu(usual_real - made).square().mean()


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
