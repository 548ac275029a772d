"""Held-out bits per dimension: what it would cost to send a clip exactly, latents and errors together.

    bits = KL(q(z given x) || N(0, I)) + -log p(x given z)      an upper bound on -log p(x) (Kingma & Welling 2014)

p(x given z) is a logistic around the decoder's value, taken over the width of one of the 256 levels (Salimans et al.
2017, eq. 2). Defined for families with a posterior: `vae` and `vae-gan`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEVEL = 2.0 / 255.0  # the width of one level in [-1, 1]
LEAST_SCALE = LEVEL / 16


def logistic_scale(error: Tensor) -> float:
    """The scale of the logistic that errors come from: their mean size is 2 ln 2 times it.

    Args:
        error: any shape, in the units of [-1, 1]; of training clips.
    """
    return max(float(error.abs().mean()) / (2 * math.log(2.0)), LEAST_SCALE)


def nats(video: Tensor, made: Tensor, scale: float) -> Tensor:
    """-log p(x given z) of each value.

    Args:
        video: one of 256 levels from -1 to 1.
        made: the decoder's output, any values.
        scale: of the logistic.

    Returns:
        The shape of `video`, float64, nats. Levels at the ends take all that lies beyond them.
    """
    middle = (video - made).double()
    upper, lower = (middle + LEVEL / 2) / scale, (middle - LEVEL / 2) / scale
    # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u))
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + math.log(-math.expm1(-LEVEL / scale))
    found = torch.where(video <= -1 + LEVEL / 2, F.logsigmoid(upper), inside)
    return -torch.where(video >= 1 - LEVEL / 2, F.logsigmoid(-lower), found)


def bits_per_dimension(kl_nats: float, error_nats: float, dimensions: int) -> float:
    """Both parts, per value of the video.

    Args:
        kl_nats: of all latents of a clip.
        error_nats: of all its values.
        dimensions: how many values it has.
    """
    if dimensions < 1:
        raise ValueError("a clip without values has no bits per dimension")
    return (kl_nats + error_nats) / (dimensions * math.log(2.0))
