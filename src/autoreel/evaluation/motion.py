"""How things move, without a network: dense flow by block matching, its histogram, and the distance of two.

Frames are made 32 x 32 pixels of luma; each 4 x 4 block is looked for in the frame before, up to 3 pixels away, and its
place refined by a parabola. Speeds are in widths of the frame per frame, in hundredths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autoreel.clip import Frames
from autoreel.evaluation.distances import TooFewError

SIDE = 32
BLOCK = 4
REACH = 3  # pixels of the small frames
SPEEDS = (0.5, 1.0, 2.0, 3.0, 4.5, 6.5, 9.0)  # bounds of the bins, hundredths of the frame per frame
DIRECTIONS = 8
BINS = 1 + len(SPEEDS) * DIRECTIONS  # what stands still has no direction
STILL = 0.4  # levels: a block must match better elsewhere by so much before it counts as moved
MIN_CLIPS = 8

Array = NDArray[np.float64]


class Movement(NamedTuple):
    """Shares of blocks by speed and direction: float64 (N, BINS) each, rows sum to one.

    Args:
        velocity: of the flow.
        acceleration: of its change from frame to frame.
    """

    velocity: Array
    acceleration: Array


def movement(clips: Frames) -> Movement:
    """The histograms of each clip.

    Args:
        clips: uint8 (N, T, H, W, 3), T at least 3.
    """
    if clips.ndim != 5 or clips.dtype != np.uint8 or clips.shape[1] < 3:
        raise ValueError(f"clips must be uint8 (N, T, H, W, 3) of at least 3 frames, not {clips.dtype} {clips.shape}")
    flows = [flow(clip) for clip in clips]
    return Movement(*(np.stack([histogram(f) for f in kind]) for kind in (flows, [np.diff(f, axis=0) for f in flows])))


def flow(frames: Frames) -> Array:
    """Where each block of a frame comes from.

    Args:
        frames: uint8 (T, H, W, 3), T at least 2.

    Returns:
        float64 (T - 1, 8, 8, 2): down and right, hundredths of the frame per frame; positive as the block moved.
    """
    luma = torch.from_numpy(np.ascontiguousarray(frames)).float() @ torch.tensor([0.2126, 0.7152, 0.0722])
    small = F.interpolate(luma[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)
    before = F.pad(small[:-1], (REACH,) * 4, mode="replicate")
    costs = []
    width = 2 * REACH + 1
    for y in range(width):
        for x in range(width):
            shifted = before[:, :, y : y + SIDE, x : x + SIDE]
            costs.append(F.avg_pool2d((small[1:] - shifted).abs(), BLOCK)[:, 0])
    cost = torch.stack(costs, -1)  # (T - 1, 8, 8, 49)
    still = REACH * width + REACH
    cost[..., still] -= STILL
    best = cost.argmin(-1)
    down, right = best // width - REACH, best % width - REACH
    cost[..., still] += STILL  # the parabola goes through what was measured
    grid = cost.unflatten(-1, (width, width))  # type: ignore[no-untyped-call]
    moved = torch.stack([down, right], -1).double()
    for axis, (place, line) in enumerate(((down, _line(grid, right, 0)), (right, _line(grid, down, 1)))):
        moved[..., axis] += _vertex(line, place + REACH)
    # A block found above has moved down.
    return np.asarray(-moved.numpy() * 100 / SIDE, np.float64)


def histogram(moved: Array) -> Array:
    """Shares of blocks by speed and direction: (BINS,), summing to one.

    Args:
        moved: (..., 2), hundredths of the frame per frame.
    """
    down, right = moved.reshape(-1, 2).T
    speed = np.digitize(np.hypot(down, right), SPEEDS)
    turn = np.floor((np.arctan2(down, right) / (2 * np.pi) + 0.5 / DIRECTIONS) * DIRECTIONS).astype(int) % DIRECTIONS
    bins = np.where(speed == 0, 0, 1 + (speed - 1) * DIRECTIONS + turn)
    return np.bincount(bins, minlength=BINS) / max(1, len(bins))


def motion_distance(first: Movement, second: Movement) -> float:
    """Jensen-Shannon distance (base 2) of the mean histograms, averaged over velocity and acceleration.

    Args:
        first: of at least 8 clips.
        second: of at least 8 clips.

    Returns:
        0 for sets that move alike on the whole, 1 for sets that share no movement.

    Raises:
        TooFewError: fewer clips.
    """
    fewest = min(len(first.velocity), len(second.velocity))
    if fewest < MIN_CLIPS:
        raise TooFewError("the motion distance", fewest, MIN_CLIPS)
    pairs = zip(first, second, strict=True)
    return float(np.mean([jensen_shannon(a.mean(0), b.mean(0)) for a, b in pairs]))


def jensen_shannon(first: Array, second: Array) -> float:
    """The distance: the root of the divergence to base 2 (Endres and Schindelin 2003)."""
    middle = (first + second) / 2
    divergence = 0.0
    for share in (first, second):
        inside = share > 0
        divergence += 0.5 * float(np.sum(share[inside] * np.log2(share[inside] / middle[inside])))
    return float(np.sqrt(max(0.0, divergence)))


def _line(grid: Tensor, fixed: Tensor, axis: int) -> Tensor:
    """Costs along one axis through the best place: (T - 1, 8, 8, 7)."""
    index = (fixed + REACH)[..., None, None]
    if axis == 0:
        return grid.gather(-1, index.expand(*grid.shape[:-1], 1))[..., 0]
    return grid.gather(-2, index.expand(*grid.shape[:-2], 1, grid.shape[-1]))[..., 0, :]


def _vertex(line: Tensor, place: Tensor) -> Tensor:
    """Where a parabola through three neighbouring costs is least, from the middle one: in [-0.5, 0.5]."""
    middle = place.clamp(1, line.shape[-1] - 2)
    a, b, c = (line.gather(-1, (middle + k)[..., None])[..., 0] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    # A block without texture matches everywhere: its parabola is flat and says nothing.
    offset = torch.where(bend > STILL, 0.5 * (a - c) / bend.clamp(min=STILL), torch.zeros_like(bend))
    return torch.where(place == middle, offset.clamp(-0.5, 0.5), torch.zeros_like(offset)).double()
