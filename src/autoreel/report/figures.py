"""One number of a report, with everything that must stand beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.uncertainty import Interval

Better = Literal["higher", "lower", "nearer the floor", "neither"]


@dataclass(frozen=True)
class Figure:
    """A number.

    Args:
        key: stays the same in every report.json.
        name: for a person.
        value: None when it could not be measured; `note` says why.
        unit: "dB", "levels", ...
        meaning: what it means, in a sentence.
        better: which way is better.
        count: of what it was taken from.
        counted: what was counted.
        seed: of what was drawn at random.
        floor: the same of real footage, or of what else it is to be held against.
        floor_of: what that is.
        held_out: the same of held-out real footage against training footage.
        low: lower end of the 95 % interval.
        high: upper end.
        note: anything else that must be known.
        blind_to: the reference degradations that it does not rank as a person would, on this footage; None where that
            was not tried.
    """

    key: str
    name: str
    value: float | None
    unit: str
    meaning: str
    better: Better = "neither"
    count: int = 0
    counted: str = "clips"
    seed: int | None = None
    floor: float | None = None
    floor_of: str = ""
    held_out: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    blind_to: tuple[str, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """For report.json; a number that is not finite becomes text."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Section:
    """Figures that belong together.

    Args:
        title: a few words.
        about: what they are about, in a sentence.
        figures: in the order to be shown.
    """

    title: str
    about: str
    figures: Sequence[Figure] = field(default=())


def with_interval(interval: Interval) -> dict[str, Any]:
    """The arguments of a Figure that an interval gives."""
    ends = {"low": interval.low, "high": interval.high}
    known = {name: None if math.isnan(end) else end for name, end in ends.items()}
    return {"value": interval.value, "count": interval.count, **known}


def not_measured(error: TooFewError | str) -> dict[str, Any]:
    """The arguments of a Figure that could not be taken."""
    found = error.found if isinstance(error, TooFewError) else 0
    return {"value": None, "count": found, "note": f"not measured: {error}"}


def shown(value: float | None, unit: str = "") -> str:
    """A number as a person reads it: three digits that count, and its unit."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        text = "∞" if value > 0 else "-∞"
    elif unit in ("%",):
        return f"{100 * value:.0f} %"
    elif value == 0 or 0.01 <= abs(value) < 1000:
        digits = max(0, 2 - math.floor(math.log10(abs(value) or 1)))
        text = f"{value:.{min(digits, 3)}f}"
    elif abs(value) < 1e9:
        text = f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.2g}"
    else:
        text = f"{value:.2e}"
    return f"{text} {unit}".strip()


def verdict(figure: Figure) -> str:
    """What is to be said of a measure's worth on this footage; nothing where it ranks everything."""
    if not figure.blind_to:
        return ""
    return f"does not discriminate here: {', '.join(figure.blind_to)}"


def by_key(sections: Sequence[Section]) -> Mapping[str, Figure]:
    """Every figure by its key."""
    return {figure.key: figure for section in sections for figure in section.figures}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
