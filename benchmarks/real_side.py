"""What generated clips are held against: windows of real footage, and a judge of what real clips show.

    training footage   windows of 16 frames without overlap, neighbours in twos:  reference | floor
    held-out footage   persons, scenes or files that nothing was learned from: what a generator can hardly come nearer
    generated          as many at a time as the reference has, so that counts do not decide

Held-out footage of one person mostly tells which person is shown; so distances are taken to the training footage, and
those to the held-out footage stand beside them. Which of two neighbours is reference is tossed anew for each of eight
deals; every figure is the mean over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.evaluation.distances import TooFewError, frechet, kernel_distance, manifold
from autoreel.evaluation.encoder import WINDOW, Encoder, look
from autoreel.evaluation.labels import LabelJudge, learn_labels
from autoreel.evaluation.memorisation import nearest
from autoreel.evaluation.samples import Window, in_batches, read, windows

DEALS = 8
MOST_JUDGED = 512  # windows that the judge learns from

Array = NDArray[np.float64]
Classes = NDArray[np.int64]
Row = dict[str, Any]
MEASURES: dict[str, Callable[[Array, Array], float]] = {
    "frechet": frechet,
    "kernel": kernel_distance,
    "coverage": lambda reference, other: manifold(reference, other).coverage,
}


@dataclass(frozen=True)
class Real:
    """Features of real windows.

    Args:
        pairs: float64 (P, 2, D), neighbours in a shot of the training side.
        held_out: float64 (M, D), of the validation and the test side.
        count: how many windows each side of a comparison has, where there are as many.
    """

    pairs: Array
    held_out: Array
    count: int

    @classmethod
    def of(cls, store: FootageStore, encoder: Encoder, made: int) -> Real:
        """Look at a footage.

        Args:
            store: the footage.
            encoder: of it.
            made: how many generated windows there will be.
        """
        found = neighbours(store.split("train"))
        chosen = _evenly(len(found), made)
        held = windows(held_out(store), WINDOW, made, least_step=WINDOW)
        sides = _features(store, encoder, [side for i in chosen for side in found[i]])
        return cls(sides.reshape(len(chosen), 2, -1), _features(store, encoder, held), len(chosen))

    def floor(self) -> Row:
        """Training footage against other moments of the same shots."""
        return compared(self._deals())

    def to_training(self, points: Array) -> Row:
        """Windows (N, D) against training footage."""
        return compared((reference, self._some(points, turn)) for turn, (reference, _) in enumerate(self._deals()))

    def to_held_out(self, points: Array) -> Row:
        """Windows (N, D) against held-out footage."""
        return compared((self._some(self.held_out, turn), self._some(points, turn)) for turn in range(DEALS))

    def _deals(self) -> Iterator[tuple[Array, Array]]:
        for turn in range(DEALS):
            random = np.random.default_rng(turn)
            chosen = random.permutation(len(self.pairs))[: self.count]
            tossed = random.integers(0, 2, len(chosen))
            yield self.pairs[chosen, tossed], self.pairs[chosen, 1 - tossed]

    def _some(self, points: Array, turn: int) -> Array:
        return points[np.random.default_rng(turn).permutation(len(points))[: self.count]]


def neighbours(shots: Sequence[Shot]) -> list[tuple[Window, Window]]:
    """Windows that follow each other in a shot, in twos; the last of an odd number is left out."""
    found = [windows([shot], WINDOW, least_step=WINDOW) for shot in shots]
    return [pair for own in found for pair in zip(own[::2], own[1::2], strict=False)]


def held_out(store: FootageStore) -> tuple[Shot, ...]:
    """The shots that nothing was learned from."""
    return store.split("validation") + store.split("test")


def compared(deals: Iterable[tuple[Array, Array]]) -> Row:
    """Distances and coverage of pairs of sets: the mean, `..._deviation` over the deals, and the counts.

    None stands for what needs more windows than there are.
    """
    given = list(deals)
    row: Row = {}
    for name, measure in MEASURES.items():
        try:
            found = [measure(reference, other) for reference, other in given]
        except TooFewError:
            row |= {name: None, f"{name}_deviation": None}
            continue
        row |= {name: round(float(np.mean(found)), 4), f"{name}_deviation": round(float(np.std(found)), 4)}
    return {**row, "windows": [len(side) for side in given[0]]}


@dataclass(frozen=True)
class Judged:
    """Tells which label a clip shows.

    Args:
        encoder: of the footage.
        judge: learned from the training side.
        held_out: its accuracy on real clips of the other sides, and what that rests on.
    """

    encoder: Encoder
    judge: LabelJudge
    held_out: Row

    def accuracy(self, clips: Frames, asked: Classes) -> float:
        """The share of clips (N, T, H, W, 3) that show the label they were asked for, T at least 16."""
        return round(float(np.mean(self.judge.judge(self.encoder, clips) == asked)), 4)


def judge_of(store: FootageStore, encoder: Encoder, num_frames: int) -> Judged | None:
    """A judge of labels, as the report has one; None where the footage has too few of them.

    Args:
        store: the footage.
        encoder: of it.
        num_frames: of the clips that it will judge.
    """
    labels = {label: number for number, label in enumerate(store.labels)}

    def labelled(found: Sequence[Window]) -> tuple[Sequence[Window], Classes]:
        known = [window for window in found if window.shot.label in labels]
        return known, np.array([labels[window.shot.label or ""] for window in known], np.int64)

    chosen, numbers = labelled(windows(store.split("train"), WINDOW, MOST_JUDGED, least_step=WINDOW))
    if not chosen:
        return None
    try:
        learned = learn_labels(encoder, read(store, chosen), numbers, [_source(window.shot) for window in chosen])
    except TooFewError:
        return None
    judged = Judged(encoder, learned, {})
    real, asked = labelled(windows(held_out(store), num_frames, MOST_JUDGED))
    shots = len({window.shot.id for window in real})
    found = {
        "accuracy": judged.accuracy(read(store, real), asked) if real else None, "clips": len(real), "shots": shots,
        "left_out_training_accuracy": round(learned.cross_validated, 4),
    }  # fmt: skip
    return Judged(encoder, learned, found)


def familiar_share(chosen: Sequence[Window], pictures: NDArray[np.float32], threshold: float) -> float | None:
    """The share of real training clips that lie nearer than a threshold to another shot of the same person or source.

    What copies nothing scores this too, where its footage shows few persons and places.

    Args:
        chosen: the clips.
        pictures: `small` of each.
        threshold: levels of 255.

    Returns:
        None where no person or source has two shots.
    """
    sources = np.array([_source(window.shot) for window in chosen])
    shots = np.array([window.shot.id for window in chosen])
    near: list[bool] = []
    for shot in np.unique(shots):
        mine = shots == shot
        others = (sources == sources[mine][0]) & ~mine
        if others.any():
            near += (nearest(pictures[mine], pictures[others]).distance < threshold).tolist()
    return round(float(np.mean(near)), 4) if near else None


def _source(shot: Shot) -> str:
    return shot.group or shot.source


def _features(store: FootageStore, encoder: Encoder, chosen: Sequence[Window]) -> Array:
    seen = [look(encoder, batch).features for batch in in_batches(store, chosen)]
    return np.concatenate(seen) if seen else np.empty((0, encoder.out.out_features))


def _evenly(count: int, most: int) -> list[int]:
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]
