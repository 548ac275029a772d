"""What is evaluated: a run, its footage, and how clips are drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import FootageError, RunError
from autoreel.generation.run import Run
from autoreel.models.opening import open_codec
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder

Origin = Literal["prior", "gaussian"]
AT_ONCE = 16  # clips sampled side by side
Report = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A run with its footage.

    Args:
        folder: the run folder.
        run: opened.
        codec: of the run.
        store: the footage that it learned from.
        origin: where the latents of its clips come from: the prior, or a Gaussian (for `gan`: N(0, I); for families
            with an encoder: the mean and deviation of each channel of the footage's latents).
    """

    folder: RunFolder
    run: Run
    codec: VideoCodec
    store: FootageStore
    origin: Origin

    @classmethod
    def open(
        cls, path: Path, footage: Path | None = None, device: str = "auto", origin: Origin | None = None
    ) -> Subject:
        """Open a run and its footage.

        Args:
            path: the run folder.
            footage: prepared footage, when it does not lie in the run folder.
            device: "auto", "cpu" or "cuda".
            origin: None takes the prior where there is one.

        Raises:
            RunError: no trained run, or one of other footage.
            FootageError: the footage is not there.
        """
        folder = RunFolder.open(path)
        run = Run.open(path, device)
        place = path / "footage" if footage is None else footage
        try:
            store = FootageStore.open(place)
        except FootageError as error:
            more = "; give the prepared footage it learned from with --footage" if footage is None else ""
            raise FootageError(f"{error}{more}") from error
        if folder.manifest.data_hash != store.hash:
            raise RunError(f"{path} learned from other footage than {place}; give the one it learned from")
        has_prior = "prior.safetensors" in folder.manifest.weights
        return cls(folder, run, open_codec(folder), store, origin or ("prior" if has_prior else "gaussian"))

    @property
    def family(self) -> str:
        """gan, ae, vae, vae-gan, or pretrained."""
        return "pretrained" if self.folder.config.pretrained is not None else self.folder.config.codec.family

    @property
    def has_encoder(self) -> bool:
        """Whether it can rebuild footage."""
        return self.family != "gan"

    @property
    def rate(self) -> float:
        """Frames per second."""
        return float(self.run.rate)

    def held_out(self) -> tuple[Shot, ...]:
        """The shots that nothing was learned from."""
        return self.store.split("validation") + self.store.split("test")

    def labels(self, count: int) -> list[str | None]:
        """The labels in turns, or None where the footage has none."""
        return [self.run.labels[i % len(self.run.labels)] if self.run.labels else None for i in range(count)]

    def sample(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int], report: Report | None = None
    ) -> Frames:
        """Clips (N, num_frames, H, W, 3), the same for the same seeds."""
        made: list[Frames] = []
        for start in range(0, len(labels), AT_ONCE):
            chosen = slice(start, start + AT_ONCE)
            if self.origin == "prior":
                made.append(self.run.generate_batch(labels[chosen], num_frames, seeds[chosen]))
            else:
                made.append(np.stack([self.run.decode(self._drawn(num_frames, s), num_frames) for s in seeds[chosen]]))
            if report is not None:
                report(f"sampling: {min(start + AT_ONCE, len(labels))} of {len(labels)} clips")
        return np.concatenate(made)

    def rebuilt(self, clips: Frames) -> Frames:
        """Encoded and decoded."""
        return np.stack([self.run.rebuild(clip) for clip in clips])

    def _drawn(self, num_frames: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Latents (n, C, h, w) as a Gaussian gives them, normalised as `Run.decode` takes them."""
        stride = self.codec.spatial_stride
        shape = (1 - (-(num_frames - 1) // self.codec.temporal_stride), self.codec.latent_channels,
                 self.run.size[0] // stride, self.run.size[1] // stride)  # fmt: skip
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        if self.family in ("vae", "vae-gan"):  # what its posterior was held to
            mean, deviation = (x.view(1, -1, 1, 1) for x in (self.codec.latent_mean, self.codec.latent_deviation))
            noise = (noise - mean.cpu()) / deviation.cpu()
        return noise.numpy()
