"""A trained run, ready to encode, decode and generate: the public Python API.

    frames --fit--> --codec--> latents --timeline--> --prior--> latents --codec, streamed--> frames

Every verb is a timeline (generation/verbs.py); nothing here knows how frames are made.
Frames are uint8 (T, H, W, 3); latents are float32 (n, C, h, w), normalised; both of any length.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoreel.clip import Frames
from autoreel.config import Config, nearest, sampling_problems
from autoreel.errors import RunError, UsageError
from autoreel.generation import draws, verbs
from autoreel.generation import timeline as rows
from autoreel.generation.coding import FrameCodec
from autoreel.generation.enlarging import Enlarger
from autoreel.generation.rollout import Sampling, roll_out
from autoreel.generation.sampler import Solver
from autoreel.generation.timeline import NO_LABEL
from autoreel.generation.verbs import Fill, Maker
from autoreel.models.compute import choose_device, matrix_dtype
from autoreel.models.opening import open_codec, open_upscaler
from autoreel.models.prior import Prior
from autoreel.models.upscaler import Upscaler
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, layout_of

Latents = NDArray[np.float32]
Sampler = Literal["auto", "prior", "gaussian", "normal"]
Chunks = Frames | Iterable[Frames]


@dataclass(frozen=True)
class Options:
    """How footage is made; None takes what the run was trained with.

    Args:
        guidance: 1 follows the label as trained, above exaggerates it; 0 to 20.
        steps: of the solver for each latent frame, 1 to 1000.
        solver: "adams", "euler", or "heun" for two evaluations in each step.
        sampler: where latents of new footage come from: "prior"; "normal", N(0, I), as in a family without a prior;
            "gaussian", a fit to the footage's latents. "auto" is the prior, and "normal" for the family `gan`.
    """

    guidance: float | None = None
    steps: int | None = None
    solver: Solver = "adams"
    sampler: Sampler = "auto"


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
        gaussian: file of the fit to the footage's latents, which is there once latents were made; None for none.
        upscaler: opens what enlarges its frames; None where there is none.
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
        gaussian: Path | None = None,
        upscaler: Callable[[], Upscaler] | None = None,
    ) -> None:
        self.config, self.labels, self.size, self.rate, self.device = config, tuple(labels), size, rate, device
        self._prior = prior.to(device).eval() if prior is not None else None
        self._dtype, self._no_prior, self._gaussian = matrix_dtype(device), no_prior, gaussian
        self._fitted: draws.Gaussian | None = None
        self._open_upscaler = upscaler
        self._enlarger: Enlarger | None = None
        self._untiled = codec.to(device).eval()
        self._codec = self._codec_for(self.size)
        if self._prior is not None:  # else autocast would copy every matrix anew for each frame
            for matrix in self._prior.matrices():
                matrix.requires_grad_(False).data = matrix.data.to(self._dtype)

    @property
    def computed_on(self) -> str:
        """The device and the number format that round its pictures: `cpu, float32`."""
        is_chip = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if is_chip else self.device.type
        return f"{name}, {str(self._dtype).removeprefix('torch.')}"

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
            shape = (config.prior, codec.latent_channels, latent_size, len(manifest.labels))
            with torch.device("meta"):  # as in `open_codec`: a small file must not make a gigantic network
                outline = Prior(*shape)
            weights = folder.load_weights("prior.safetensors", layout_of(outline.state_dict()))
            prior = Prior(*shape)
            prior.load_state_dict(weights)
        return cls(
            config, codec, prior, manifest.labels, manifest.size, manifest.rate, choose_device(device), no_prior,
            gaussian=folder.path(f"gaussian-{manifest.codec_hash}.safetensors"),
            upscaler=partial(open_upscaler, folder),
        )  # fmt: skip

    # --- between frames and latents

    @property
    def has_gaussian(self) -> bool:
        """Whether there is a fit of the footage's latents for the sampler "gaussian"."""
        return self._fitted is not None or (self._gaussian is not None and self._gaussian.is_file())

    def fit_gaussian(self, clips: Iterable[Latents]) -> None:
        """Fit the Gaussian of the sampler "gaussian" to latents of clips, where the run folder keeps none.

        Args:
            clips: float32 (n, C, h, w) each, as `encode` gives them.
        """
        parts = [self._internal(clip)[0].transpose(0, 1) for clip in clips]
        starts = torch.tensor([0, *(len(part) for part in parts[:-1])]).cumsum(0)
        self._fitted = draws.Gaussian.fit(torch.cat(parts), starts)

    def encode(self, frames: Frames) -> Latents:
        """Write frames as latents.

        Args:
            frames: uint8 (T, H, W, 3) of any size, which is fitted, and any length; the last frame is repeated until
                its group is full.

        Returns:
            float32 (1 + ceil((T - 1) / temporal stride), C, h, w).
        """
        return _public(self._codec.encode([frames])[0])

    def decode(self, latents: Latents, num_frames: int | None = None) -> Frames:
        """Paint latents as frames.

        Args:
            latents: float32 (n, C, h, w).
            num_frames: how many frames to keep; None for all 1 + (n - 1) * temporal stride.
        """
        there = 1 + (len(latents) - 1) * self.config.strides[0]
        count = there if num_frames is None else min(num_frames, there)
        found: Frames | None = None
        start = 0
        for chunk in self.decode_stream([latents], num_frames):  # into their place: a list of them is twice the memory
            if found is None:
                found = np.empty((count, *chunk.shape[1:]), chunk.dtype)
            found[start : start + len(chunk)] = chunk
            start += len(chunk)
        if found is None:
            raise UsageError("no frames were asked for")
        return found

    def decode_stream(self, latents: Iterable[Latents], num_frames: int | None = None) -> Iterator[Frames]:
        """`decode` for pieces of any length; yields frames as they are painted."""
        return _only(self._codec.paint((self._internal(piece) for piece in latents), num_frames))

    # --- the verbs: several takes side by side, one as a stream of frame chunks, and one whole

    def takes(
        self, labels: Sequence[str | None], seeds: Sequence[int], options: Options = DEFAULTS
    ) -> Maker:
        """What `autoreel.generation.verbs` works with: takes that are made side by side, faster than one by one.

        Args:
            labels: one for each take.
            seeds: one for each take.
            options: guidance, steps, solver.

        Raises:
            UsageError: no such label, no take, or options out of their range or for another sampler.
            RunError: the prior is not trained yet.
        """
        if not labels:
            raise UsageError("at least one label is needed")
        for problem in sampling_problems(options.guidance, options.steps):
            raise UsageError(problem)
        if options.sampler in ("normal", "gaussian"):  # of the family gan films are asked with labels, as of any
            steered = (*labels, options.guidance, options.steps)
            if any(what is not None for what in steered) or options.solver != DEFAULTS.solver:
                raise UsageError(
                    f"the sampler {options.sampler!r} knows no label, guidance, steps or solver; leave them out"
                )
        numbers = [(self._number(label), seed) for label, seed in zip(labels, seeds, strict=True)]
        return Maker(self._codec, self._filler(options), self.config.prior.window, numbers)

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
            UsageError: no such label, not a length, or options out of their range or for another sampler.
            RunError: the prior is not trained yet.
        """
        return _whole(self.generate_stream(label, num_frames, seed, options))

    def generate_stream(
        self, label: str | None = None, num_frames: int = 33, seed: int = 0, options: Options = DEFAULTS
    ) -> Iterator[Frames]:
        """`generate`, yielding frames as they are made."""
        return _only(verbs.generate(self.takes([label], [seed], options), num_frames))

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
        return np.concatenate(list(verbs.generate(self.takes(labels, seeds, options), num_frames)), 1)

    def generate_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int], options: Options = DEFAULTS
    ) -> list[Latents]:
        """`generate_batch` before it is painted, for whoever wants to choose first; `decode` paints what was chosen.

        Returns:
            For each clip float32 (n, C, h, w).
        """
        row = rows.generate(self._codec.latents_for(num_frames), self._codec.shape)
        latents = torch.cat(list(self.takes(labels, seeds, options).made(row)), 2)
        return [_public(clip) for clip in torch.split(latents, 1)]

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
        self, frames: Chunks, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Iterator[Frames]:
        """`continue_` for a clip or chunks of one, yielding frames as they are made, in memory that does not grow."""
        return _only(verbs.continue_(self.takes([label], [seed], options), _chunks(frames), num_frames))

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
        return _only(verbs.animate(self.takes([label], [seed], options), picture, num_frames))

    def between(
        self, start: Chunks, end: Chunks, num_frames: int, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Frames:  # fmt: skip
        """What happened between two clips, or two stills.

        Args:
            start, end: uint8 (T, H, W, 3) and (T', H, W, 3), any size, or chunks of them.
            num_frames: frames to make between them, rounded up to a whole group.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (T + made + T', H, W, 3); start and end are the codec's own reconstructions, but for the end's first
            group, which is faded into (an end shorter than a group is held until it is one).
        """
        return _whole(self.between_stream(start, end, num_frames, label, seed, options))

    def between_stream(
        self, start: Chunks, end: Chunks, num_frames: int, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Iterator[Frames]:  # fmt: skip
        """`between`, yielding frames as they are made, in memory that does not grow."""
        maker = self.takes([label], [seed], options)
        return _only(verbs.between(maker, _chunks(start), _chunks(end), num_frames))

    def loop(
        self, frames: Chunks, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Frames:
        """A clip and a way back to its start, to be repeated without a seam.

        Args:
            frames: uint8 (T, H, W, 3), longer than a group, or chunks of it.
            num_frames: frames to make, rounded up to a whole group.
            label, seed, options: as in `generate`.

        Returns:
            uint8 (T + made, H, W, 3): the clip from its second group on, what was made, and its first group.
        """
        return _whole(self.loop_stream(frames, num_frames, label, seed, options))

    def loop_stream(
        self, frames: Chunks, num_frames: int, label: str | None = None, seed: int = 0, options: Options = DEFAULTS
    ) -> Iterator[Frames]:
        """`loop`, yielding frames as they are made, in memory that does not grow."""
        return _only(verbs.loop(self.takes([label], [seed], options), _chunks(frames), num_frames))

    def vary(
        self, frames: Chunks, strength: float = 0.6, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Frames:  # fmt: skip
        """The same scene, another take.

        Args:
            frames: uint8 (T, H, W, 3), any size, or chunks of it.
            strength: 0 changes nothing, 1 keeps nothing.
            label, seed, options: as in `generate`.
        """
        return _whole(self.vary_stream(frames, strength, label, seed, options))

    def vary_stream(
        self, frames: Chunks, strength: float = 0.6, label: str | None = None, seed: int = 0,
        options: Options = DEFAULTS,
    ) -> Iterator[Frames]:  # fmt: skip
        """`vary`, yielding frames as they are made."""
        return _only(verbs.vary(self.takes([label], [seed], options), _chunks(frames), strength))

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
        return (self._codec if size is None else self._codec_for(size)).rebuilt(frames)

    def morph(self, start: Frames, end: Frames, num_frames: int = 33) -> Frames:
        """One clip turns into another: a walk between their latents, without the prior.

        Args:
            start, end: uint8 (T, H, W, 3), any size; played there and back where they are shorter than the result.
            num_frames: length of the result.
        """
        return _whole(self.morph_stream(start, end, num_frames))

    def morph_stream(self, start: Frames, end: Frames, num_frames: int = 33) -> Iterator[Frames]:
        """`morph`, yielding frames as they are painted."""
        return _only(verbs.morph(self._codec, start, end, num_frames))

    def slow(self, frames: Chunks, factor: float = 2.0) -> Frames:
        """A clip in slow motion: its latents resampled in time, without the prior.

        Args:
            frames: uint8 (T, H, W, 3), any size, or chunks of it.
            factor: how many times as long, 1 to 64.

        Returns:
            uint8 (1 + floor((T - 1) * factor), H, W, 3).
        """
        return _whole(self.slow_stream(frames, factor))

    def slow_stream(self, frames: Chunks, factor: float = 2.0) -> Iterator[Frames]:
        """`slow`, yielding frames as they are painted, in memory that does not grow."""
        return _only(verbs.slow(self._codec, _chunks(frames), factor))

    def enlarge(self, frames: Frames) -> Frames:
        """Frames of this run, larger by what it learned of its footage (`autoreel train --stage upscale`).

        Args:
            frames: uint8 (T, H, W, 3).

        Returns:
            uint8 (T, times * H, times * W, 3), times 2 or 4.

        Raises:
            RunError: that is not learned yet, or Lanczos was better.
        """
        return _whole(self.enlarge_stream([frames]))

    def enlarge_stream(self, frames: Iterable[Frames]) -> Iterator[Frames]:
        """`enlarge` for chunks of any length, in memory that does not grow; what is wrong is said at once."""
        if self._enlarger is None:
            if self._open_upscaler is None:
                raise RunError("this run has not learned to enlarge; run `autoreel train --stage upscale` on it")
            self._enlarger = Enlarger(self._open_upscaler(), self.device, self._dtype)
        return self._enlarger.stream(frames)

    # --- what is given

    def _codec_for(self, size: tuple[int, int]) -> FrameCodec:
        return FrameCodec(self._untiled, size, self.config.data.fit, self.device, self._dtype)

    def sampler_of(self, options: Options) -> Sampler:
        """The sampler that is meant: "auto" is "normal" for the family `gan`, and "prior" for all others."""
        if options.sampler != "auto":
            return options.sampler
        return "normal" if self.config.codec.family == "gan" else "prior"

    def told(self, options: Options) -> dict[str, str | float]:
        """What options mean for this run, for whoever wants to make the same again.

        Returns:
            "sampler" and, of the prior, "guidance", "steps" and "solver".

        Raises:
            RunError: the prior is meant and not trained yet.
        """
        sampler = self.sampler_of(options)
        if sampler != "prior":
            return {"sampler": sampler}
        sampling = self._sampling(options)
        return {
            "sampler": sampler, "guidance": sampling.guidance, "steps": sampling.steps, "solver": sampling.solver,
        }  # fmt: skip

    def _filler(self, options: Options) -> Fill:
        sampler = self.sampler_of(options)
        if sampler == "normal":
            return partial(draws.normal, self._untiled)
        if sampler == "gaussian":
            if self._fitted is None:
                if self._gaussian is None:
                    raise RunError("no Gaussian is fitted to this run's latents; call `fit_gaussian` first")
                self._fitted = draws.Gaussian.load(self._gaussian, math.prod(self._codec.shape))
            return self._fitted.draw
        sampling = self._sampling(options)
        assert self._prior is not None, "_sampling was asked first"
        return partial(roll_out, self._prior, sampling=sampling)

    def _sampling(self, options: Options) -> Sampling:
        """How to sample; that there is no prior is said here, before any work, and all else in `takes`."""
        if self._prior is None:
            raise RunError(f"{self._no_prior}; run `autoreel train --stage prior` on it")
        config = self.config.prior
        return Sampling(
            steps=config.steps if options.steps is None else options.steps,
            guidance=config.guidance if options.guidance is None else options.guidance,
            context_noise=config.context_noise, solver=options.solver, dtype=self._dtype,
        )  # fmt: skip

    def _number(self, label: str | None) -> int:
        if label is None:
            return NO_LABEL
        if label not in self.labels:
            known = nearest(label, list(self.labels)) if self.labels else "; this run has no labels"
            raise UsageError(f"unknown label {label!r}{known}")
        return self.labels.index(label)

    def _internal(self, latents: Latents) -> Tensor:
        """(n, C, h, w) to (1, C, n, h, w)."""
        shape = self._codec.shape
        if latents.ndim != 4 or latents.shape[1:] != shape or not len(latents):
            raise UsageError(f"latents must be (n, {', '.join(map(str, shape))}), not {latents.shape}")
        return torch.from_numpy(np.ascontiguousarray(latents, np.float32)).transpose(0, 1)[None]


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


def _public(latents: Tensor) -> Latents:
    """(1, C, n, h, w) to (n, C, h, w)."""
    return np.ascontiguousarray(latents[0].transpose(0, 1).cpu().numpy(), np.float32)


def _whole(chunks: Iterator[Frames]) -> Frames:
    return np.concatenate(list(chunks))


def _only(takes: Iterator[Frames]) -> Iterator[Frames]:
    """The frames of the only take."""
    return (chunk[0] for chunk in takes)


def _chunks(frames: Chunks) -> Iterable[Frames]:
    return [frames] if isinstance(frames, np.ndarray) else frames
