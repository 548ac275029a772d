"""Distances beside their floor, and what a measure is blind to, on sets whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoreel.evaluation.motion import BINS, Movement
from autoreel.report.likeness import DISTANCES, Distance, Footage, Set, blind_to, likeness


def windows(seed: int, shift: float = 0.0, count: int = 60, bin: int = 3, sharp: float = 10.0) -> Set:
    """Features around `shift`, movement mostly in one bin, a sharpness."""
    random = np.random.default_rng(seed)
    weights = np.full(BINS, 0.2)
    weights[bin] = 60.0
    moved = Movement(random.dirichlet(weights, count), random.dirichlet(weights, count))
    return Set(random.normal(shift, 1.0, (count, 4)), moved, random.normal(sharp, 1.0, count))


def footage() -> Footage:
    worse = {
        "blurred": (windows(10, 1.0, bin=5, sharp=8.0), windows(11, 3.0, bin=6, sharp=4.0)),
        "frozen": (windows(1), windows(1)),  # nothing that these measures could see
    }
    return Footage(windows(1), windows(2), windows(3, 0.5), worse)


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda distance: distance.key)
def test_a_measure_says_what_it_is_blind_to(distance: Distance) -> None:
    blind = blind_to(distance, footage(), seed=0)
    assert blind is not None and "frozen" in blind and "memorised" in blind
    if distance.key in ("frechet", "mmd2", "precision", "coverage", "c2st", "sharpness"):
        assert "blurred" not in blind


def test_every_distance_stands_beside_real_footage_of_the_same_count() -> None:
    figures = {figure.key: figure for figure in likeness(footage(), windows(5, 2.0, count=200), seed=4)}
    assert set(figures) == {distance.key for distance in DISTANCES}
    for key, figure in figures.items():
        assert figure.count == 60 and figure.seed == 4 and figure.floor is not None and figure.held_out is not None, key
    assert figures["frechet"].value is not None and figures["frechet"].floor is not None
    assert figures["frechet"].value > 5 * figures["frechet"].floor
    assert figures["c2st"].value is not None and figures["c2st"].value > 0.9


def test_too_few_windows_are_said() -> None:
    figures = {figure.key: figure for figure in likeness(footage(), windows(5, count=7), seed=0)}
    assert figures["frechet"].value is not None  # four features need five windows
    for key in ("mmd2", "precision", "c2st", "motion"):
        assert figures[key].value is None and figures[key].note.startswith("not measured: "), key


def test_what_cannot_be_tried_is_not_called_blind() -> None:
    few = footage()
    few = replace(few, degraded={"blurred": (windows(10, count=3), windows(11, count=3))})
    assert all(blind_to(distance, few, seed=0) is None for distance in DISTANCES if distance.key == "c2st")
