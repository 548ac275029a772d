"""Styles: labels for footage that has none, found as clusters of what the codec makes of it.

    stream    its latents: mean over time in each quarter of the picture, and how much each channel changes in time
    clusters  k-means (Lloyd 1982) from well-spread starts (Arthur & Vassilvitskii 2007), for 2 to MOST clusters; the
              number is the one with the best silhouette (Rousseeuw 1987)

Style 1 is the most frequent. They are kept with the run, so that the same footage means the same styles in every
session, whatever more of it is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from autoreel.runs import atomic_path, read_kept, write_kept
from autoreel.training.latents import LatentWindows

LEAST_STREAMS = 8  # fewer show no groups
MOST = 6  # styles
LEAST_SHARE = 0.04  # of the streams, in each style
MOST_COMPARED = 1000  # streams whose distances to each other are measured
STARTS = 8
ROUNDS = 50


@dataclass(frozen=True)
class Styles:
    """Clusters of streams.

    Args:
        centres: float32 (K, D), in units of `scale`, from `origin`.
        origin: (D,), mean of the traits.
        scale: (D,), their deviation, of the pictures' together and of the changes' together.
    """

    centres: Tensor
    origin: Tensor
    scale: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """What a person calls them."""
        return tuple(f"style-{number + 1}" for number in range(len(self.centres)))

    @classmethod
    def find(cls, windows: LatentWindows, seed: int) -> Styles | None:
        """Cluster the streams; None when there are too few of them, or they are all alike.

        Args:
            windows: of the training side.
            seed: of the starts.
        """
        traits = traits_of(windows)
        if len(traits) < LEAST_STREAMS or float(traits.std(0).max()) < 1e-6:
            return None
        # One scale for the pictures and one for the change: a trait of its own scale would be noise made large.
        origin, channels = traits.mean(0), windows.latents.shape[1]
        spread = traits.var(0)
        blocks = (spread[: 4 * channels], spread[4 * channels :])
        scale = torch.cat([block.mean().sqrt().clamp(min=1e-6).expand(len(block)) for block in blocks])
        x = ((traits - origin) / scale).double()
        generator = torch.Generator().manual_seed(seed)
        compared = x[torch.linspace(0, len(x) - 1, min(MOST_COMPARED, len(x))).long()]
        apart = torch.cdist(compared, compared)
        best: tuple[float, Tensor] | None = None
        for count in range(2, min(MOST, len(x) // 2) + 1):
            centres = _k_means(x, count, generator)
            shares = torch.bincount(_nearest(x, centres), minlength=count) / len(x)
            if float(shares.min()) < LEAST_SHARE:
                continue
            found = _silhouette(apart, _nearest(compared, centres), count)
            if best is None or found > best[0]:
                best = found, centres[shares.argsort(descending=True, stable=True)]
        return None if best is None else cls(best[1].float(), origin, scale)

    def of(self, windows: LatentWindows) -> Tensor:
        """The style of each stream, int64 (S,)."""
        return _nearest((traits_of(windows) - self.origin) / self.scale, self.centres)

    def save(self, path: Path) -> None:
        """Write them as one safetensors file.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_path(path) as part:
            write_kept(part, {"centres": self.centres, "origin": self.origin, "scale": self.scale}, {})

    @classmethod
    def load(cls, path: Path, latent_channels: int, count: int) -> Styles:
        """Read what `save` wrote.

        Args:
            path: the file.
            latent_channels: of the codec.
            count: of styles.

        Raises:
            RunError: it is damaged.
        """
        traits = 5 * latent_channels
        layout = {"centres": (count, traits), "origin": (traits,), "scale": (traits,)}
        found = read_kept(path, {name: (shape, torch.float32) for name, shape in layout.items()})
        return cls(found["centres"], found["origin"], found["scale"])


def traits_of(windows: LatentWindows) -> Tensor:
    """What each stream is told apart by, float32 (S, 5 C): the mean of each quarter, and the change in time."""
    rows = []
    for start, length in zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True):
        latents = windows.latents[start : start + length]
        quarters = F.adaptive_avg_pool2d(latents.mean(0, keepdim=True), 2).flatten()
        change = latents.diff(dim=0).abs().mean((0, 2, 3)) if length > 1 else torch.zeros(latents.shape[1])
        rows.append(torch.cat([quarters, change]))
    return torch.stack(rows)


def examples(windows: LatentWindows, styles: Styles, columns: int) -> list[Tensor]:
    """Streams nearest to each style's centre: for each style, the latents (at most `columns`) of their middle frames.

    Returns:
        (n, C, h, w) for each style.
    """
    away = torch.cdist((traits_of(windows) - styles.origin) / styles.scale, styles.centres)
    chosen, own = [], styles.of(windows)
    for style in range(len(styles.centres)):
        members = (own == style).nonzero()[:, 0]
        near = members[away[members, style].argsort(stable=True)[:columns]]
        chosen.append(windows.latents[windows.starts[near] + windows.lengths[near] // 2])
    return chosen


def _k_means(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    best: tuple[float, Tensor] | None = None
    for _ in range(STARTS):
        centres = x[torch.randint(len(x), (1,), generator=generator)]
        while len(centres) < count:
            far = torch.cdist(x, centres).min(1).values.square()
            place = int(torch.multinomial(far + 1e-12, 1, generator=generator))
            centres = torch.cat([centres, x[place : place + 1]])
        for _ in range(ROUNDS):
            own = _nearest(x, centres)
            sums = torch.zeros_like(centres).index_add_(0, own, x)
            counts = torch.bincount(own, minlength=count)[:, None]
            moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        away = float(torch.cdist(x, centres).min(1).values.square().sum())
        if best is None or away < best[0]:
            best = away, centres
    assert best is not None
    return best[1]


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(x, centres.to(x.dtype)).argmin(1)


def _silhouette(apart: Tensor, own: Tensor, count: int) -> float:
    """Mean of (b - a) / max(a, b): a to one's own cluster, b to the nearest other one."""
    members = F.one_hot(own, count).to(apart.dtype)
    sizes = members.sum(0)
    to_each = apart @ members / sizes.clamp(min=1)
    inside = to_each.gather(1, own[:, None])[:, 0] * sizes[own] / (sizes[own] - 1).clamp(min=1)
    others = to_each.masked_fill(members.bool() | (sizes == 0), float("inf")).min(1).values
    value = (others - inside) / torch.maximum(others, inside).clamp(min=1e-12)
    return float(torch.where((sizes[own] > 1) & others.isfinite(), value, 0.0).mean())
