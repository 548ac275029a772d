"""A trained run, ready to encode, decode and generate: the public Python API.

    frames --fit--> --codec--> latents --timeline--> --prior--> latents --codec, streamed--> frames

Every verb is a timeline and goes through one path, `Run._fill`; nothing here knows how frames are made.
Frames are uint8 (T, H, W, 3); latents are float32 (n, C, h, w), normalised; both of any length.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autoreel.clip import Frames, to_frames, to_model
from autoreel.config import Config, nearest
from autoreel.errors import RunError, UsageError
from autoreel.generation import timeline as rows
from autoreel.generation.rollout import Sampling, roll_out
from autoreel.generation.sampler import Solver
from autoreel.generation.timeline import NO_LABEL, Timeline
from autoreel.media.geometry import Fit, Orientation, plan
from autoreel.models.blocks import Cache
from autoreel.models.compute import autocast, choose_device, matrix_dtype
from autoreel.models.opening import open_codec
from autoreel.models.prior import Prior
from autoreel.models.tiling import pad_to_stride, tiled_where_needed
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, layout_of

Latents = NDArray[np.float32]
GROUPS_AT_ONCE = 4  # latent frames encoded or decoded together: memory does not grow with length
END_GROUPS = 2  # of a far end that are shown to the prior as known


@dataclass(frozen=True)
class Options:
    """How footage is made; None takes what the run was trained with.

    Args:
        guidance: 1 follows the label as trained, above exaggerates it.
        steps: of the solver for each latent frame.
        solver: "adams", "euler", or "heun" for two evaluations in each step.
    """

    guidance: float | None = None
    steps: int | None = None
    solver: Solver = "adams"


DEFAULTS = Options()


class Run:
    """A trained run.

    Args:
        config: what it was made from.
        codec: trained.
        prior: trained; None when only the codec is.
        labels: names, in the order of their numbers.
        size: (height, width) of its frames, pixels.
        rate: frames per second.
        device: to compute on.
        no_prior: why there is none.
    """

    def __init__(
        self,
        config: Config,
        codec: VideoCodec,
        prior: Prior | None,
        labels: Sequence[str],
        size: tuple[int, int],
        rate: Fraction,
        device: torch.device,
        no_prior: str = "this run's prior is not trained yet",
    ) -> None:
        self.config, self.labels, self.size, self.rate, self.device = config, tuple(labels), size, rate, device
        self._untiled = codec.to(device).eval()
        self._codec = tiled_where_needed(self._untiled, self.size, GROUPS_AT_ONCE, device)
        self._prior = prior.to(device).eval() if prior is not None else None
        self._dtype, self._no_prior = matrix_dtype(device), no_prior
        if self._prior is not None:  # else autocast would copy every matrix anew for each frame
            for matrix in self._prior.matrices():
                matrix.requires_grad_(False).data = matrix.data.to(self._dtype)

    @classmethod
    def open(cls, path: Path, device: str = "auto") -> Run:
        """Open a run folder.

        Args:
            path: that `autoreel train` or `autoreel film` made.
            device: "auto", "cpu" or "cuda".

        Raises:
            RunError: absent, damaged, of another version, or its codec is not trained yet.
            UsageError: there is no such device.
        """
        folder = RunFolder.open(Path(path))
        manifest, config = folder.manifest, folder.config
        if manifest.size is None or manifest.rate is None:
            raise RunError(f"{path} was not trained yet; run `autoreel train` on it")
        codec = open_codec(folder)
        prior, no_prior = None, "this run's prior is not trained yet"
        if "prior.safetensors" in manifest.weights and not _belong_together(folder):
            no_prior = "this run's prior was trained with another codec than the one that is there now"
        elif "prior.safetensors" in manifest.weights:
            height, width = manifest.size
            latent_size = (height // codec.spatial_stride, width // codec.spatial_stride)
            prior = Prior(config.prior, codec.latent_channels, latent_size, len(manifest.labels))
            prior.load_state_dict(folder.load_weights("prior.safetensors", layout_of(prior.state_dict())))
        return cls(config, codec, prior, manifest.labels, manifest.size, manifest.rate, choose_device(device), no_prior)

    # --- between frames and latents

    def encode(self, frames: Frames) -> Latents:
        """Write frames as latents.

        Args:
            frames: uint8 (T, H, W, 3) of any size, which is fitted, and any length; the last frame is repeated until
                its group is full.

        Returns:
            float32 (1 + ceil((T - 1) / temporal stride), C, h, w).
        """
        frames = self._fitted(frames)
        stride = self._codec.temporal_stride
        missing = -(len(frames) - 1) % stride
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        return _public(self._encode(frames))

    def decode(self, latents: Latents, num_frames: int | None = None) -> Frames:
        """Paint latents as frames.

        Args:
            latents: float32 (n, C, h, w).
            num_frames: how many frames to keep; None for all 1 + (n - 1) * temporal stride.
        """
        return _whole(self.decode_stream([latents], num_frames))

    def decode_stream(self, latents: Iterable[Latents], num_frames: int | None = None) -> Iterator[Frames]:
        """`decode` for pieces of any length; yields frames as they are painted."""
        return self._paint((self._internal(piece) for piece in latents), 0, num_frames)

    # --- the verbs, whole and as streams of frame chunks

    def generate(
        self, label: str | None = None, num_frames: int = 33, seed: int = 0, options: Options = DEFAULTS
    ) -> Frames:
        """New footage.

        Args:
            label: one of `labels`; None for any.
            num_frames: length.
            seed: the same seed gives the same frames.
            options: guidance, steps, solver.

        Returns:
            uint8 (num_frames, H, W, 3).

        Raises:
            UsageError: no such label, or not a length.
            RunError: the prior is not trained yet.
        """
        return _whole(self.generate_stream(label, num_frames, seed, options))

    def generate_stream(
        self, label: str | None = None, num_frames: int = 33, seed: int = 0, options: Options = DEFAULTS
    ) -> Iterator[Frames]:
        """`generate`, yielding frames as they are made."""
        row = rows.generate(self._latents_for(num_frames), self._shape).of(self._number(label), seed)
        return self._fill(row, options, 0, num_frames)

    def generate_batch(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int], options: Options = DEFAULTS
    ) -> Frames:
        """Several clips of one length made side by side, which is faster than one by one.

        Args:
            labels: one for each clip.
            num_frames: of every clip.
            seeds: one for each clip.
            options: guidance, steps, solver.

        Returns:
            uint8 (B, num_frames, H, W, 3).
        """
        latents = self._new_latents(labels, num_frames, seeds, options)
        return np.stack([_whole(self._paint([clip], 0, num_frames)) for clip in torch.split(latents, 1)])

    def generate_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int], options: Options = DEFAULTS
    ) -> list[Latents]:
        """`generate_batch` before it is painted, for whoever wants to choose first; `decode` paints what was chosen.

        Returns:
            For each clip float32 (n, C, h, w).
        """
        latents = self._new_latents(labels, num_frames, seeds, options)
        return [_public(clip) for clip in torch.split(latents, 1)]

    def _new_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int], options: Options
    ) -> Tensor:
        """Normalised latents (B, C, n, h, w) of clips made side by side."""
        blank = rows.generate(self._latents_for(num_frames), self._shape)
        row = [blank.of(self._number(label), seed) for label, seed in zip(labels, seeds, strict=True)]
        if not row:
            raise UsageError("at least one label is needed")
        with torch.no_grad():
            return torch.cat(list(self._roll(row, self._sampling(options))), 2)

    def continue_(
        self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Frames:
        """What happens after a clip.

        Args:
            frames: uint8 (T, H, W, 3), any size and length.
            num_frames: frames to make.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (T + num_frames, H, W, 3); the first T are the codec's own reconstruction of the clip.
        """
        return _whole(self.continue_stream(frames, num_frames, label, seed, options))

    def continue_stream(
        self, frames: Frames | Iterable[Frames], num_frames: int, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Iterator[Frames]:  # fmt: skip
        """`continue_` for a clip or chunks of one, yielding frames as they are made, in memory that does not grow."""
        chunks = iter([frames] if isinstance(frames, np.ndarray) else frames)
        blank = rows.generate(self._groups_for(num_frames), self._shape).of(self._number(label), seed)
        return self._continue(chunks, num_frames, blank, self._sampling(options))

    def _continue(
        self, chunks: Iterator[Frames], num_frames: int, blank: Timeline, sampling: Sampling
    ) -> Iterator[Frames]:
        encoding, decoding = self._codec.new_cache(), self._codec.new_cache()
        known: list[Tensor] = []  # the first latent frame, then the latest: more is never looked at
        left_out = 0
        for piece, still in self._ending_on_a_group(chunks):
            with torch.no_grad(), autocast(self.device, self._dtype):
                latent = self._codec.encode_chunk(to_model(piece, self.device), encoding).mode()
                painted = to_frames(self._codec.decode_chunk(latent, decoding))[0]
            yield painted[still:]
            known += torch.split(self._codec.normalise(latent.float())[0].cpu(), 1, 1)
            excess = max(0, len(known) - self.config.prior.window)
            del known[1 : 1 + excess]
            left_out += excess
        row = rows.continue_(torch.cat(known, 1), len(blank), left_out).of(blank.label, blank.seed)
        made = itertools.islice(self._roll([row], sampling), 1, None)  # what comes first is what is known
        yield from self._paint(made, 0, num_frames, decoding)

    def animate(
        self, picture: Frames, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Frames:
        """A picture starts to move.

        Args:
            picture: uint8 (H, W, 3), any size.
            num_frames: length of the result, the picture included.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (num_frames, H, W, 3); the first is the codec's own reconstruction of the picture.
        """
        return _whole(self.animate_stream(picture, num_frames, label, seed, options))

    def animate_stream(
        self, picture: Frames, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Iterator[Frames]:
        """`animate`, yielding frames as they are made."""
        if picture.ndim != 3:
            raise UsageError(f"one picture (H, W, 3) is needed, not {picture.shape}")
        known = self._encode(self._fitted(picture[None]))
        row = rows.animate(known[0], self._latents_for(num_frames) - 1).of(self._number(label), seed)
        return self._fill(row, options, 0, num_frames)

    def between(
        self, start: Frames, end: Frames, num_frames: int, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Frames:  # fmt: skip
        """What happened between two clips.

        Args:
            start: uint8 (T, H, W, 3).
            end: uint8 (T', H, W, 3).
            num_frames: frames to make between them, rounded up to a whole group.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (T + made + T', H, W, 3); start and end are the codec's own reconstructions.
        """
        known, skipped = self._encode_to_the_end(start)
        new = self._groups_for(num_frames)
        row = rows.between(known, new, self._encode_with_past(end)).of(self._number(label), seed)
        length = len(start) + new * self._codec.temporal_stride + len(end)
        return _whole(self._fill(row, options, skipped, length))

    def loop(
        self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Frames:
        """A clip and a way back to its start, to be repeated without a seam.

        Args:
            frames: uint8 (T, H, W, 3).
            num_frames: frames to make, rounded up to a whole group.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (T + made, H, W, 3).
        """
        known, skipped = self._encode_to_the_end(frames)
        new, stride = self._groups_for(num_frames), self._codec.temporal_stride
        again = self._encode_with_past(frames[: END_GROUPS * stride])
        row = rows.loop(known, new, again).of(self._number(label), seed)
        return _whole(self._fill(row, options, skipped, len(frames) + new * stride))

    def vary(
        self, frames: Frames, strength: float = 0.6, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Frames:  # fmt: skip
        """The same scene, another take.

        Args:
            frames: uint8 (T, H, W, 3).
            strength: 0 changes nothing, 1 keeps nothing.
            label, seed, options: as in `generate`.
        """
        if not 0 <= strength <= 1:
            raise UsageError(f"strength {strength} must lie between 0 and 1")
        known = self._internal(self.encode(frames))[0]
        return _whole(self._fill(rows.vary(known, strength).of(self._number(label), seed), options, 0, len(frames)))

    def rebuild(self, frames: Frames, size: tuple[int, int] | None = None) -> Frames:
        """The compression itself: encode and decode, any size and length.

        Args:
            frames: uint8 (T, H, W, 3).
            size: (height, width) of the result, any; large ones are cut into tiles where memory asks for it. None is
                the run's, which it learned at.
        """
        return _whole(self.rebuild_stream([frames], size))

    def rebuild_stream(self, frames: Iterable[Frames], size: tuple[int, int] | None = None) -> Iterator[Frames]:
        """`rebuild` for chunks of any length: frames come out as they go in, in memory that does not grow."""
        height, width = size = self.size if size is None else size
        codec = tiled_where_needed(self._untiled, size, GROUPS_AT_ONCE, self.device)
        encoding, decoding = codec.new_cache(), codec.new_cache()
        stride = codec.temporal_stride
        waiting: Frames = np.empty((0, *size, 3), np.uint8)
        started = False
        chunks = iter(frames)
        while True:
            chunk = next(chunks, None)
            ended = chunk is None
            if chunk is not None:
                waiting = np.concatenate([waiting, fit_frames(chunk, size, self.config.data.fit)])
            length = len(waiting)
            if ended:  # fill the last group
                missing = -(length - (not started)) % stride if length else 0
                waiting = np.concatenate([waiting, np.repeat(waiting[-1:], missing, axis=0)])
            while len(waiting) >= (stride if started else 1):
                take = (0 if started else 1) + stride * min(GROUPS_AT_ONCE, (len(waiting) - (not started)) // stride)
                video = pad_to_stride(to_model(waiting[:take], self.device), codec.spatial_stride)
                waiting, started = waiting[take:], True
                with torch.no_grad(), autocast(self.device, self._dtype):
                    latent = codec.encode_chunk(video, encoding).mode()
                    painted = to_frames(codec.decode_chunk(latent, decoding)[..., :height, :width])[0]
                yield painted[:length] if ended else painted
                length -= take
            if ended:
                return

    # --- the one path

    def _fill(self, row: Timeline, options: Options, skipped: int, end: int) -> Iterator[Frames]:
        """Make what is to be made and paint it: frames `skipped` to `skipped + end` of the row."""
        if bool((row.level == 0).all()):
            return self._paint([row.latents[None, :, : row.shown].to(self.device)], skipped, end)
        return self._paint(self._roll([row], self._sampling(options)), skipped, end)

    def _roll(self, row: Sequence[Timeline], sampling: Sampling) -> Iterator[Tensor]:
        assert self._prior is not None, "_sampling was asked first"
        return roll_out(self._prior, row, sampling)

    def _sampling(self, options: Options) -> Sampling:
        """How to sample; everything that can be wrong about it is said here, before any work."""
        if self._prior is None:
            raise RunError(f"{self._no_prior}; run `autoreel train --stage prior` on it")
        config = self.config.prior
        steps = config.steps if options.steps is None else options.steps
        guidance = config.guidance if options.guidance is None else options.guidance
        if steps < 1:
            raise UsageError(f"at least one step is needed, not {steps}")
        return Sampling(
            steps=steps, guidance=guidance, context_noise=config.context_noise, solver=options.solver, dtype=self._dtype
        )

    def _paint(
        self, latents: Iterable[Tensor], skipped: int, num_frames: int | None, cache: Cache | None = None
    ) -> Iterator[Frames]:
        """Decode pieces of normalised latents (1, C, n, h, w) in one stream; with a cache, one that has begun."""
        cache = self._codec.new_cache() if cache is None else cache
        left = num_frames
        for piece in itertools.chain.from_iterable(torch.split(piece, GROUPS_AT_ONCE, 2) for piece in latents):
            if left is not None and left <= 0:
                return
            with torch.no_grad(), autocast(self.device, self._dtype):
                video = self._codec.decode_chunk(self._codec.denormalise(piece), cache)
            frames = to_frames(video)[0]
            drop = min(skipped, len(frames))
            skipped -= drop
            frames = frames[drop:] if left is None else frames[drop : drop + left]
            if left is not None:
                left -= len(frames)
            if len(frames):
                yield frames

    def _encode(self, frames: Frames) -> Tensor:
        """Frames of the run's size, 1 + a multiple of the stride, to normalised latents (1, C, n, h, w) on the CPU."""
        cache, stride = self._codec.new_cache(), self._codec.temporal_stride
        pieces, place = [], 0
        while place < len(frames):
            take = GROUPS_AT_ONCE * stride + (place == 0)
            with torch.no_grad(), autocast(self.device, self._dtype):
                posterior = self._codec.encode_chunk(to_model(frames[place : place + take], self.device), cache)
                pieces.append(self._codec.normalise(posterior.mode().float()).cpu())
            place += take
        return torch.cat(pieces, 2)

    def _ending_on_a_group(self, chunks: Iterator[Frames]) -> Iterator[tuple[Frames, int]]:
        """Cut a clip of any length into pieces to encode, of which the last group ends with the last frame.

        What is missing to whole groups is known at the end only. So what the prior will see is held back, and a still
        of one to three frames is put before it: before the clip itself when that is short.

        Yields:
            frames of the run's size, 1 + a multiple of the stride and later multiples of it, and how many still frames
            they begin with.
        """
        stride = self._codec.temporal_stride
        at_once, held = GROUPS_AT_ONCE * stride, self.config.prior.window * stride
        waiting: Frames = np.empty((0, *self.size, 3), np.uint8)
        started = False
        for chunk in chunks:
            waiting = np.concatenate([waiting, self._fitted(chunk)])
            while len(waiting) >= held + at_once + (not started):
                take = at_once + (not started)
                yield waiting[:take], 0
                waiting, started = waiting[take:], True
        if not len(waiting):
            raise UsageError("there is no frame to go on from")
        still = -(len(waiting) - (not started)) % stride
        waiting = np.concatenate([np.repeat(waiting[:1], still, axis=0), waiting])
        while len(waiting):
            take = at_once + (not started)
            yield waiting[:take], still
            waiting, started, still = waiting[take:], True, 0

    def _encode_to_the_end(self, frames: Frames) -> tuple[Tensor, int]:
        """Latents (C, n, h, w) whose last group ends with the last frame, and how many still frames were put before."""
        frames = self._fitted(frames)
        missing = -(len(frames) - 1) % self._codec.temporal_stride
        return self._encode(np.concatenate([np.repeat(frames[:1], missing, axis=0), frames]))[0], missing

    def _encode_with_past(self, frames: Frames) -> Tensor:
        """Latents (C, n, h, w) of which none stands alone: a still first frame is their past."""
        frames = self._fitted(frames)
        missing = -len(frames) % self._codec.temporal_stride
        padded = np.concatenate([frames[:1], frames, np.repeat(frames[-1:], missing, axis=0)])
        return self._encode(padded)[0][:, 1:]

    # --- what is given

    @property
    def _shape(self) -> tuple[int, int, int]:
        stride = self._codec.spatial_stride
        return self._codec.latent_channels, self.size[0] // stride, self.size[1] // stride

    def _latents_for(self, num_frames: int) -> int:
        """Latent frames that hold so many frames, the first alone."""
        if num_frames < 1:
            raise UsageError(f"a clip has at least one frame, not {num_frames}")
        return 1 - (-(num_frames - 1) // self._codec.temporal_stride)

    def _groups_for(self, num_frames: int) -> int:
        """Groups that hold so many frames."""
        if num_frames < 1:
            raise UsageError(f"at least one new frame is needed, not {num_frames}")
        return -(-num_frames // self._codec.temporal_stride)

    def _number(self, label: str | None) -> int:
        if label is None:
            return NO_LABEL
        if label not in self.labels:
            known = nearest(label, list(self.labels)) if self.labels else "; this run has no labels"
            raise UsageError(f"unknown label {label!r}{known}")
        return self.labels.index(label)

    def _internal(self, latents: Latents) -> Tensor:
        """(n, C, h, w) to (1, C, n, h, w)."""
        if latents.ndim != 4 or latents.shape[1:] != self._shape or not len(latents):
            raise UsageError(f"latents must be (n, {', '.join(map(str, self._shape))}), not {latents.shape}")
        return torch.from_numpy(np.ascontiguousarray(latents, np.float32)).transpose(0, 1)[None].to(self.device)

    def _fitted(self, frames: Frames) -> Frames:
        return fit_frames(frames, self.size, self.config.data.fit)


def _belong_together(folder: RunFolder) -> bool:
    """Whether the prior learned from the latents of the codec that is there.

    A kill between two writes can leave the prior of the codec before; a pending hash means that it is not yet known
    which of two codecs the file is.
    """
    manifest = folder.manifest
    stage, codec = manifest.stages.get("prior"), manifest.weights["codec.safetensors"]
    digest = codec.sha256
    if codec.pending is not None:
        with folder.path("codec.safetensors").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return stage is not None and stage.codec_hash == digest


def fit_frames(frames: Frames, size: tuple[int, int], fit: Fit) -> Frames:
    """Bring frames to a size the way preparation does: aspect kept, cropped or letterboxed, resized by area.

    Args:
        frames: uint8 (T, H, W, 3), T >= 1.
        size: (height, width).
        fit: "crop", "letterbox" or "stretch".

    Raises:
        UsageError: not frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise UsageError(f"frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}")
    if frames.shape[1:3] == size:
        return frames
    how = plan(frames.shape[1], frames.shape[2], Fraction(1), Orientation(), size, fit)
    top, left, height, width = how.crop
    kept = np.ascontiguousarray(frames[:, top : top + height, left : left + width])
    pictures = torch.from_numpy(kept).permute(0, 3, 1, 2).float()
    if how.scaled[0] <= height and how.scaled[1] <= width:
        scaled = F.interpolate(pictures, how.scaled, mode="area")
    else:
        scaled = F.interpolate(pictures, how.scaled, mode="bilinear", antialias=True)
    rounded = scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.stack([how.finish(picture) for picture in rounded])


def _public(latents: Tensor) -> Latents:
    """(1, C, n, h, w) to (n, C, h, w)."""
    return np.ascontiguousarray(latents[0].transpose(0, 1).cpu().numpy(), np.float32)


def _whole(chunks: Iterator[Frames]) -> Frames:
    return np.concatenate(list(chunks))
