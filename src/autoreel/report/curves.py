"""Curves as inline SVG: they follow the page's colours, and need nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 38
MOST_POINTS = 240
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line or a row of dots.

    Args:
        name: for the legend.
        points: (x, y).
        dots: dots instead of a line.
    """

    name: str
    points: Points
    dots: bool = False


def of_training(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """The charts of a run's metrics.jsonl, each with its title: losses and held-out figures of each stage."""
    rows = list(rows)
    charts = []
    for stage in dict.fromkeys(str(row.get("stage")) for row in rows):
        mine = [row for row in rows if row.get("stage") == stage]
        losses = [Curve("loss while training", thinned(_points(mine, "loss")))]
        losses += [Curve("held-out loss", _points(mine, "validation/loss"), dots=True)]
        charts.append((f"Loss of the {stage}", chart(f"Loss of the {stage}", losses, "steps", "loss", log=True)))
        quality = [
            Curve("PSNR, held-out", _points(mine, "validation/psnr_db")),
            Curve("PSNR of changes, held-out", _points(mine, "validation/temporal_psnr_db"), dots=True),
        ]
        title = f"Quality of the {stage} on held-out footage"
        charts.append((title, chart(title, quality, "steps", "dB")))
    return [(title, drawn) for title, drawn in charts if drawn]


def chart(title: str, curves: Sequence[Curve], x_name: str, y_name: str, *, log: bool = False) -> Markup:
    """A chart; empty when no curve has two points.

    Args:
        title: read out by screen readers.
        curves: at most four are told apart.
        x_name: under the axis.
        y_name: beside it.
        log: a logarithmic scale; what is not above zero is left out.
    """
    kept = [Curve(c.name, [p for p in c.points if not log or p[1] > 0], c.dots) for c in curves]
    kept = [curve for curve in kept if len(curve.points) > 1 or (curve.dots and curve.points)]
    if not any(len(curve.points) > 1 for curve in kept):
        return Markup("")
    xs = [x for curve in kept for x, _ in curve.points]
    ys = [math.log10(y) if log else y for curve in kept for _, y in curve.points]
    low, high = min(ys), max(ys)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    right = max(max(xs), min(xs) + 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        value = math.log10(y) if log else y
        across = (x - min(xs)) / (right - min(xs))
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(low, high, min(xs), right, log, x_name, y_name)]
    for number, curve in enumerate(kept):
        places = [place(*point) for point in curve.points]
        if curve.dots:
            parts += [f'<circle class="c{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        else:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="c{number}" points="{path}"/>')
    names = " ".join(
        f'<tspan class="c{i}">{"●" if c.dots else "━"}</tspan> {escape(c.name)}' for i, c in enumerate(kept)
    )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{TOP + 4}" text-anchor="end">{names}</text>')
    return Markup(  # every text in it is escaped above, or a number
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _grid(low: float, high: float, left: float, right: float, log: bool, x_name: str, y_name: str) -> str:
    parts = []
    for i in range(5):
        share = i / 4
        y = TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
        value = low + share * (high - low)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10**value if log else value:.3g}</text>')
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        mark = left + share * (right - left)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{mark:.5g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="12" y="{HEIGHT / 2}" transform="rotate(-90 12 {HEIGHT / 2})" text-anchor="middle">')
    return "".join(parts) + f"{escape(y_name)}</text>"


def thinned(points: Points) -> Points:
    """Means over blocks, so that a curve of any length is small and can be read."""
    size = max(1, -(-len(points) // MOST_POINTS))
    blocks = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in blocks]


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> Points:
    found = ((row.get("step"), row.get(name)) for row in rows)
    return [(float(x), float(y)) for x, y in found if isinstance(x, int | float) and isinstance(y, int | float)]
