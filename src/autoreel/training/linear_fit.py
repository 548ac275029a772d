"""Where the codec begins: its linear path computed from the footage before the first step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from autoreel.clip import to_model
from autoreel.data.loader import ClipLoader
from autoreel.models.codec import Codec, fill_first_group, fold
from autoreel.training.augment import augment

FIT_WINDOWS = 96  # from which the linear path is computed
FIT_BLOCKS = 40_000
PAINTING_WINDOWS = 48  # from which the way back is solved


def _groups(loader: ClipLoader, windows: int, temporal_stride: int, *, changed: bool = False) -> Iterator[Tensor]:
    """Folded groups (N, 3t, H, W) of the first batches; every second one closer, shifted, in other colours."""
    for step in range(-(-windows // loader.batch_size)):
        video = to_model(loader.batch(step).frames)
        if changed and step % 2:
            video = augment(video, torch.Generator().manual_seed(step))
        yield fold(fill_first_group(video, temporal_stride) if temporal_stride > 1 else video, temporal_stride)[0]


@torch.no_grad()
def fit_linear_path(codec: Codec, loader: ClipLoader) -> None:
    """Set the linear path to the Karhunen-Loeve transform of the footage: principal components of its blocks.

    Args:
        codec: on the CPU.
        loader: of the training side.
    """
    t, path = codec.temporal_stride, codec.linear
    blocks = []
    share = FIT_BLOCKS // -(-FIT_WINDOWS // loader.batch_size)
    for groups in _groups(loader, FIT_WINDOWS, t):
        found = path.blocks(groups).flatten(0, 2)
        # Thinned at once: all blocks of large frames would fill the memory.
        blocks.append(found[torch.linspace(0, len(found) - 1, min(len(found), share)).long()])
    values = torch.cat(blocks)
    mean = values.mean(0)
    if values.shape[1] <= 1024:
        variance, basis = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))
        basis, variance = basis.flip(1), variance.flip(0)
    else:  # the first few components are all that is needed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, deviations, basis = torch.pca_lowrank(values - mean, q=2 * codec.latent_channels, center=False, niter=4)
        variance = deviations.square() / len(values)
    channels = codec.latent_channels
    # Components that the footage does not have (a grey wall) would be divided by nothing.
    deviation = variance[:channels].clamp(min=0).sqrt().clamp(min=1e-2)
    path.fit(mean, basis[:, :channels], deviation)
    # Neighbours of a plain scene tell much of each other, and nothing of the next scene: so not of this one alone.
    path.fit_painting(_groups(loader, min(FIT_WINDOWS, PAINTING_WINDOWS), t, changed=True))
