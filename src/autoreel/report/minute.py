"""A minute generated in one go: what changes while it goes on."""

from __future__ import annotations

import numpy as np

from autoreel.evaluation.steadiness import drift
from autoreel.report.figures import Figure
from autoreel.report.subject import Subject

LENGTH_S = 60
NAMES = {
    "brightness": ("Brightness", "it grows lighter or darker"),
    "contrast": ("Contrast", "it grows harsher or flatter"),
    "colour": ("Colour", "colours grow stronger or paler"),
    "sharpness": ("Sharpness", "detail is gained or, below zero, washed away"),
    "motion": ("Motion", "movement grows or dies down"),
}


def minute(subject: Subject, seed: int) -> list[Figure]:
    """The slope of each property over a minute, beside how much it differs between real shots."""
    num_frames = max(2, round(LENGTH_S * subject.rate))
    frames = subject.sample(subject.labels(1), num_frames, [seed])[0]
    measured = drift(frames, subject.rate)
    spread = _spread_of_real(subject)
    figures = []
    for key, slope in measured.slopes().items():
        name, what = NAMES[key]
        values = getattr(measured, key)
        clear = "a clear slope" if slope.is_clear else "not clear: it may be chance"
        figures.append(Figure(
            f"drift_{key}", f"{name}: drift", slope.per_minute, "levels/min", f"How much {what} in a minute.",
            "neither", len(values), "seconds", seed,
            floor=spread.get(key), floor_of="how much real shots differ from each other (deviation)",
            low=slope.per_minute - 2 * slope.error, high=slope.per_minute + 2 * slope.error,
            note=f"{clear}; first second {values[0]:.1f}, last {values[-1]:.1f}",
        ))  # fmt: skip
    return figures


def _spread_of_real(subject: Subject) -> dict[str, float]:
    """The deviation of each property between the shots of the training side."""
    found = []
    for shot in subject.store.split("train")[:40]:
        frames = subject.store.frames(shot)
        if len(frames) > 1:
            # The whole shot as four of its "seconds", so that short ones count too.
            whole = drift(frames, max(len(frames) / 4, 0.5))
            found.append({name: float(values.mean()) for name, values in vars(whole).items()})
    if len(found) < 2:
        return {}
    return {name: float(np.std([row[name] for row in found])) for name in found[0]}
