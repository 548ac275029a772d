"""What is evaluated: a run, its footage, and how clips are drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import FootageError, RunError
from autoreel.evaluation.samples import windows
from autoreel.generation.run import Options, Run
from autoreel.models.opening import open_codec
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder

Origin = Literal["prior", "normal", "gaussian"]
IN_WORDS: dict[Origin, str] = {
    "prior": "the prior", "normal": "N(0, I)", "gaussian": "a Gaussian fit to the footage's",
}  # fmt: skip
FITTED_WINDOWS, FITTED_FRAMES = 64, 33  # of the footage of a run that keeps no fit
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
        origin: where the latents of its clips come from: the prior, N(0, I), or a Gaussian fit to those of the footage
            (generation/draws.py).
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
        found = cls(folder, run, open_codec(folder), store, "prior")
        has_prior = "prior.safetensors" in folder.manifest.weights
        return replace(found, origin=origin or ("prior" if has_prior else found.without_prior()))

    @property
    def family(self) -> str:
        """gan, ae, vae, vae-gan, or pretrained."""
        return "pretrained" if self.folder.config.pretrained is not None else self.folder.config.codec.family

    def without_prior(self) -> Origin:
        """What its clips come from when no prior is used: N(0, I) where that is what its latents are drawn to."""
        return "normal" if self.family in ("gan", "vae", "vae-gan") else "gaussian"

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
        if self.origin == "gaussian" and not self.run.has_gaussian:
            shots = self.store.split("train")
            length = min(FITTED_FRAMES, max(shot.num_frames for shot in shots))
            chosen_windows = windows(shots, length, FITTED_WINDOWS)
            self.run.fit_gaussian(self.run.encode(window.frames(self.store)) for window in chosen_windows)
        options = Options(sampler=self.origin)
        if self.origin != "prior":
            labels = [None] * len(labels)  # which the others do not know
        made: list[Frames] = []
        for start in range(0, len(labels), AT_ONCE):
            chosen = slice(start, start + AT_ONCE)
            made.append(self.run.generate_batch(labels[chosen], num_frames, seeds[chosen], options))
            if report is not None:
                report(f"sampling: {min(start + AT_ONCE, len(labels))} of {len(labels)} clips")
        return np.concatenate(made)

    def rebuilt(self, clips: Frames) -> Frames:
        """Encoded and decoded."""
        return np.stack([self.run.rebuild(clip) for clip in clips])
