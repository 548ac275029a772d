"""Batches out of a footage store. A batch depends on the seed and the step only, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import FootageError

RARE_POWER = 0.5  # a label is drawn in proportion to (its frames)**RARE_POWER: between equal turns and equal frames


@dataclass(frozen=True)
class Batch:
    """Windows of footage.

    Args:
        frames: uint8 (B, T, H, W, 3).
        label: int64 (B,), the place in the store's labels; -1 where there is none, or none of training's.
        ids: where each window comes from: shot, "@", first frame, and "~" when it is mirrored.
    """

    frames: Frames
    label: NDArray[np.int64]
    ids: list[str]


class ClipLoader:
    """Draws windows of one length from one side of a store.

    A label is drawn first, rare ones more often than their share; then a shot, in proportion to its frames; then the
    place, every one equally likely. A shot shorter than the window is played there and back until the window is full:

        shot 0 1 2 3    window of 9    0 1 2 3 2 1 0 1 2

    Args:
        store: the footage.
        split: "train", "validation" or "test".
        num_frames: window length T.
        batch_size: B.
        seed: of everything that is drawn.
        mirror: whether half of the windows are mirrored left to right.

    Raises:
        FootageError: that side has no shots.
    """

    def __init__(
        self, store: FootageStore, split: str, num_frames: int, batch_size: int, seed: int, mirror: bool = False
    ) -> None:
        if num_frames < 1 or batch_size < 1:
            raise ValueError(f"num_frames and batch_size must be at least 1, not {num_frames} and {batch_size}")
        self.store, self.split, self.num_frames, self.batch_size = store, split, num_frames, batch_size
        self._seed, self._mirror = seed, mirror
        self._shots = store.split(split)
        if not self._shots:
            raise FootageError(f"{store.path}: no footage for {split} ({store.how_split})")
        number: dict[str | None, int] = {label: i for i, label in enumerate(store.labels)}
        self._labels = np.array([number.get(shot.label, -1) for shot in self._shots], np.int64)
        self._cumulative = np.cumsum(_chances(self._labels, np.array([s.num_frames for s in self._shots], np.float64)))

    def batch(self, step: int) -> Batch:
        """The batch of one step; the same for the same store, seed and step."""
        random = np.random.default_rng([self._seed, step])
        places = np.searchsorted(self._cumulative, random.random(self.batch_size), side="right")
        wheres, mirrors = random.random(self.batch_size), random.random(self.batch_size)
        windows = []
        for place, where, coin in zip(places, wheres, mirrors, strict=True):
            i = min(int(place), len(self._shots) - 1)  # the last sum may lie a rounding below 1
            room = max(0, self._shots[i].num_frames - self.num_frames) + 1
            windows.append((i, min(int(where * room), room - 1), self._mirror and coin < 0.5))
        return self._read(windows)

    def clips(self, limit: int | None = None) -> Iterator[Batch]:
        """Fixed windows that do not overlap, shot by shot, in batches; the last batch may be smaller.

        Args:
            limit: at most so many windows, spread evenly over the whole side; None for all.
        """
        length = self.num_frames
        windows = [
            (i, start, False)
            for i, shot in enumerate(self._shots)
            for start in range(0, max(shot.num_frames - length, 0) + 1, length)
        ]
        if limit is not None and limit < len(windows):
            windows = [windows[i * len(windows) // limit] for i in range(limit)]
        for first in range(0, len(windows), self.batch_size):
            yield self._read(windows[first : first + self.batch_size])

    def _read(self, windows: list[tuple[int, int, bool]]) -> Batch:
        frames = np.empty((len(windows), self.num_frames, *self.store.size, 3), np.uint8)
        ids = []
        for slot, (i, start, mirrored) in zip(frames, windows, strict=True):
            window = self._window(self._shots[i], start)
            slot[:] = window[:, :, ::-1] if mirrored else window
            ids.append(f"{self._shots[i].id}@{start}{'~' if mirrored else ''}")
        return Batch(frames, self._labels[[i for i, _, _ in windows]], ids)

    def _window(self, shot: Shot, start: int) -> Frames:
        if shot.num_frames >= self.num_frames:
            return self.store.frames(shot, start, self.num_frames)
        return self.store.frames(shot)[there_and_back(shot.num_frames, self.num_frames)]


def there_and_back(num_frames: int, length: int, start: int = 0) -> NDArray[np.intp]:
    """Frame numbers that play `num_frames` forwards, backwards, forwards, for `length` frames from `start` on."""
    period = max(1, 2 * (num_frames - 1))
    places = np.arange(start, start + length) % period
    return np.asarray(np.minimum(places, period - places) if num_frames > 1 else places, np.intp)


def _chances(labels: NDArray[np.int64], num_frames: NDArray[np.float64]) -> NDArray[np.float64]:
    chances = num_frames.copy()
    for label in np.unique(labels):
        members = labels == label
        chances[members] *= chances[members].sum() ** (RARE_POWER - 1)
    return np.asarray(chances / chances.sum(), np.float64)
