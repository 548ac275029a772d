"""How like its footage a run's new clips are: distances between sets, each beside what real footage scores.

    training footage   windows dealt in turns:  reference | other moments of the same shots (the floor)
    held-out footage                            what nothing was learned from
    generated          thinned to as many windows as the floor has, so that counts do not decide

Every distance is first held against reference degradations of the floor's windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.evaluation.degradations import DEGRADATIONS, MILD, STRONG, discriminates
from autoreel.evaluation.distances import TooFewError, frechet, kernel_distance, manifold, two_sample_test
from autoreel.evaluation.encoder import WINDOW, Encoder, look
from autoreel.evaluation.labels import learn_labels
from autoreel.evaluation.metrics import sharpness
from autoreel.evaluation.motion import Movement, motion_distance, movement
from autoreel.evaluation.samples import Window, in_batches, read, windows
from autoreel.report.figures import Better, Figure, not_measured
from autoreel.report.subject import Subject

MOST = 512  # windows of training footage
DEGRADED = 96  # windows that are degraded
SPLITS = 20  # of real footage into two, to see what chance does
MEMORISED = "memorised"


@dataclass(frozen=True)
class Set:
    """Windows as the measures see them: features (N, D), movement (N, bins) and sharpness (N,)."""

    features: NDArray[np.float64]
    moved: Movement
    sharp: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.features)

    def of(self, chosen: NDArray[np.int64]) -> Set:
        """Some of them."""
        return Set(self.features[chosen], Movement(*(part[chosen] for part in self.moved)), self.sharp[chosen])

    def with_(self, other: Set) -> Set:
        """Both together."""
        moved = Movement(*(np.concatenate(parts) for parts in zip(self.moved, other.moved, strict=True)))
        return Set(np.concatenate([self.features, other.features]), moved, np.concatenate([self.sharp, other.sharp]))

    def thinned(self, count: int) -> Set:
        """At most so many, evenly."""
        return self if len(self) <= count else self.of(np.arange(count) * len(self) // count)


@dataclass(frozen=True)
class Footage:
    """The real windows of a footage, as an encoder sees them; made once for all runs of it.

    Args:
        reference: what generated windows are held against.
        floor: other moments of the same shots.
        held_out: None where nothing is held out.
        degraded: the floor's windows, by degradation: mildly and strongly.
    """

    reference: Set
    floor: Set
    held_out: Set | None
    degraded: Mapping[str, tuple[Set, Set]]


@dataclass(frozen=True)
class Distance:
    """A measure of two sets."""

    key: str
    name: str
    unit: str
    better: Better
    meaning: str
    measure: Callable[[Set, Set], float]


DISTANCES = (
    Distance("frechet", "Fréchet distance", "", "lower",
             "How far generated clips lie from training clips as a whole, in the features of an encoder of this "
             "footage; as good as real at the floor.", lambda a, b: frechet(a.features, b.features)),
    Distance("mmd2", "Kernel distance (MMD²)", "", "lower",
             "The same without assuming a bell curve, and fair to small counts; around 0 when nothing differs.",
             lambda a, b: kernel_distance(a.features, b.features)),
    Distance("precision", "Precision", "%", "higher", "Share of generated clips that look like some real clip.",
             lambda a, b: manifold(a.features, b.features).precision),
    Distance("recall", "Recall", "%", "higher", "Share of real clips that have a generated clip like them: variety.",
             lambda a, b: manifold(a.features, b.features).recall),
    Distance("density", "Density", "", "higher",
             "How thickly real clips lie around the generated ones; precision that single odd clips cannot raise.",
             lambda a, b: manifold(a.features, b.features).density),
    Distance("coverage", "Coverage", "%", "higher",
             "Share of real clips with a generated one among their nearest; variety that odd clips cannot raise.",
             lambda a, b: manifold(a.features, b.features).coverage),
    Distance("c2st", "Told apart from real", "%", "lower",
             "How often a classifier tells generated from real clips: 50 % is guessing, 100 % means they always show.",
             lambda a, b: two_sample_test(a.features, b.features).accuracy),
    Distance("motion", "Motion distance", "", "lower",
             "How differently things move, from dense optical flow without any network: 0 alike, 1 nothing in common.",
             lambda a, b: motion_distance(a.moved, b.moved)),
    Distance("sharpness", "Sharpness", "%", "nearer the floor",
             "How sharp generated clips are beside real ones, by the differences of neighbouring pixels; below the "
             "floor they are softer, above it noisier.",
             lambda a, b: float(b.sharp.mean() / max(a.sharp.mean(), 1e-9))),
)  # fmt: skip


def see(encoder: Encoder, clips: Frames) -> Set:
    """Windows of 16 frames of clips (N, T, H, W, 3), as the measures see them."""
    cut = clips[:, : clips.shape[1] // WINDOW * WINDOW].reshape(-1, WINDOW, *clips.shape[2:])
    return Set(look(encoder, cut).features, movement(cut), np.array([sharpness(window) for window in cut]))


def look_at_footage(subject: Subject, encoder: Encoder) -> Footage:
    """The real side of every distance."""
    store = subject.store
    trained = windows(store.split("train"), WINDOW, least_step=WINDOW)
    trained = [trained[i * len(trained) // MOST] for i in range(MOST)] if len(trained) > MOST else trained
    kept = windows(subject.held_out(), WINDOW, least_step=WINDOW)[:MOST]
    if len(trained) < 2:
        raise TooFewError("comparing with the footage", len(trained), 2)
    reference, floor = trained[::2], trained[1::2]
    spoiled = floor[:: -(-len(floor) // DEGRADED)]
    degraded = {
        name: (_see(encoder, (degrade(batch, MILD) for batch in in_batches(store, spoiled))),
               _see(encoder, (degrade(batch, STRONG) for batch in in_batches(store, spoiled))))
        for name, degrade in DEGRADATIONS.items()
    }  # fmt: skip
    seen, other = (_see(encoder, in_batches(store, part)) for part in (reference, floor))
    held_out = _see(encoder, in_batches(store, kept)).thinned(len(other)) if kept else None
    return Footage(seen, other, held_out, degraded)


def _see(encoder: Encoder, batches: Iterable[Frames]) -> Set:
    """`see`, a few clips at a time: large frames would fill the memory."""
    found = [see(encoder, batch) for batch in batches]
    return reduce(Set.with_, found)


def likeness(footage: Footage, made: Set, seed: int) -> list[Figure]:
    """Every distance of a set of generated windows.

    Args:
        footage: real windows.
        made: generated ones.
        seed: of the splits and of the classifier's folds.
    """
    made = made.thinned(len(footage.floor))
    return [_figure(distance, footage, made, seed) for distance in DISTANCES]


def _figure(distance: Distance, footage: Footage, made: Set, seed: int) -> Figure:
    about: dict[str, Any] = {
        "key": distance.key, "name": distance.name, "unit": distance.unit, "better": distance.better,
        "meaning": distance.meaning, "counted": f"windows of {WINDOW} frames", "seed": seed,
        "floor_of": "other moments of the training footage",
    }  # fmt: skip
    try:
        floor = distance.measure(footage.reference, footage.floor)
        value = distance.measure(footage.reference, made)
    except TooFewError as error:
        return Figure(**about, **not_measured(error))
    held_out = _or_none(distance, footage.reference, footage.held_out)
    return Figure(**about, value=value, floor=floor, held_out=held_out, count=len(made),
                  blind_to=blind_to(distance, footage, seed))  # fmt: skip


def blind_to(distance: Distance, footage: Footage, seed: int) -> tuple[str, ...] | None:
    """The degradations that a distance does not rank as a person would: worse than real, and the worse the stronger.

    What chance does is seen from real windows split in two at random. A set of replayed training clips counts as worse
    than real, too: it is not new. None where there are too few clips to try it.
    """
    try:
        chance = _by_chance(distance, footage.reference.with_(footage.floor), len(footage.floor), seed)
        lower = distance.better == "lower"
        if distance.better == "nearer the floor":  # how far from it is what counts
            return blind_to(_from_floor(distance, footage), footage, seed)
        blind = [
            name
            for name, (mild, strong) in footage.degraded.items()
            if not discriminates(
                chance, distance.measure(footage.reference, mild), distance.measure(footage.reference, strong),
                lower_is_better=lower,
            )
        ]  # fmt: skip
        replayed = distance.measure(footage.reference, footage.reference.thinned(len(footage.floor)))
        if not discriminates(chance, replayed, replayed, lower_is_better=lower):
            blind.append(MEMORISED)
    except TooFewError:
        return None
    return tuple(blind)


def _from_floor(distance: Distance, footage: Footage) -> Distance:
    floor = distance.measure(footage.reference, footage.floor)
    return replace(distance, better="lower", measure=lambda a, b: abs(distance.measure(a, b) - floor))


def _by_chance(distance: Distance, real: Set, count: int, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(SPLITS):
        order = random.permutation(len(real))
        found.append(distance.measure(real.of(order[count:]), real.of(order[:count])))
    return np.array(found)


def _or_none(distance: Distance, reference: Set, other: Set | None) -> float | None:
    try:
        return distance.measure(reference, other) if other is not None else None
    except TooFewError:
        return None


def label_accuracy(subject: Subject, encoder: Encoder, made: Frames, asked: Sequence[str | None], seed: int) -> Figure:
    """How often a generated clip shows the label that it was asked for.

    Args:
        subject: the run.
        encoder: of its footage.
        made: uint8 (N, T, H, W, 3).
        asked: the label of each.
        seed: stands beside the figure; nothing is drawn.
    """
    labels = list(subject.store.labels)  # a run of unlabelled footage has styles, which no real clip is marked with
    about: dict[str, Any] = {
        "key": "label_accuracy", "name": "Label accuracy", "unit": "%", "better": "higher", "seed": seed,
        "meaning": "How often a small classifier of real clips sees in a generated clip the label it was asked for; "
        "it can hardly be better than the same classifier on held-out real clips.",
        "floor_of": "held-out real clips",
    }  # fmt: skip
    if len(labels) < 2:
        return Figure(**about, **not_measured("the footage has fewer than two labels"))
    if subject.family == "gan":
        return Figure(**about, **not_measured("the family gan is not asked for labels"))
    try:
        trained = _labelled(windows(subject.store.split("train"), WINDOW, least_step=WINDOW), labels)[:MOST]
        groups = [window.shot.group or window.shot.id for window in trained]
        numbers = np.array([labels.index(window.shot.label or "") for window in trained], np.int64)
        judge = learn_labels(encoder, read(subject.store, trained), numbers, groups)
    except TooFewError as error:
        return Figure(**about, **not_measured(error))
    real = _labelled(windows(subject.held_out(), WINDOW, least_step=WINDOW), labels)
    floor = None
    if real:
        told = judge.judge(encoder, read(subject.store, real))
        floor = float(np.mean([labels[t] == window.shot.label for t, window in zip(told, real, strict=True)]))
    told = judge.judge(encoder, made)
    right = float(np.mean([labels[t] == label for t, label in zip(told, asked, strict=True)]))
    note = f"guessing gives {100 / len(labels):.0f} %; left-out training shots {100 * judge.cross_validated:.0f} %"
    return Figure(**about, value=right, floor=floor, count=len(made), note=note)


def _labelled(found: Sequence[Window], labels: Sequence[str]) -> list[Window]:
    return [window for window in found if window.shot.label in labels]
