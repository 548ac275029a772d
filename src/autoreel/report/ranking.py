"""Who is better at what: means over seeds with their intervals, and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoreel.evaluation.uncertainty import Interval, seed_intervals

Results = dict[tuple[str, int], dict[str, Any]]  # figures by key, by family and seed
SHARE, ABOVE_ZERO = (0.0, 1.0), (0.0, float("inf"))
BOUNDS = {  # of measures that cannot leave them, for their intervals
    "precision": SHARE, "recall": SHARE, "coverage": SHARE, "c2st": SHARE, "label_accuracy": SHARE,
    "replayed_share": SHARE, "frechet": ABOVE_ZERO, "density": ABOVE_ZERO, "motion": ABOVE_ZERO,
    "sharpness": ABOVE_ZERO, "sharpness_kept": ABOVE_ZERO, "nearness": ABOVE_ZERO,
}  # fmt: skip
# What decides the order: how like the footage new clips are. Accuracy is shown beside, for `gan` has none.
DECIDING = ("mmd2", "precision", "coverage", "c2st", "motion")


@dataclass(frozen=True)
class Row:
    """One measure of all families.

    Args:
        key: of the figure.
        name: for a person.
        unit: of the values.
        better: "higher", "lower", "nearer the floor" or "neither".
        values: by family; None where it was not measured.
        best: the families whose mean is not clearly behind the best one.
        floor: of the first that has one.
    """

    key: str
    name: str
    unit: str
    better: str
    values: Mapping[str, Interval | None]
    best: tuple[str, ...]
    floor: float | None


def row_of(results: Results, key: str) -> Row | None:
    """A measure over all runs; None where no run has it."""
    figures = {run: figures[key] for run, figures in results.items() if key in figures}
    if not figures:
        return None
    first = next(iter(figures.values()))
    families = dict.fromkeys(family for family, _ in results)
    known: dict[str, list[float]] = {}
    for (family, _), figure in figures.items():
        number = _number(figure["value"])
        if number is not None:
            known.setdefault(family, []).append(number)
    intervals = seed_intervals(known, BOUNDS.get(key.removeprefix("gaussian_"), (-np.inf, np.inf)))
    values = {family: intervals.get(family) for family in families}
    floors = [number for figure in figures.values() if (number := _number(figure["floor"])) is not None]
    floor = float(np.mean(floors)) if floors else None
    return Row(key, first["name"], first["unit"], first["better"], values, _best(values, first["better"], floor), floor)


def ranks(results: Results, keys: Sequence[str] = DECIDING) -> dict[str, Interval]:
    """The mean rank of each family, 1 the best, over measures; one value per seed, with the interval over seeds.

    Args:
        results: of all runs.
        keys: the measures that decide; those that some run lacks are left out.
    """
    usable = [key for key in keys if all(_number(figures.get(key, {}).get("value")) is not None
                                         for figures in results.values())]  # fmt: skip
    families = list(dict.fromkeys(family for family, _ in results))
    if not usable:
        return {}
    found: dict[str, list[float]] = {family: [] for family in families}
    for seed in sorted({seed for _, seed in results}):
        places = []
        for key in usable:
            row = row_of(results, key)
            assert row is not None
            cost = np.array([_cost(float(results[f, seed][key]["value"]), row.better, row.floor) for f in families])
            # Equal values share their places.
            places.append([1 + np.sum(cost < c) + (np.sum(cost == c) - 1) / 2 for c in cost])
        for family, place in zip(families, np.mean(places, 0), strict=True):
            found[family].append(float(place))
    order = sorted(families, key=lambda family: np.mean(found[family]))
    return seed_intervals({family: found[family] for family in order}, (1.0, float(len(families))))


def _best(values: Mapping[str, Interval | None], better: str, floor: float | None) -> tuple[str, ...]:
    """The best mean, and those whose interval overlaps with its own: between them nothing is decided."""
    known = {family: value for family, value in values.items() if value is not None}
    if better == "neither" or len(known) < 2:
        return ()
    first = min(known, key=lambda family: _cost(known[family].value, better, floor))
    winner = known[first]
    if np.isnan(winner.low):
        return (first,)
    return tuple(
        family for family, value in known.items()
        if family == first or (not np.isnan(value.low) and value.low <= winner.high and winner.low <= value.high)
    )  # fmt: skip


def _cost(value: float, better: str, floor: float | None) -> float:
    if better == "nearer the floor":
        return abs(value - (floor if floor is not None else 0.0))
    return -value if better == "higher" else value


def _number(value: Any) -> float | None:
    """A figure as it stands in JSON: None, or text where it is not finite, counts as not measured."""
    return float(value) if isinstance(value, int | float) else None
