"""Clips changed in ways that leave them clips: so that a codec of a few people's footage also writes others.

    time    played backwards
    space   closer (up to 1.5 times), or shifted against the grid of the codec's blocks
    colour  channels exchanged, each brighter or darker

On 20 clips of five people this is worth 0.3 dB and more on people never seen, from the second minute on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BACKWARDS = 0.5
EXCHANGED = 0.3
CLOSER, MOST_CLOSER = 0.7, 0.5
MOST_SHIFTED = 8  # pixels
GAIN, OFFSET = 0.15, 0.1  # deviations, of the logarithm and of values in [-1, 1]


def augment(video: Tensor, generator: torch.Generator, *, mildly: bool = False) -> Tensor:
    """Change each clip of a batch in its own way.

    Args:
        video: (B, 3, T, H, W) in [-1, 1].
        generator: on the CPU.
        mildly: only play backwards and shift: what leaves pictures as sharp and coloured as they are.

    Returns:
        The same shape and range.
    """
    return torch.stack([_augment_clip(clip, generator, mildly) for clip in video])


def changed_alike(videos: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Clips shifted, tinted and with a part cut out before they are judged, so that few of them cannot be learned by
    heart (DiffAugment, Zhao et al. 2020); a gradient passes.

    Args:
        videos: each (B, 3, T, H, W); clip i of all of them is changed in the same way, all its frames alike.
        generator: on the CPU.

    Returns:
        As many of the same shape.
    """
    b, _, _, height, width = videos[0].shape
    device = videos[0].device
    brightness, saturation, contrast = (torch.rand(3, b, 1, 1, 1, 1, generator=generator)).to(device).unbind()
    rows, columns = height // 8, width // 8  # the most that is shifted
    down = torch.randint(-rows, rows + 1, (b,), generator=generator).tolist()
    right = torch.randint(-columns, columns + 1, (b,), generator=generator).tolist()
    tops = torch.randint(0, height, (b,), generator=generator).tolist()
    lefts = torch.randint(0, width, (b,), generator=generator).tolist()
    kept = torch.ones(b, 1, 1, height, width, device=device)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        kept[i, ..., max(0, top - height // 4) : top + height // 4, max(0, left - width // 4) : left + width // 4] = 0

    def change(video: Tensor) -> Tensor:
        video = video + (brightness - 0.5)
        grey = video.mean(1, keepdim=True)
        video = (video - grey) * (2 * saturation) + grey
        mean = video.mean((1, 2, 3, 4), keepdim=True)
        video = (video - mean) * (contrast + 0.5) + mean
        padded = F.pad(video, (columns, columns, rows, rows, 0, 0))
        return kept * torch.stack([
            clip[..., rows + y : rows + y + height, columns + x : columns + x + width]
            for clip, y, x in zip(padded, down, right, strict=True)
        ])  # fmt: skip

    return [change(video) for video in videos]


def smaller_or_turned(
    latent: Tensor, video: Tensor, generator: torch.Generator, *, turn: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Latents and the video they stand for, both at half the size: decoding should not mind (scale equivariance,
    Skorokhodov et al. 2025); or also turned (EQ-VAE, Kouzelis et al. 2025).

    Args:
        latent: (B, C, T, h, w), at least 2 x 2.
        video: (B, 3, F, H, W).
        generator: decides the turn; on their device.
        turn: by 0, 90, 180 or 270 degrees, where width and height differ by 0 or 180.

    Returns:
        Latents of h // 2 x w // 2, and the video of a size that is as many strides.
    """
    h, w = latent.shape[-2:]
    stride = video.shape[-1] // w
    small = (max(1, h // 2), max(1, w // 2))
    latent = _resized(latent, small)
    video = _resized(video, (small[0] * stride, small[1] * stride))
    if turn:
        quarters = int(torch.randint(4, (), generator=generator, device=generator.device))
        quarters = quarters if h == w else quarters // 2 * 2
        latent, video = latent.rot90(quarters, (-2, -1)), video.rot90(quarters, (-2, -1))
    return latent, video


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(x.transpose(1, 2).flatten(0, 1).float(), size, mode="area")
    return resized.view(len(x), -1, *resized.shape[1:]).transpose(1, 2)


def _augment_clip(clip: Tensor, generator: torch.Generator, mildly: bool) -> Tensor:
    chance = torch.rand(5, generator=generator).tolist()
    where = torch.rand(2, generator=generator).tolist()
    channels = torch.randperm(3, generator=generator)
    gain = (GAIN * torch.randn(3, 1, 1, 1, generator=generator)).exp().to(clip.device)
    offset = OFFSET * torch.randn(1, generator=generator).to(clip.device)
    if chance[0] < BACKWARDS:
        clip = clip.flip(1)
    if mildly:
        return _shift(clip, where)
    clip = _zoom(clip, 1 + MOST_CLOSER * chance[2], where) if chance[1] < CLOSER else _shift(clip, where)
    if chance[3] < EXCHANGED:
        clip = clip[channels.to(clip.device)]
    return (clip * gain + offset).clamp(-1.0, 1.0)


def _zoom(clip: Tensor, factor: float, where: list[float]) -> Tensor:
    """A part of the picture, `factor` times as large."""
    _, _, height, width = clip.shape
    size = (round(height * factor), round(width * factor))
    larger = F.interpolate(clip.transpose(0, 1), size=size, mode="bilinear", align_corners=False).transpose(0, 1)
    top, left = int(where[0] * (size[0] - height + 1)), int(where[1] * (size[1] - width + 1))
    return larger[:, :, top : top + height, left : left + width]


def _shift(clip: Tensor, where: list[float]) -> Tensor:
    """Moved by up to `MOST_SHIFTED` pixels; what comes in at the edge is mirrored."""
    _, _, height, width = clip.shape
    most = min(MOST_SHIFTED, height - 1, width - 1)
    padded = F.pad(clip.transpose(0, 1), (most, most, most, most), mode="reflect").transpose(0, 1)
    top, left = int(where[0] * (2 * most + 1)), int(where[1] * (2 * most + 1))
    return padded[:, :, top : top + height, left : left + width]
