"""The training footage as latents, encoded once and kept in the run folder while codec and footage stay the same.

shot     |----------------------------------------|
streams  [1|4|4|4|4|4|4|4|4]  each encoded afresh: its first frame stands alone, as in every clip that is made
             [1|4|4|4|4|4|4|4|4]  starts at many phases, so that more windows exist
window   frame 0 of a stream and `window - 1` neighbours of any place in it
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from autoreel.clip import Frames, to_model
from autoreel.data.loader import there_and_back
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.prior import FAR
from autoreel.runs import RunFolder, atomic_path, read_weights, write_weights

if TYPE_CHECKING:
    from autoreel.data.store import FootageStore, Shot

FORMAT = 1
FRAMES_AT_64 = 20_000  # encoded for training at 64 x 64 pixels, fewer at larger sizes: about half a minute on one core
STREAMS_AT_ONCE = 4


@dataclass(frozen=True)
class Stream:
    """A stretch of a shot that is encoded by itself.

    Args:
        shot: place in the list of shots.
        start: first frame.
        num_frames: 1 + a multiple of the temporal stride; more than the shot has are taken there and back.
    """

    shot: int
    start: int
    num_frames: int


@dataclass(frozen=True)
class LatentWindows:
    """Encoded streams, and windows of them.

    Args:
        latents: float32 (N, C, h, w), normalised, all streams one after the other.
        starts: int64 (S,), where each stream begins.
        lengths: int64 (S,), latent frames of each.
        labels: int64 (S,), -1 is none.
    """

    latents: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    def draw(self, generator: torch.Generator, batch: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
        """Random windows.

        Args:
            generator: of the step.
            batch: how many.
            window: latent frames in each; no stream is shorter.

        Returns:
            latents (B, C, T, h, w), times float32 (B, T) and labels (B,). Half of the windows are the beginning of a
            stream, the others its first frame and neighbours further on, whose distance is told as in a rollout.
        """
        stream = torch.randint(len(self.starts), (batch,), generator=generator)
        further = torch.rand(batch, generator=generator)
        room = self.lengths[stream] - window + 1  # places a window can begin at
        gap = torch.floor((2 * further - 1).clamp(min=0) * room).long()
        return self._gather(stream, gap, window)

    def spread(self, batch: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same windows at every call: beginnings of streams, evenly spread over all (see `draw`)."""
        stream = torch.linspace(0, len(self.starts) - 1, min(batch, len(self.starts))).long()
        return self._gather(stream, torch.zeros_like(stream), window)

    def _gather(self, stream: Tensor, gap: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(window)
        inside = torch.where(place > 0, place + gap[:, None], 0)
        latents = self.latents[self.starts[stream][:, None] + inside].transpose(1, 2)
        times = torch.where(place > 0, place + gap.clamp(max=FAR)[:, None], 0).float()
        return latents, times, self.labels[stream]


def plan_streams(lengths: Sequence[int], window: int, temporal_stride: int, max_frames: int) -> list[Stream]:
    """Choose what to encode.

    Args:
        lengths: frames of each shot.
        window: latent frames that the prior sees at once.
        temporal_stride: frames in a latent frame.
        max_frames: about how many frames may be encoded in all.

    Returns:
        Streams of one to two windows, at least one of every shot while that fits, evenly thinned where it does not.
        The closest spacing of starts that fits; it is odd, so that all phases of a group occur. Shots too short for
        a window that is `FAR` from its first frame are continued there and back, so that rollouts meet nothing new.
    """
    shortest = 1 + temporal_stride * (window - 1)
    with_gap = shortest + temporal_stride * FAR
    longest = max(with_gap, 1 + temporal_stride * 2 * (window - 1))

    def streams(spacing: int) -> list[Stream]:
        found = []
        for shot, length in enumerate(lengths):
            for start in range(0, max(1, length - shortest + 1), spacing):
                room = min(length - start, longest)
                least = shortest if length >= with_gap else with_gap
                found.append(Stream(shot, start, max(least, 1 + (room - 1) // temporal_stride * temporal_stride)))
        return found

    spacing = 3
    plan = streams(spacing)
    while sum(s.num_frames for s in plan) > max_frames and spacing < longest:
        spacing = min(spacing * 3 // 2 | 1, longest)
        plan = streams(spacing)
    allowed = max(1, max_frames // longest)
    if sum(s.num_frames for s in plan) > max_frames and len(plan) > allowed:
        plan = [plan[i] for i in np.linspace(0, len(plan) - 1, allowed).astype(int)]
    return plan


def cached_latents(
    run: RunFolder, store: FootageStore, split: str, codec: Codec, device: torch.device, window: int
) -> LatentWindows | None:
    """Latents of a split, from the run folder when they were made by this codec from this footage, else encoded now.

    Args:
        run: where they are kept.
        store: the footage.
        split: "train", "validation" or "test".
        codec: on `device`, with the weights that are final.
        device: to encode on.
        window: latent frames that the prior sees at once.

    Returns:
        None when the split is empty.

    Raises:
        OutputError: they cannot be written.
    """
    shots = store.split(split)
    if not shots:
        return None
    height, width = store.size
    share = 1.0 if split == "train" else 0.15
    max_frames = max(1, int(share * FRAMES_AT_64 * 64 * 64 / (height * width)))
    plan = plan_streams([shot.num_frames for shot in shots], window, codec.temporal_stride, max_frames)
    lengths = torch.tensor([1 + (s.num_frames - 1) // codec.temporal_stride for s in plan])
    starts = torch.cumsum(lengths, 0) - lengths
    labels = torch.tensor([-1 if (name := shots[s.shot].label) is None else store.labels.index(name) for s in plan])
    size = (height // codec.spatial_stride, width // codec.spatial_stride)
    layout = {"latents": ((int(lengths.sum()), codec.latent_channels, *size), torch.float32)}

    key = _key(codec, store.hash, split, plan)
    path = run.path(f"latents-{split}-{key}.safetensors")
    if path.exists():
        latents = read_weights(path, layout)["latents"]
    else:
        latents = torch.empty(layout["latents"][0])
        _encode(store, shots, plan, starts, codec, device, latents)
        for old in run.root.glob(f"latents-{split}-*.safetensors"):
            old.unlink()
        with atomic_path(path) as part:
            write_weights(part, {"latents": latents}, {"split": split})
    return LatentWindows(latents, starts, lengths, labels)


def _encode(
    store: FootageStore, shots: Sequence[Shot], plan: Sequence[Stream], starts: Tensor, codec: Codec,
    device: torch.device, latents: Tensor,
) -> None:  # fmt: skip
    by_length: dict[int, list[int]] = {}
    for index, stream in enumerate(plan):
        by_length.setdefault(stream.num_frames, []).append(index)
    for count, indices in by_length.items():
        for first in range(0, len(indices), STREAMS_AT_ONCE):
            some = indices[first : first + STREAMS_AT_ONCE]
            frames = np.stack([_frames(store, shots[plan[i].shot], plan[i].start, count) for i in some])
            with torch.no_grad(), autocast(device, matrix_dtype(device)):
                encoded = codec.normalise(codec.encode(to_model(frames, device)).mode().float())
            for i, latent in zip(some, encoded.transpose(1, 2).cpu(), strict=True):
                latents[starts[i] : starts[i] + len(latent)] = latent


def _frames(store: FootageStore, shot: Shot, start: int, count: int) -> Frames:
    if start + count <= shot.num_frames:
        return store.frames(shot, start, count)
    frames: Frames = store.frames(shot)[there_and_back(shot.num_frames, count, start)]
    return frames


def _key(codec: Codec, data_hash: str, split: str, plan: Sequence[Stream]) -> str:
    digest = hashlib.sha256(f"{FORMAT}/{data_hash}/{split}/{plan}".encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()[:16]
