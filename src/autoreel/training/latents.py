"""The training footage as latents, encoded once and kept in the run folder while codec and footage stay the same.

shot     |----------------------------------------|
streams  [1|4|4|4|4|4|4|4|4]  each encoded afresh: its first frame stands alone, as in every clip that is made
             [1|4|4|4|4|4|4|4|4]  starts at many phases, so that more windows exist
         where footage is little, each stream has a twin: the same pictures mirrored left to right, and told so
window   frame 0 of a stream and `window - 1` neighbours of any place in it

How much is encoded follows the budget: a share of it, at the speed that the first streams are encoded with. The speed
is kept beside the latents, so that the same budget means the same latents in every session, and a larger one more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoreel.clip import Frames, to_model
from autoreel.data.loader import RARE_POWER, there_and_back
from autoreel.errors import RunError, UnreadableError
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.prior import FAR
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, atomic_path, read_kept, read_metadata, write_kept
from autoreel.training.budget import Budget

if TYPE_CHECKING:
    from autoreel.data.store import FootageStore, Shot

FORMAT = 2
SHARE = 0.05  # of the prior's budget that encoding may take
MOST = 0.2  # of it, when one stream of each shot, or `FRAMES_AT_64`, takes so long
FRAMES_AT_64 = 20_000  # at least, at 64 x 64 pixels, fewer at larger sizes and where this would take over `MOST`
MOST_BYTES = 4 << 30  # of latents: they are kept in memory
HELD_OUT_SHARE = 0.15  # of the frames that are encoded for training
STREAMS_AT_ONCE = 4


@dataclass(frozen=True)
class Stream:
    """A stretch of a shot that is encoded by itself.

    Args:
        shot: place in the list of shots.
        start: first frame.
        num_frames: 1 + a multiple of the temporal stride; more than the shot has are taken there and back.
        mirrored: whether its pictures are, left to right.
    """

    shot: int
    start: int
    num_frames: int
    mirrored: bool = False


class Windows(NamedTuple):
    """Windows to learn from.

    Args:
        latents: float32 (B, C, T, h, w).
        times: float32 (B, T).
        labels: int64 (B,), -1 is none.
        mirrored: bool (B,).
    """

    latents: Tensor
    times: Tensor
    labels: Tensor
    mirrored: Tensor


@dataclass(frozen=True)
class LatentWindows:
    """Encoded streams, and windows of them.

    Args:
        latents: float32 (N, C, h, w), normalised, all streams one after the other.
        starts: int64 (S,), where each stream begins.
        lengths: int64 (S,), latent frames of each.
        labels: int64 (S,), -1 is none.
        num_mirrored: how many streams are mirrored: the last ones, each the twin of one before, in the same order.
    """

    latents: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor
    num_mirrored: int = 0

    @property
    def as_shot(self) -> LatentWindows:
        """The streams that are not mirrored."""
        count = len(self.starts) - self.num_mirrored
        latents = self.latents[: int(self.starts[count])] if self.num_mirrored else self.latents
        return LatentWindows(latents, self.starts[:count], self.lengths[:count], self.labels[:count])

    def labelled(self, labels: Tensor) -> LatentWindows:
        """The same with other labels, int64, of the streams that are not mirrored; twins have the same."""
        return replace(self, labels=torch.cat([labels, labels[: self.num_mirrored]]))

    def draw(self, generator: torch.Generator, batch: int, window: int) -> Windows:
        """Random windows: a label is drawn first, as `ClipLoader` does, then one of its streams.

        Args:
            generator: of the step.
            batch: how many.
            window: latent frames in each; no stream is shorter.

        Returns:
            Half of them are the beginning of a stream, the others its first frame and neighbours further on, whose
            distance is told as in a rollout.
        """
        place = torch.searchsorted(self._cumulative, torch.rand(batch, generator=generator, dtype=torch.float64))
        stream = place.clamp(max=len(self.starts) - 1)  # the last sum may lie a rounding below 1
        further = torch.rand(batch, generator=generator)
        room = self.lengths[stream] - window + 1  # places a window can begin at
        gap = torch.floor((2 * further - 1).clamp(min=0) * room).long()
        return self._gather(stream, gap, window)

    def spread(self, batch: int, window: int) -> Windows:
        """The same windows at every call: beginnings of streams, evenly spread over all (see `draw`)."""
        stream = torch.linspace(0, len(self.starts) - 1, min(batch, len(self.starts))).long()
        return self._gather(stream, torch.zeros_like(stream), window)

    @cached_property
    def _cumulative(self) -> Tensor:
        """Chances of the streams, added up: a label in proportion to (its streams)**RARE_POWER."""
        _, number, counts = torch.unique(self.labels, return_inverse=True, return_counts=True)
        chances = counts[number].double() ** (RARE_POWER - 1)
        return torch.cumsum(chances / chances.sum(), 0)

    def _gather(self, stream: Tensor, gap: Tensor, window: int) -> Windows:
        place = torch.arange(window)
        inside = torch.where(place > 0, place + gap[:, None], 0)
        latents = self.latents[self.starts[stream][:, None] + inside].transpose(1, 2)
        times = torch.where(place > 0, place + gap.clamp(max=FAR)[:, None], 0).float()
        return Windows(latents, times, self.labels[stream], stream >= len(self.starts) - self.num_mirrored)


def plan_streams(
    lengths: Sequence[int], window: int, temporal_stride: int, max_frames: int, labels: Sequence[int] | None = None,
    mirror: bool = False,
) -> list[Stream]:  # fmt: skip
    """Choose what to encode.

    Args:
        lengths: frames of each shot.
        window: latent frames that the prior sees at once.
        temporal_stride: frames in a latent frame.
        max_frames: about how many frames may be encoded in all.
        labels: of each shot; None when all have the same.
        mirror: also each stream mirrored, while that fits with streams that overlap; the mirrored ones are the last.

    Returns:
        Streams of one to two windows, at least one of every shot while that fits; where it does not, evenly thinned
        within each label, at least one of each. The closest spacing of starts that fits; it is odd, so that all phases
        of a group occur. Shots too short for a window that is `FAR` from its first frame are continued there and back,
        so that rollouts meet nothing new.
    """
    shortest, with_gap, longest = _stream_lengths(window, temporal_stride)

    def streams(spacing: int) -> list[Stream]:
        found = []
        for shot, length in enumerate(lengths):
            for start in range(0, max(1, length - shortest + 1), spacing):
                room = min(length - start, longest)
                least = shortest if length >= with_gap else with_gap
                found.append(Stream(shot, start, max(least, 1 + (room - 1) // temporal_stride * temporal_stride)))
        return found

    def closest(most: float, widest: int) -> list[Stream]:
        spacing = 3
        plan = streams(spacing)
        while sum(s.num_frames for s in plan) > most and spacing < widest:
            spacing = min(spacing * 3 // 2 | 1, widest)
            plan = streams(spacing)
        return plan

    if mirror:
        plan = closest(max_frames / 2, shortest // 2 - 1 | 1)
        if 2 * sum(s.num_frames for s in plan) <= max_frames:
            return [*plan, *(replace(stream, mirrored=True) for stream in plan)]
    plan = closest(max_frames, longest)
    allowed = max(1, max_frames // longest)
    if sum(s.num_frames for s in plan) <= max_frames or len(plan) <= allowed:
        return plan
    by_label: dict[int, list[Stream]] = {}
    for stream in plan:
        by_label.setdefault(0 if labels is None else labels[stream.shot], []).append(stream)
    thinned = []
    for members in by_label.values():
        kept = max(1, len(members) * allowed // len(plan))
        thinned += [members[i] for i in np.linspace(0, len(members) - 1, kept).astype(int)]
    return sorted(thinned, key=lambda stream: (stream.shot, stream.start))


def _stream_lengths(window: int, temporal_stride: int) -> tuple[int, int, int]:
    """Frames of the shortest stream, of one whose last window is `FAR` from its first frame, and of the longest."""
    shortest = 1 + temporal_stride * (window - 1)
    with_gap = shortest + temporal_stride * FAR
    return shortest, with_gap, max(with_gap, 1 + temporal_stride * 2 * (window - 1))


def frames_to_encode(num_shots: int, pixels: int, frame_bytes: float, longest: int, affordable: float) -> int:
    """How many frames of the training side are encoded.

    Args:
        num_shots: of the training side.
        pixels: of a frame.
        frame_bytes: of its latents.
        longest: frames of the longest stream.
        affordable: frames that could be encoded in the whole budget.
    """
    least = max(FRAMES_AT_64 * 64 * 64 / pixels, num_shots * longest)
    return max(1, int(min(max(min(least, MOST * affordable), SHARE * affordable), MOST_BYTES / frame_bytes)))


def cached_latents(
    run: RunFolder, store: FootageStore, split: str, codec: VideoCodec, device: torch.device, budget: Budget
) -> LatentWindows | None:
    """Latents of a split, from the run folder when they were made by this codec from this footage, else encoded now.

    Args:
        run: where they are kept.
        store: the footage.
        split: "train", "validation" or "test".
        codec: on `device`, with the weights that are final.
        device: to encode on.
        budget: of the prior; how much is encoded follows it.

    Returns:
        None when the split is empty.

    Raises:
        OutputError: they cannot be written.
        UnreadableError: those that are there cannot be read now.
    """
    shots = store.split(split)
    if not shots:
        return None
    window, training = run.config.prior.window, run.config.training
    height, width = store.size
    size = (height // codec.spatial_stride, width // codec.spatial_stride)
    labels = [-1 if shot.label is None else store.labels.index(shot.label) for shot in shots]
    longest = _stream_lengths(window, codec.temporal_stride)[2]
    frame_bytes = 4 * codec.latent_channels * size[0] * size[1] / codec.temporal_stride

    def plan_at(frames_per_s: int) -> list[Stream]:
        # A number of steps has no time: then it is what the steps will see, once.
        seen = (budget.steps or 0) * training.prior_batch * window * codec.temporal_stride
        affordable = seen if budget.seconds is None else budget.seconds * frames_per_s
        max_frames = frames_to_encode(len(shots), height * width, frame_bytes, longest, affordable)
        if split != "train":
            max_frames = max(1, int(HELD_OUT_SHARE * max_frames))
        mirror = run.config.prior.mirror and split == "train"
        frames = [shot.num_frames for shot in shots]
        return plan_streams(frames, window, codec.temporal_stride, max_frames, labels, mirror)

    def windows(plan: Sequence[Stream], latents: Tensor) -> LatentWindows:
        lengths = _latent_lengths(plan, codec)
        return LatentWindows(
            latents, torch.cumsum(lengths, 0) - lengths, lengths, torch.tensor([labels[s.shot] for s in plan]),
            sum(s.mirrored for s in plan),
        )  # fmt: skip

    start = f"latents-{split}-{_made_of(codec, store.hash)}"
    frames_per_s = 0  # not known
    for path in run.root.glob(f"{start}-*.safetensors"):
        try:
            frames_per_s = int(read_metadata(path).get("frames_per_s", "0"))
            plan = plan_at(frames_per_s)
            if path.name == f"{start}-{_digest(plan)}.safetensors" and (frames_per_s or budget.seconds is None):
                shape = (int(_latent_lengths(plan, codec).sum()), codec.latent_channels, *size)
                return windows(plan, read_kept(path, {"latents": (shape, torch.float32)})["latents"])
        except UnreadableError:
            raise  # measured again they could be others, and training would not go on bit for bit
        except (RunError, ValueError):
            continue  # damaged: they are encoded again

    if budget.seconds is not None and not frames_per_s:
        frames_per_s = _speed(store, shots, longest, codec, device)
    plan = plan_at(frames_per_s)
    lengths = _latent_lengths(plan, codec)
    latents = torch.empty(int(lengths.sum()), codec.latent_channels, *size)
    _encode(store, shots, plan, torch.cumsum(lengths, 0) - lengths, codec, device, latents)
    for old in run.root.glob(f"latents-{split}-*.safetensors"):
        old.unlink()
    with atomic_path(run.path(f"{start}-{_digest(plan)}.safetensors")) as part:
        write_kept(part, {"latents": latents}, {"split": split, "frames_per_s": str(frames_per_s)})
    return windows(plan, latents)


def _latent_lengths(plan: Sequence[Stream], codec: VideoCodec) -> Tensor:
    return torch.tensor([1 + (stream.num_frames - 1) // codec.temporal_stride for stream in plan])


def _speed(
    store: FootageStore, shots: Sequence[Shot], longest: int, codec: VideoCodec, device: torch.device
) -> int:  # fmt: skip
    """Frames per second that can be encoded, measured on the first streams; the first time only warms up."""
    plan = [Stream(shot, 0, longest) for shot in range(min(STREAMS_AT_ONCE, len(shots)))]
    lengths = _latent_lengths(plan, codec)
    height, width = store.size
    size = (height // codec.spatial_stride, width // codec.spatial_stride)
    latents = torch.empty(int(lengths.sum()), codec.latent_channels, *size)
    took_s = 0.0
    for _ in range(2):
        began_s = time.perf_counter()
        _encode(store, shots, plan, torch.cumsum(lengths, 0) - lengths, codec, device, latents)
        took_s = time.perf_counter() - began_s
    return max(1, round(sum(stream.num_frames for stream in plan) / max(took_s, 1e-6)))


def _encode(
    store: FootageStore, shots: Sequence[Shot], plan: Sequence[Stream], starts: Tensor, codec: VideoCodec,
    device: torch.device, latents: Tensor,
) -> None:  # fmt: skip
    by_length: dict[int, list[int]] = {}
    for index, stream in enumerate(plan):
        by_length.setdefault(stream.num_frames, []).append(index)
    for indices in by_length.values():
        for first in range(0, len(indices), STREAMS_AT_ONCE):
            some = indices[first : first + STREAMS_AT_ONCE]
            frames = np.stack([_frames(store, shots, plan[i]) for i in some])
            with torch.no_grad(), autocast(device, matrix_dtype(device)):
                encoded = codec.normalise(codec.encode(to_model(frames, device)).mode().float())
            for i, latent in zip(some, encoded.transpose(1, 2).cpu(), strict=True):
                latents[starts[i] : starts[i] + len(latent)] = latent


def _frames(store: FootageStore, shots: Sequence[Shot], stream: Stream) -> Frames:
    shot, start, count = shots[stream.shot], stream.start, stream.num_frames
    if start + count <= shot.num_frames:
        frames = store.frames(shot, start, count)
    else:
        frames = store.frames(shot)[there_and_back(shot.num_frames, count, start)]
    return frames[:, :, ::-1] if stream.mirrored else frames


def _digest(plan: Sequence[Stream]) -> str:
    # Plans of before there were twins keep their names, and so their latents.
    return hashlib.sha256(str(plan).replace(", mirrored=False", "").encode()).hexdigest()[:12]


def _made_of(codec: VideoCodec, data_hash: str) -> str:
    digest = hashlib.sha256(f"{FORMAT}/{data_hash}".encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()[:12]
