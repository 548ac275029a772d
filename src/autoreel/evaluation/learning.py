"""How the encoder of a footage learns, from the training side only and without labels (a minute on two cores).

Two tasks, each on windows of 16 frames:

    which belong together   two windows of one shot, each otherwise cropped, are to be found among all others
                            (NT-Xent, Chen et al. 2020)
    what was done to it     windows are damaged in known ways and amounts - softened, with noise, in other colours or
                            brightness, slowed, halted, out of order, two laid over each other - and the amounts are to
                            be told (in the manner of Gidaris et al. 2018, and of Misra et al. 2016 for the order)

The first makes features tell persons, places and actions apart; the second makes them heed what generators get wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from autoreel.clip import to_model
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.errors import RunError, UnreadableError
from autoreel.evaluation.encoder import FEATURES, WINDOW, Encoder, at_side, look
from autoreel.evaluation.samples import read, windows
from autoreel.models.compute import autocast, choose_device, matrix_dtype
from autoreel.runs import atomic_path, layout_of, read_kept, write_kept

VERSION = 1  # of the encoder and of the way it learns; figures of different versions do not compare
STEPS = 120
SHOTS_AT_ONCE = 12  # two windows of each, and two damaged ones
RATE = 2e-3
TEMPERATURE = 0.2
DAMAGE_WEIGHT = 2.0
DAMAGES = ("softened", "noise", "red", "green", "blue", "contrast", "slowed", "halted", "disordered", "ghost")
SIGNED = ("red", "green", "blue", "contrast")  # can be done in two directions
COLOURS = ("red", "green", "blue")
WHITENED = 512  # windows
SHRINKAGE = 0.01  # of the covariance towards a sphere
CHANCE = 0.35  # of each kind of damage, in a window that is damaged


def open_encoder(
    folder: Path, store: FootageStore, *, seed: int = 0, report: Callable[[str], None] | None = None
) -> Encoder:
    """The encoder of a footage: read from a folder, or trained and kept there.

    Args:
        folder: it is made when absent.
        store: the footage; only its training side is looked at.
        seed: of the training.
        report: told when it is trained.

    Raises:
        FootageError: nothing to train on.
        OutputError: it cannot be written.
        UnreadableError: the one that is there cannot be read now.
    """
    path = folder / f"encoder-{store.hash[:16]}-{seed}-{VERSION}.safetensors"
    encoder = Encoder()
    if path.is_file():
        try:
            encoder.load_state_dict(read_kept(path, layout_of(encoder.state_dict())))
            return encoder.eval()
        except UnreadableError:
            raise  # learned again on another machine it could be another, and figures would not compare
        except RunError:
            pass  # damaged: it is made again, from the same footage and seed
    if report is not None:
        report("an encoder of this footage is trained, which takes a minute or two; it is kept for the next time")
    encoder = learn(store, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        write_kept(part, encoder.state_dict(), {"data": store.hash, "seed": str(seed), "version": str(VERSION)})
    return encoder


def learn(store: FootageStore, *, seed: int = 0, steps: int | None = None) -> Encoder:
    """Train an encoder on the training side of a footage.

    Args:
        store: the footage.
        seed: the same footage and seed give the same encoder on one kind of machine.
        steps: updates; None for as many as are good for it.

    Raises:
        FootageError: nothing to train on.
    """
    device = choose_device("auto")
    loader = ClipLoader(store, "train", 2 * WINDOW, SHOTS_AT_ONCE, seed, mirror=True)
    random = torch.Generator().manual_seed(seed)
    steps = STEPS if steps is None else steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, teller, projection = Encoder(), nn.Linear(FEATURES, len(DAMAGES)), nn.Linear(FEATURES, FEATURES)
    learners = nn.ModuleList([encoder, teller, projection]).to(device).train()
    optimizer = torch.optim.AdamW(learners.parameters(), lr=RATE, weight_decay=0.02)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = loader.batch(step)
        whole = pairs_of(at_side(to_model(batch.frames)), random)
        damaged, amounts = damage(whole, random)
        with autocast(device, matrix_dtype(device)):
            traits = encoder.traits(torch.cat([whole, damaged]).to(device))
        found = encoder.features(traits)
        told = teller(found)
        expected = torch.cat([torch.zeros(len(whole), len(DAMAGES)), amounts]).to(device)
        loss = together(projection(found[: len(whole)]), strangers(batch.ids).to(device))
        loss = loss + DAMAGE_WEIGHT * F.smooth_l1_loss(told, expected, beta=0.1)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(learners.parameters(), 1.0)
        optimizer.step()
    encoder = encoder.cpu().eval()
    _whiten(encoder, look(encoder, read(store, windows(store.split("train"), WINDOW, WHITENED))).traits)
    return encoder


@torch.no_grad()
def _whiten(encoder: Encoder, traits: NDArray[np.float64]) -> None:
    """Give every direction of the features the same deviation in the training footage.

    What hardly varies in real footage - flicker, order, sharpness - would drown in what does: persons, colours.
    """
    seen = traits @ encoder.out.weight.double().numpy().T
    covariance = np.cov(seen, rowvar=False)
    covariance += SHRINKAGE * np.trace(covariance) / FEATURES * np.eye(FEATURES)
    values, vectors = np.linalg.eigh(covariance)
    whitening = (vectors / np.sqrt(values)).T
    encoder.out.weight.copy_(torch.from_numpy(whitening @ encoder.out.weight.double().numpy()))
    encoder.out.bias.copy_(torch.from_numpy(-whitening @ seen.mean(0)))


def pairs_of(video: Tensor, random: torch.Generator) -> Tensor:
    """Two windows of each clip, from anywhere in it, each somewhat cropped.

    Args:
        video: (B, 3, T, H, W), T at least 16.
        random: decides where.

    Returns:
        (2 * B, 3, 16, H, W): first one window of each, then the other.
    """
    size = video.shape[-1]
    made = []
    for clip in [*video, *video]:
        start = int(torch.randint(0, clip.shape[1] - WINDOW + 1, (), generator=random))
        side = size - int(torch.randint(0, size // 5 + 1, (), generator=random))
        top, left = (int(torch.randint(0, size - side + 1, (), generator=random)) for _ in range(2))
        kept = clip[:, start : start + WINDOW, top : top + side, left : left + side].transpose(0, 1)
        if side < size:
            kept = F.interpolate(kept, (size, size), mode="bilinear", align_corners=False)
        made.append(kept.transpose(0, 1))
    return torch.stack(made)


def strangers(ids: Sequence[str]) -> Tensor:
    """Which clips of a batch may count as different: of other shots, or far from each other in one.

    Args:
        ids: as in `Batch`: shot, "@", first frame, "~" when mirrored.

    Returns:
        bool (B, B).
    """
    places = [(shot, int(start.rstrip("~"))) for shot, start in (name.rsplit("@", 1) for name in ids)]
    apart = [[a[0] != b[0] or abs(a[1] - b[1]) >= 4 * WINDOW for b in places] for a in places]
    return torch.tensor(apart)


def together(points: Tensor, others: Tensor) -> Tensor:
    """NT-Xent: each window's partner is to be the nearest (Chen et al. 2020, eq. 1).

    Args:
        points: (2 * B, D); partners stand B apart.
        others: bool (B, B), which clips count as different.
    """
    half = len(points) // 2
    unit = F.normalize(points, dim=1)
    likeness = unit @ unit.T / TEMPERATURE
    partner = torch.arange(2 * half, device=points.device).roll(half)
    seen = others.repeat(2, 2)
    seen[torch.arange(2 * half), partner] = True
    return F.cross_entropy(likeness.masked_fill(~seen, -1e4), partner)


def damage(video: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows spoiled in several ways at once.

    Args:
        video: (B, 3, 16, H, W) in [-1, 1].
        random: decides how.

    Returns:
        The same shape, and how much of each of DAMAGES was done: (B, 10), of size one.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=random))

    spoiled, amounts = [], torch.zeros(len(video), len(DAMAGES))
    for i, window in enumerate(video):
        chosen = [name for name in DAMAGES if draw(0, 1) < CHANCE]
        for name in chosen or ["softened"]:
            amount = draw(0.1, 1.0)
            if name in SIGNED and draw(0, 1) < 0.5:
                amount = -amount
            window = _spoil(window, name, amount, video[i - 1], random)
            amounts[i, DAMAGES.index(name)] = amount
        spoiled.append(window.clamp(-1, 1))
    return torch.stack(spoiled), amounts


def _spoil(window: Tensor, name: str, amount: float, other: Tensor, random: torch.Generator) -> Tensor:
    """One kind of damage to a window (3, T, H, W)."""
    frames = window.shape[1]
    match name:
        case "softened":
            return softened(window, 2.0 * amount)
        case "noise":
            return window + 0.15 * amount * torch.randn(window.shape, generator=random)
        case "red" | "green" | "blue":
            offset = torch.zeros(3)
            offset[COLOURS.index(name)] = 0.3 * amount
            return window + offset.view(3, 1, 1, 1)
        case "contrast":
            return window * math.exp(0.5 * amount)
        case "slowed":
            return window[:, (torch.arange(frames) * (1 - amount)).long()]
        case "halted":
            return window[:, torch.arange(frames).clamp(max=round((frames - 1) * (1 - amount)))]
        case "disordered":
            order = torch.arange(frames)
            moved = torch.randperm(frames, generator=random)[: max(2, round(amount * frames))]
            order[moved] = moved[torch.randperm(len(moved), generator=random)]
            return window[:, order]
        case _:
            return window + 0.5 * amount * (other - window)


def softened(window: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of frames (3, T, H, W); sigma in pixels."""
    radius = max(1, round(2.5 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = weights / weights.sum()
    planes = F.pad(window.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    rows = F.conv2d(planes, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1)).view_as(window)
