"""Where the codec begins: its linear path computed from the footage before the first step, or set right for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice

import torch
from torch import Tensor

from autoreel.clip import to_model
from autoreel.data.loader import ClipLoader
from autoreel.models.codec import Codec, fill_first_group, fold
from autoreel.models.compute import autocast
from autoreel.training.augment import augment

FIT_WINDOWS = 96  # from which the linear path is computed
FIT_BLOCKS = 40_000
PAINTING_WINDOWS = 48  # from which the way back is solved
PAINTING_RIDGE = 1e-3
REST_WINDOWS, LEAST_REST_WINDOWS, REST_PIXELS = 64, 16, 64 * 64  # clips of so many pixels, fewer of larger ones,
REST_BLOCKS = 20_000  # and blocks of them, from which a trained codec is set right
REST_RIDGE = 1.0  # less finds more decibels on some footage, and grain: at 0.03 SSIM falls by up to 0.02, at 1 by 0.01


def _clips(loader: ClipLoader, *, changed: bool = False) -> Iterator[Tensor]:
    """Clips (B, 3, T, H, W) of the first batches, without end; every second one closer, shifted, in other colours."""
    for step in count():
        video = to_model(loader.batch(step).frames)
        yield augment(video, torch.Generator().manual_seed(step)) if changed and step % 2 else video


def _folded(video: Tensor, temporal_stride: int) -> tuple[Tensor, int]:
    """A clip's groups (B * G, 3t, H, W), and G."""
    return fold(fill_first_group(video, temporal_stride) if temporal_stride > 1 else video, temporal_stride)


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
    for video in islice(_clips(loader), -(-FIT_WINDOWS // loader.batch_size)):
        found = path.blocks(_folded(video, t)[0]).flatten(0, 2)
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
    clips = islice(_clips(loader, changed=True), -(-min(FIT_WINDOWS, PAINTING_WINDOWS) // loader.batch_size))
    path.up.copy_(path.solve_painting(_encoded(codec, clips), PAINTING_RIDGE))


def _encoded(codec: Codec, clips: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor, int]]:
    """What `solve_painting` takes: latents of the linear path alone, and all of the picture but its mean block."""
    path = codec.linear
    for video in clips:
        x, groups = _folded(video, codec.temporal_stride)
        yield path.encode(x), path.blocks(x.float()) - path.bias, groups


@torch.no_grad()
def fit_rest(codec: Codec, loader: ClipLoader, dtype: torch.dtype) -> None:
    """Let the linear path of a trained codec paint what that leaves of some footage, by least squares.

    Footage that a codec did not learn from has its own colours and textures; this finds what a linear map can say of
    them in seconds. Of the starter, on footage of four kinds that it never saw, 0.1 to 0.5 dB.

    Args:
        codec: trained.
        loader: of the training side.
        dtype: of the networks' products.
    """
    path, device = codec.linear, codec.linear.up.device
    height, width = loader.store.size
    windows = max(LEAST_REST_WINDOWS, min(REST_WINDOWS, REST_WINDOWS * REST_PIXELS // (height * width)))
    batches = -(-windows // loader.batch_size)

    def left() -> Iterator[tuple[Tensor, Tensor, int]]:
        for video in islice(_clips(loader, changed=True), batches):
            with autocast(device, dtype):
                latent = codec.encode(video.to(device)).mode()
                made = codec.decode(latent)
            rest, groups = _folded(video.to(device) - made.float(), codec.temporal_stride)
            yield latent.float().transpose(1, 2).flatten(0, 1), path.blocks(rest), groups

    path.up.add_(path.solve_painting(left(), REST_RIDGE, most=REST_BLOCKS // batches))
