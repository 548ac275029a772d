"""Latents without a prior: what the families of codecs are compared with, and what a prior has to beat.

    normal     every number from N(0, I): what a vae's posterior is drawn to, and all that a gan has
    gaussian   the Gaussian that fits the footage's latents: their mean, their principal directions, and how far each
               follows from the frame before (a first-order autoregression); all that can be had without learning
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from autoreel.errors import RunError, UsageError
from autoreel.generation.sampler import frame_noise
from autoreel.generation.timeline import Timeline
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import atomic_path, read_kept, write_kept

DIRECTIONS = 128  # principal ones that are told apart; the rest of the variance is noise, one deviation a number
MOST_FRAMES = 4096  # of latents that are fitted, from all streams alike


def normal(codec: VideoCodec, timelines: Sequence[Timeline]) -> Iterator[Tensor]:
    """Latents N(0, I) as the codec's decoder sees them: yields (B, C, 1, h, w), normalised."""
    shape = _shape(timelines)
    device = codec.latent_mean.device
    for frame in range(timelines[0].shown):
        drawn = torch.stack([frame_noise(row.seed, frame, "normal", shape) for row in timelines])
        yield codec.normalise(drawn.to(device))


class Gaussian:
    """A Gaussian process of latent frames.

    Args:
        mean: (D,), D numbers in a latent frame.
        directions: (D, Q), orthonormal.
        deviation: (Q,), along each direction.
        following: (Q,), correlation with the frame before along each.
        rest: (D,), deviation of what lies in no direction.
    """

    def __init__(self, mean: Tensor, directions: Tensor, deviation: Tensor, following: Tensor, rest: Tensor) -> None:
        self.mean, self.directions, self.deviation = mean, directions, deviation
        self.following, self.rest = following, rest

    @classmethod
    def fit(cls, latents: Tensor, starts: Tensor) -> Gaussian:
        """Fit the footage.

        Args:
            latents: (N, C, h, w), normalised, streams one after the other.
            starts: int64 (S,), where each stream begins; no frame there follows from the one before.
        """
        kept = _evenly(len(latents), starts)
        x = latents[kept].flatten(1).double()
        follows = torch.ones(len(latents), dtype=torch.bool)
        follows[starts] = False
        follows = follows[kept]
        follows[0] = False
        mean = x.mean(0)
        x = x - mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, _, found = torch.pca_lowrank(x, q=min(DIRECTIONS, *x.shape), center=False, niter=4)
        directions = found.new_zeros(x.shape[1], min(DIRECTIONS, x.shape[1]))  # zeros where the footage is short
        directions[:, : found.shape[1]] = found
        along = x @ directions
        before, after = along[:-1][follows[1:]], along[1:][follows[1:]]
        following = (before * after).mean(0) / (before.square().mean(0) * after.square().mean(0)).sqrt().clamp(min=1e-9)
        rest = (x - along @ directions.T).std(0)
        return cls(*(t.float() for t in (mean, directions, along.std(0), following.clamp(-0.999, 0.999), rest)))

    def draw(self, timelines: Sequence[Timeline]) -> Iterator[Tensor]:
        """Yields (B, C, 1, h, w), normalised."""
        shape = _shape(timelines)
        state: Tensor | None = None
        for frame in range(timelines[0].shown):
            noise = torch.stack([frame_noise(row.seed, frame, "gaussian", shape).flatten() for row in timelines])
            rest = torch.stack([frame_noise(row.seed, frame, "rest", shape).flatten() for row in timelines])
            new = noise[:, : len(self.deviation)]  # never more directions than numbers
            state = new if state is None else self.following * state + (1 - self.following**2).sqrt() * new
            values = self.mean + (state * self.deviation) @ self.directions.T + rest * self.rest
            yield values.view(len(timelines), *shape)

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_path(path) as part:
            write_kept(part, {name: getattr(self, name).contiguous() for name in _NAMES}, {})

    @classmethod
    def load(cls, path: Path, num_values: int) -> Gaussian:
        """Read it.

        Args:
            path: that `save` wrote.
            num_values: in a latent frame, D.

        Raises:
            RunError: absent or damaged.
        """
        if not path.is_file():
            raise RunError(
                "this run keeps no Gaussian fit of its latents; `autoreel train --stage prior` makes one, for a codec "
                "that is not a pretrained one"
            )
        q = min(DIRECTIONS, num_values)
        shapes = {"mean": (num_values,), "directions": (num_values, q), "rest": (num_values,)}
        expected = {name: (shapes.get(name, (q,)), torch.float32) for name in _NAMES}
        return cls(**read_kept(path, expected))


def _evenly(count: int, starts: Tensor) -> Tensor:
    """Places of at most MOST_FRAMES frames: the first of every stream, as many of each as its share of all."""
    ends = torch.cat([starts[1:], starts.new_tensor([count])])
    share = min(1.0, MOST_FRAMES / count)
    return torch.cat([
        torch.arange(int(start), int(start) + max(1, int(share * int(end - start))))
        for start, end in zip(starts, ends, strict=True)
    ])  # fmt: skip


_NAMES = ("mean", "directions", "deviation", "following", "rest")


def _shape(timelines: Sequence[Timeline]) -> tuple[int, ...]:
    first = timelines[0]
    if bool((first.level < 1).any()):
        raise UsageError("without a prior there is only new footage: what is given would not be seen")
    c, _, h, w = first.latents.shape
    return c, 1, h, w
