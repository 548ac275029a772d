"""Which windows of a footage are looked at: evenly spread, and as many as a measure can use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot

LEAST_STEP = 4  # frames from one window of a shot to the next, when windows must overlap to be enough


@dataclass(frozen=True)
class Window:
    """A piece of a shot.

    Args:
        shot: of a store.
        start: its first frame, counted in the shot.
        num_frames: its length.
    """

    shot: Shot
    start: int
    num_frames: int

    def frames(self, store: FootageStore) -> Frames:
        """uint8 (num_frames, H, W, 3)."""
        return store.frames(self.shot, self.start, self.num_frames)


def windows(
    shots: Sequence[Shot], num_frames: int, most: int | None = None, least_step: int = LEAST_STEP
) -> list[Window]:
    """Windows of shots, in their order. Shots that are shorter than a window give none.

    Windows stand side by side when that gives `most`; otherwise they overlap, with as much space as still gives as
    many, but at least `least_step` frames from start to start. Of more than `most`, as many are taken evenly.

    Args:
        shots: where from.
        num_frames: of a window, at least 1.
        most: how many at most; None for all that stand side by side.
        least_step: frames.
    """
    if num_frames < 1 or least_step < 1 or (most is not None and most < 1):
        raise ValueError(f"num_frames, least_step and most must be at least 1, not {num_frames}, {least_step}, {most}")
    step = num_frames
    found = _at(shots, num_frames, step)
    while most is not None and len(found) < most and step > least_step:
        step = max(least_step, step // 2)
        found = _at(shots, num_frames, step)
    if most is not None and len(found) > most:
        found = [found[i * len(found) // most] for i in range(most)]
    return found


def read(store: FootageStore, chosen: Sequence[Window]) -> Frames:
    """The frames of windows of one length: uint8 (N, T, H, W, 3)."""
    return np.stack([window.frames(store) for window in chosen])


def in_batches(store: FootageStore, chosen: Sequence[Window], size: int = 16) -> Iterator[Frames]:
    """`read`, a few windows at a time."""
    for start in range(0, len(chosen), size):
        yield read(store, chosen[start : start + size])


def halves(shots: Sequence[Shot]) -> tuple[list[Shot], list[Shot]]:
    """Shots in two parts that are as alike as can be: in turns, by label and group. One of a single shot is empty."""
    ordered = sorted(shots, key=lambda shot: (shot.label or "", shot.group or "", shot.source, shot.start_s, shot.id))
    return ordered[::2], ordered[1::2]


def _at(shots: Sequence[Shot], num_frames: int, step: int) -> list[Window]:
    return [
        Window(shot, start, num_frames)
        for shot in shots
        for start in range(0, shot.num_frames - num_frames + 1, step)
    ]
