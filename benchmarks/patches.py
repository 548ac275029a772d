"""A peer that learns nothing: clips patched together from pieces of training clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.data.store import FootageStore
from autoreel.evaluation.samples import read, windows

PATCH, LIBRARY, COARSE = 8, 64, 4  # pixels, clips, pixels
GROUP = 4  # frames


def patched(store: FootageStore, classes: NDArray[np.int64], num_frames: int, seed: int = 0) -> Frames:
    """A clip for each class: for every 8 x 8 x 4 place, that of the training clip most like a blurred mean of two.

    The two come from two shots of the class, and no piece does: else clips would be played again. With two shots both
    come from one of them; of one shot nothing but a replay can be made.

    Args:
        store: the footage.
        classes: int (N,), numbers of its labels; of any number where it has none.
        num_frames: a multiple of 4.
        seed: of the choice.

    Returns:
        uint8 (N, num_frames, H, W, 3).
    """
    random = np.random.default_rng(seed)
    by_class: dict[int, tuple[Frames, NDArray[np.str_]]] = {}
    clips = []
    for number in classes:
        if number not in by_class:
            shots = [s for s in store.split("train") if not store.labels or s.label == store.labels[number]]
            found = windows(shots, num_frames, LIBRARY)
            by_class[number] = read(store, found), np.array([window.shot.id for window in found])
        library, shot_of = by_class[number]
        names = np.unique(shot_of)
        guides = random.choice(names, 2 if len(names) > 2 else 1, replace=False)
        one, other = (random.choice(np.flatnonzero(shot_of == guide)) for guide in (guides[0], guides[-1]))
        rest = library[~np.isin(shot_of, guides)] if len(names) > 1 else library
        clips.append(_of_pieces((library[one].astype(np.float32) + library[other]) / 2, rest))
    return np.stack(clips)


def _of_pieces(guide: NDArray[np.float32], library: Frames) -> Frames:
    wanted, coarse = _coarse(guide), _coarse(library.astype(np.float32))
    clip: Frames = np.empty_like(library[0])
    p, c = PATCH, PATCH // COARSE
    for t in range(0, len(clip), GROUP):
        for y in range(0, clip.shape[1], p):
            for x in range(0, clip.shape[2], p):
                place = np.s_[t : t + GROUP, y // COARSE : y // COARSE + c, x // COARSE : x // COARSE + c]
                error = np.square(coarse[(slice(None), *place)] - wanted[place]).sum((1, 2, 3, 4))
                piece = np.s_[t : t + GROUP, y : y + p, x : x + p]
                clip[piece] = library[(error.argmin(), *piece)]
    return clip


def _coarse(clips: NDArray[np.float32]) -> NDArray[np.float32]:
    *front, height, width, colours = clips.shape
    parts = clips.reshape(*front, height // COARSE, COARSE, width // COARSE, COARSE, colours)
    mean: NDArray[np.float32] = parts.mean((-4, -2))
    return mean
