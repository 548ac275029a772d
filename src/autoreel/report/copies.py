"""The memorisation report of a run: what its clips copy, beside what reality, which cannot copy, looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autoreel.clip import Frames
from autoreel.evaluation.degradations import STRONG, blurred
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.memorisation import Memorisation, Nearest, memorisation, nearest, small
from autoreel.evaluation.samples import Window, in_batches, read, windows
from autoreel.report.figures import Figure, not_measured
from autoreel.report.subject import Subject

MOST_TRAINING = 6000  # windows, from every second frame on where that is not more
MOST_HELD_OUT = 256
TRAINING_STEP = 2
COPIED = 24  # training clips that are softened, to see whether they are found


@dataclass(frozen=True)
class Copies:
    """What was found, with what is needed to show it.

    Args:
        found: the measure.
        training: the windows that indexes point to.
        sees: share of softened copies of training clips that it knows for what they are.
    """

    found: Memorisation
    training: list[Window]
    sees: float


def look_for_copies(subject: Subject, made: Frames) -> Copies:
    """Compare generated clips with every training clip.

    Args:
        subject: the run.
        made: uint8 (N, T, H, W, 3).

    Raises:
        TooFewError: too few generated or held-out clips.
    """
    length = made.shape[1]
    training = windows(subject.store.split("train"), length, MOST_TRAINING, least_step=TRAINING_STEP)
    held_out = windows(subject.held_out(), length, MOST_HELD_OUT)
    if not training:
        raise TooFewError("the memorisation report", 0, 1)
    known = _small(subject, training)
    real = nearest(_small(subject, held_out), known) if held_out else Nearest(np.empty(0), np.empty(0, np.int64))
    found = memorisation(nearest(small(made), known), real)
    several = read(subject.store, training[:: -(-len(training) // COPIED)])
    copied = nearest(small(blurred(several, STRONG)), known)
    return Copies(found, training, float(np.mean(copied.distance < found.threshold)))


def figures(copies: Copies | TooFewError, seed: int) -> list[Figure]:
    """The measure as figures."""
    share: dict[str, Any] = {
        "key": "replayed_share", "name": "Suspected replays", "unit": "%", "better": "nearer the floor", "seed": seed,
        "meaning": "Share of generated clips that lie nearer to a training clip than 95 % of held-out real clips do: "
        "about 5 % where nothing is copied, 100 % where everything is.",
        "floor_of": "held-out real clips",
    }  # fmt: skip
    ratio: dict[str, Any] = {
        "key": "nearness", "name": "Distance to the nearest training clip", "unit": "levels",
        "better": "nearer the floor", "seed": seed,
        "meaning": "Difference to the most similar training clip, in the 255 levels of a pixel of a small picture; "
        "far below the floor means copies.",
        "floor_of": "held-out real clips",
    }  # fmt: skip
    if isinstance(copies, TooFewError):
        return [Figure(**about, **not_measured(copies)) for about in (share, ratio)]
    found = copies.found
    count = len(found.made.distance)
    blind = () if copies.sees > 0.9 else ("memorised",)
    warning = "held-out footage may show other people or places, so nearness alone is no proof; look at the clips"
    return [
        Figure(**share, value=found.share, floor=0.05, count=count, blind_to=blind,
               note=f"{len(found.held_out.distance)} held-out clips; of softened copies of training clips it finds "
               f"{100 * copies.sees:.0f} %; {warning}"),
        Figure(**ratio, value=float(np.median(found.made.distance)),
               floor=float(np.median(found.held_out.distance)), count=count),
    ]  # fmt: skip


def _small(subject: Subject, chosen: list[Window]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.concatenate([small(batch) for batch in in_batches(subject.store, chosen, 64)])
