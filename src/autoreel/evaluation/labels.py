"""Does a generated clip show what it was asked for? Told by a small classifier of real training clips.

It is a linear one, of what the encoder sees (appearance), of where and how things move, or of both: the plainest that
tells left-out training shots apart as well as the best, to one standard error (Breiman et al. 1984, section 3.4.3).
With few persons, what more it looked at would be what they wear. Its own accuracy on held-out real clips stands beside
every figure: where that is low, a low figure says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.evaluation.distances import Classifier, TooFewError, classify, fit_classifier
from autoreel.evaluation.encoder import WINDOW, Encoder, look
from autoreel.evaluation.motion import movement

GRID = 8
RIDGES = (3.0, 30.0, 300.0)
FOLDS = 4
MIN_PER_LABEL = 2

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Describer:
    """What a classifier looks at; chosen by `learn_labels`.

    Args:
        appearance: the encoder's traits.
        moving: where and how things move.
    """

    appearance: bool
    moving: bool


@dataclass(frozen=True)
class LabelJudge:
    """A classifier of labels.

    Args:
        describer: what it looks at.
        classifier: linear.
        cross_validated: share of left-out training windows that it tells right.
        num_labels: how many it knows.
    """

    describer: Describer
    classifier: Classifier
    cross_validated: float
    num_labels: int

    def judge(self, encoder: Encoder, clips: Frames) -> Labels:
        """The label of each clip: the mean over its windows. int64 (N,)."""
        per_clip = clips.shape[1] // WINDOW
        described = describe(encoder, clips, self.describer)
        return classify(self.classifier, described.reshape(len(clips), per_clip, -1).mean(1))


def describe(encoder: Encoder, clips: Frames, what: Describer) -> Array:
    """Numbers for each window of 16 frames: float64 (N * windows, D)."""
    windows = clips[:, : clips.shape[1] // WINDOW * WINDOW].reshape(-1, WINDOW, *clips.shape[2:])
    parts = []
    if what.appearance:
        parts.append(look(encoder, clips).traits)
    if what.moving:
        parts += [energy(windows), np.sqrt(movement(windows).velocity)]
    return np.concatenate(parts, 1)


def energy(windows: Frames) -> Array:
    """Where a window changes: the share of all change in each place of a grid of 8 x 8, and how much there is.

    Args:
        windows: uint8 (N, T, H, W, 3), T at least 2, H and W at least 8.

    Returns:
        float64 (N, 65).
    """
    found = []
    for window in windows:
        change = np.abs(np.diff(window.astype(np.int16), axis=0)).mean((0, 3))
        rows = np.array_split(change, GRID, 0)
        grid = np.array([[cell.mean() for cell in np.array_split(row, GRID, 1)] for row in rows])
        found.append([*np.sqrt(grid / max(grid.sum(), 1e-9)).ravel(), np.log1p(grid.mean())])
    return np.array(found, np.float64)


def learn_labels(encoder: Encoder, clips: Frames, labels: Labels, groups: Sequence[str]) -> LabelJudge:
    """Learn to tell labels apart, and find out what is best looked at.

    Args:
        encoder: of this footage.
        clips: uint8 (N, T, H, W, 3) of the training side, T at least 16.
        labels: int64 (N,), 0 and up.
        groups: where each clip comes from (person, or shot): what is tested comes from other ones.

    Raises:
        TooFewError: a label has fewer than two clips.
    """
    counts = np.bincount(labels)
    if len(counts) < 2 or counts.min() < MIN_PER_LABEL:
        raise TooFewError("label accuracy", int(counts.min()) if len(counts) > 1 else 0, MIN_PER_LABEL)
    per_clip = clips.shape[1] // WINDOW
    expected = np.repeat(labels, per_clip)
    names = {name: i for i, name in enumerate(sorted(set(groups)))}
    group = np.repeat([names[name] for name in groups], per_clip)
    whole = {what: describe(encoder, clips, what) for what in (Describer(True, False), Describer(False, True))}
    whole[Describer(True, True)] = np.concatenate(list(whole.values()), 1)
    plainest = sorted(whole, key=lambda what: whole[what].shape[1])
    tried = [
        (_cross_validated(whole[what], expected, group % FOLDS, len(counts), ridge), what, ridge)
        for what in plainest
        for ridge in sorted(RIDGES, reverse=True)
    ]
    best = max((right for right, _, _ in tried), key=np.nanmean)
    least = np.nanmean(best) - grouped_error(best, group)
    right, what, ridge = next(found for found in tried if np.nanmean(found[0]) >= least)
    classifier = fit_classifier(whole[what], expected, len(counts), ridge)
    return LabelJudge(what, classifier, float(np.nanmean(right)), len(counts))


def grouped_error(right: Array, group: NDArray[np.int64]) -> float:
    """The standard error of a share whose cases are alike within groups: windows of one person are not many persons.

    Args:
        right: (N,), 1 or 0; NaN for cases that do not count.
        group: (N,), 0 and up.
    """
    counted = ~np.isnan(right)
    excess = np.bincount(group[counted], right[counted] - right[counted].mean())
    count = len(np.unique(group[counted]))
    return float(np.sqrt(count / max(1, count - 1) * (excess @ excess)) / counted.sum())


def _cross_validated(
    points: Array, expected: Labels, fold: NDArray[np.int64], num_labels: int, ridge: float
) -> Array:
    """Which windows are told right by what the others taught, 1 or 0; NaN where those have one label. (N,)."""
    right = np.full(len(expected), np.nan)
    for held in np.unique(fold):
        rest = fold != held
        if len(np.unique(expected[rest])) < 2:
            continue
        classifier = fit_classifier(points[rest], expected[rest], num_labels, ridge)
        right[~rest] = classify(classifier, points[~rest]) == expected[~rest]
    return right if not np.isnan(right).all() else np.zeros(len(expected))  # of one group, nothing can be left out
