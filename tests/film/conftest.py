"""A run that needs no training: its frames are moving stripes whose colour tells the label."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.config import Config


class StripedRun:
    """Stands in for a trained run; counts what it is asked for."""

    computed_on = "cpu, float32"

    def __init__(self, size: tuple[int, int] = (32, 32), rate: Fraction = Fraction(25)) -> None:
        self.labels, self.size, self.rate = ("red", "green", "blue"), size, rate
        self.config = Config()
        self.asked: list[tuple[str, str | None, int, int]] = []
        self.sketched = self.painted = 0

    def _frames(self, label: str | None, num_frames: int, seed: int) -> Iterator[Frames]:
        height, width = self.size
        at = np.arange(width)
        for start in range(0, num_frames, 7):
            count = min(7, num_frames - start)
            chunk = np.full((count, height, width, 3), 40, np.uint8)
            for i in range(count):
                bright = ((at + 2 * (start + i) + seed) % 16 < 8) * 200
                chunk[i, :, :, self.labels.index(label) if label else 1] = bright + 20
            yield chunk

    def generate_stream(self, label: str | None = None, num_frames: int = 33, seed: int = 0) -> Iterator[Frames]:
        self.asked.append(("generate", label, num_frames, seed))
        return self._frames(label, num_frames, seed)

    def generate_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """Takes that know their label and seed; the higher its last digit, the more they move, from their middle on."""
        takes = list(dict.fromkeys(zip(labels, seeds, strict=True)))  # a batch is filled up with what it holds already
        self.sketched += len(takes)
        self.asked += [("generate", label, num_frames, seed) for label, seed in takes]
        latents = []
        for seed in seeds:
            n = 1 - (-(num_frames - 1) // 4)
            moving = np.where(np.arange(n) >= n // 2, seed % 10, 0.1)
            signs = np.where(np.arange(n) % 2, 1.0, -1.0)
            latents.append(((moving * signs)[:, None, None, None] * np.ones((1, 8, 4, 4))).astype(np.float32))
            latents[-1][:, 7] = 0.0
        for one, label, seed in zip(latents, labels, seeds, strict=True):
            one[:, 0], one[:, 1], one[:, 2] = self.labels.index(label) if label else -1, seed >> 16, seed & 0xFFFF
        return latents

    def decode(self, latents: NDArray[np.float32], num_frames: int | None = None) -> Frames:
        self.painted += 1
        count = 1 + 4 * (len(latents) - 1) if num_frames is None else num_frames
        if latents[0, 7, 0, 0] > 0.2:
            colors = np.repeat(latents[:, 3:6, 0, 0], 4, axis=0)[3 : 3 + count] * 255
            return np.broadcast_to(colors[:, None, None], (count, *self.size, 3)).round().clip(0, 255).astype(np.uint8)
        label, high, low = (round(float(value)) for value in latents[0, :3, 0, 0])
        name = self.labels[label] if label >= 0 else None
        return np.concatenate(list(self._frames(name, count, (high << 16) + low)))

    def continue_stream(
        self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Iterator[Frames]:
        self.asked.append(("continue", label, num_frames, seed))
        assert frames.shape[1:3] == self.size
        yield frames  # as a real run does: the clip first, then what is new
        yield from self._frames(label, num_frames, seed)

    def animate_stream(
        self, picture: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Iterator[Frames]:
        self.asked.append(("animate", label, num_frames, seed))
        assert picture.shape == (*self.size, 3)
        return self._frames(label, num_frames, seed)

    def between(
        self, start: Frames, end: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Frames:
        """Grey, so that what is made is told from what is given."""
        self.asked.append(("between", label, num_frames, seed))
        new = 4 * -(-num_frames // 4)
        return np.concatenate([start, np.full((new, *self.size, 3), 128, np.uint8), end])

    def loop(self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0) -> Frames:
        self.asked.append(("loop", label, num_frames, seed))
        return np.concatenate([frames, np.full((num_frames, *self.size, 3), 128, np.uint8)])

    def vary(self, frames: Frames, strength: float = 0.6, label: str | None = None, seed: int = 0) -> Frames:
        self.asked.append(("vary", label, len(frames), seed))
        return np.asarray(frames // 2)

    def encode(self, frames: Frames) -> NDArray[np.float32]:
        """Mean colours of each group, in channels that `decode` knows from those of its own takes."""
        groups = [frames[:1], *(frames[i : i + 4] for i in range(1, len(frames), 4))]
        latents = np.zeros((len(groups), 8, 4, 4), np.float32)
        latents[:, 7] = 1.0
        for i, group in enumerate(groups):
            latents[i, 3:6] = group.mean(axis=(0, 1, 2))[:, None, None] / 255
        return latents

    def morph(self, start: Frames, end: Frames, num_frames: int = 33) -> Frames:
        one, other = self.encode(start), self.encode(end)
        share = np.linspace(0, 1, len(one), dtype=np.float32)[:, None, None, None]
        return self.decode(one + share * (other - one), num_frames)

    def slow_stream(self, frames: Iterator[Frames], factor: float = 2.0) -> Iterator[Frames]:
        clip = np.concatenate(list(frames))
        times = np.arange(1 + int((len(clip) - 1) * factor)) / factor
        below = times.astype(int)
        share = (times - below)[:, None, None, None]
        yield np.rint((1 - share) * clip[below] + share * clip[np.minimum(below + 1, len(clip) - 1)]).astype(np.uint8)

    def rebuild_stream(self, frames: Iterator[Frames]) -> Iterator[Frames]:
        self.asked.append(("rebuild", None, 0, 0))
        return frames


@pytest.fixture
def striped_run() -> StripedRun:
    """A run of 32 pixels and 25 frames a second with the labels red, green and blue."""
    return StripedRun()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A place a storyboard can name as its run; nothing is read from it."""
    return tmp_path / "runs" / "striped"
