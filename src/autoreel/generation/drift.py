"""The meter of drift: what made footage looks like, second by second, beside the footage that was learned from.

A rollout sees what it made itself, so small errors may grow: pictures fade, burn, blur or freeze. None of that shows in
one frame; it shows as a slope over the seconds that the footage's own variety does not explain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.bounded import read_bounded
from autoreel.clip import Frames
from autoreel.config import Strict, from_mapping
from autoreel.data.store import FootageStore
from autoreel.errors import AutoreelError, RunError
from autoreel.runs import RunFolder, atomic_write_text

QUANTITIES = ("brightness", "contrast", "saturation", "sharpness", "motion")
REFERENCE = "look.json"  # in a run folder
FORMAT = 1
MAX_LOOK_BYTES = 1 << 20
MOST_SECONDS = 64  # of footage that are looked at
LEAST_FOR_A_SLOPE_S = 10
LEAST_TO_CLAIM_S = 30  # in less, chance looks like drift too often, whatever is allowed for
MOST_CORRELATION = 0.95  # of a second with the next, that errors are widened for
LEAST_LEFT = 1e-3  # of a level of 255: what rounding leaves over of seconds that are all the same is no measure
# Student's t that chance is beyond in one case of a hundred, by one over the degrees of freedom; lines in between lie
# a little over it. Of five quantities one is beyond it in one clip of twenty.
ONE_OVER_FREEDOM = (0.0, 1 / 60, 1 / 30, 1 / 15, 1 / 10, 1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0)
STUDENT_T = (2.5758, 2.6603, 2.7500, 2.9467, 3.1693, 3.3554, 3.7074, 4.0321, 4.6041, 5.8409, 9.9248, 63.6567)
LEAST_SPREAD = 0.01  # of the mean: footage in which nothing changes would make any slope look endless
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709

Floats = NDArray[np.float64]


class Look(Strict):
    """What a second of some footage looks like on average, and how far its seconds lie apart.

    Args:
        mean: of each of QUANTITIES, over the seconds.
        spread: standard deviation of each, over the seconds.
    """

    format: int = FORMAT
    mean: dict[str, float]
    spread: dict[str, float]


class Meter:
    """Takes frames as they are made and keeps five numbers for each second.

    Brightness: mean luma, 0 to 255. Contrast: its standard deviation in a frame. Saturation: mean distance between the
    largest and the smallest colour. Sharpness: mean distance of neighbouring pixels. Motion: of the same pixel in
    neighbouring frames, per second.

    Args:
        rate: frames per second.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._seconds: list[Floats] = []
        self._sum, self._count, self._frames = np.zeros(5), np.zeros(5), 0
        self._last: NDArray[np.float32] | None = None

    def add(self, frames: Frames) -> None:
        """The next frames, uint8 (n, H, W, 3)."""
        for frame in frames:
            colours = frame.astype(np.float32)
            luma = colours @ LUMA
            sharpness = np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()
            found = [luma.mean(), luma.std(), np.ptp(colours, axis=-1).mean(), sharpness, 0.0]
            counted = np.ones(5)
            if self._last is None:
                counted[4] = 0
            else:
                found[4] = float(np.abs(luma - self._last).mean() * float(self._rate))
            self._sum, self._count, self._last = self._sum + np.array(found), self._count + counted, luma
            self._frames += 1
            if self._frames >= (len(self._seconds) + 1) * self._rate:
                self._close()

    def cut(self) -> None:
        """What comes next is another shot: no motion lies between."""
        self._last = None

    def seconds(self) -> Floats:
        """(S, 5), one row for each second, the last perhaps of less."""
        begun = [self._sum / np.maximum(self._count, 1)] if self._count[0] else []
        return np.array([*self._seconds, *begun]).reshape(-1, 5)

    def _close(self) -> None:
        self._seconds.append(self._sum / np.maximum(self._count, 1))
        self._sum, self._count = np.zeros(5), np.zeros(5)


@dataclass(frozen=True)
class Drift:
    """How a clip looks beside the footage, and where it goes.

    Args:
        seconds: of the clip.
        level: mean of each quantity over the clip, as a share of the footage's mean; None without that.
        slope: of each quantity over the clip, in one minute, as a share of the footage's spread; None without that, and
            for clips of less than LEAST_FOR_A_SLOPE_S seconds.
        slope_error: standard error of each slope, in the same unit: how far chance alone carries it.
        slope_least: how far from 0 each slope has to be to be called drift, in the same unit; chance alone passes one
            of them in one clip of twenty. None for clips of less than LEAST_TO_CLAIM_S seconds.
        per_second: the quantities themselves.
    """

    seconds: int
    level: dict[str, float] | None
    slope: dict[str, float] | None
    slope_error: dict[str, float] | None
    slope_least: dict[str, float] | None
    per_second: dict[str, list[float]]

    def line(self) -> str:
        """In words, for a person."""
        if self.level is None:
            return "beside the footage: not known, this run was trained before it was measured"
        said = "beside the footage: " + ", ".join(f"{name} {100 * self.level[name]:.0f} %" for name in QUANTITIES)
        if self.slope is None or self.slope_error is None:
            return said
        if self.slope_least is None:
            return f"{said}; too short to tell drift from chance"
        slope, error, least = self.slope, self.slope_error, self.slope_least
        certain = [name for name in QUANTITIES if abs(slope[name]) > least[name]]
        if not certain:
            return f"{said}; drift not distinguishable from 0"
        told = ", ".join(f"{name} {100 * slope[name]:+.0f} +/- {100 * error[name]:.0f} %" for name in certain)
        others = "; the others not distinguishable from 0" if len(certain) < len(QUANTITIES) else ""
        return f"{said}; drift a minute, of its spread: {told}{others}"


def drift_of(seconds: Floats, reference: Look | None) -> Drift:
    """Compare a clip with the footage.

    Args:
        seconds: (S, 5), of a `Meter`.
        reference: of the footage; None when it is not known.
    """
    columns = dict(zip(QUANTITIES, seconds.T, strict=True))
    level = slope = error = least = None
    if reference is not None:
        level = {name: float(c.mean()) / max(1e-6, reference.mean[name]) for name, c in columns.items()}
        if len(seconds) >= LEAST_FOR_A_SLOPE_S:
            slope, error, far = {}, {}, {}
            for name, c in columns.items():
                unit = max(1e-6, LEAST_SPREAD * reference.mean[name], reference.spread[name])
                slope[name], error[name], far[name] = (value / unit for value in slope_of(c))
            least = far if len(seconds) >= LEAST_TO_CLAIM_S else None
    rounded = {name: [round(float(v), 3) for v in c] for name, c in columns.items()}
    return Drift(len(seconds), level, slope, error, least, rounded)


def slope_of(values: Floats) -> tuple[float, float, float]:
    """The slope of a line through values, one a second, per minute; its standard error; and the least that is certain.

    Seconds that follow each other are alike, so that fewer of them count: n (1 - r) / (1 + r), r the correlation of
    what the line leaves over with itself a second later (Santer et al. 2000). What a line leaves over seems less alike
    than it is, by (2 + 4 r) / n, and this is made up for (in the manner of Kendall 1954).

    A slope is certain beyond Student's t for the seconds that count, when r is a standard error larger than it seems:
    then five slopes pass it by chance in one to six clips of a hundred, from 30 s on and for r up to 0.85 (simulated).

    Args:
        values: (S,), S at least 5, in levels of 255.
    """
    count = len(values)
    minutes = np.arange(count) / 60
    minutes = minutes - minutes.mean()
    slope = float(minutes @ values / (minutes @ minutes))
    left = values - values.mean() - slope * minutes
    squares = float(left @ left)
    alike = (float(left[:-1] @ left[1:]) / max(squares, 1e-12) + 2 / count) / (1 - 4 / count)

    def error_and_freedom(squares: float, alike: float) -> tuple[float, float]:
        alike = min(max(alike, 0.0), MOST_CORRELATION)
        freedom = max(1.0, count * (1 - alike) / (1 + alike) - 2)
        return float(np.sqrt(squares / freedom / (minutes @ minutes))), freedom

    error, _ = error_and_freedom(squares, alike)
    wide, freedom = error_and_freedom(max(squares, count * LEAST_LEFT**2), alike + 1 / np.sqrt(count))
    return slope, error, float(np.interp(1 / freedom, ONE_OVER_FREEDOM, STUDENT_T)) * wide


def look_of(store: FootageStore) -> Look:
    """The training footage's own look, from seconds that are evenly spread over it."""
    rate = store.rate
    length = max(2, round(rate))
    places = [(shot, at) for shot in store.split("train") for at in range(0, max(1, shot.num_frames - length), length)]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(MOST_SECONDS, len(places))).round().astype(int))
    rows = []
    for index in chosen:
        shot, at = places[index]
        meter = Meter(rate)
        meter.add(store.frames(shot, at, min(length, shot.num_frames - at)))
        rows.append(meter.seconds()[0])
    found = np.array(rows)
    return Look(
        mean=dict(zip(QUANTITIES, found.mean(0).tolist(), strict=True)),
        spread=dict(zip(QUANTITIES, found.std(0).tolist(), strict=True)),
    )


def write_look(run: RunFolder, store: FootageStore) -> None:
    """Keep the footage's look in the run folder.

    Raises:
        OutputError: it cannot be written.
    """
    atomic_write_text(run.path(REFERENCE), json.dumps(look_of(store).model_dump(), indent=1) + "\n")


def read_look(run: Path) -> Look | None:
    """The footage's look as a run folder keeps it; None when it was trained before there was one.

    Raises:
        RunError: it is damaged.
    """
    path = run / REFERENCE
    if not path.is_file():
        return None
    try:
        given: Any = json.loads(read_bounded(path, MAX_LOOK_BYTES))
        if not isinstance(given, Mapping):
            raise ValueError("not a table")
        look = from_mapping(Look, given, str(path))
        if set(look.mean) != set(QUANTITIES) or set(look.spread) != set(QUANTITIES):
            raise ValueError(f"it needs {', '.join(QUANTITIES)}")
    except (OSError, ValueError, RecursionError, AutoreelError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it, and drift is measured without it") from error
    return look


def drift_path(clip: Path) -> Path:
    """The file beside a clip that tells how it drifts: `clip.mp4` to `clip.drift.json`; so for a folder of pictures."""
    beside = clip.parent if clip.suffix.lower() == ".png" and clip.parent.name else clip
    return beside.with_name(f"{beside.stem if beside == clip else beside.name}.drift.json")


def write_drift(path: Path, drift: Drift, made: Mapping[str, Any]) -> Path:
    """Write a JSON file beside a clip: how it was made and how it drifts.

    Args:
        path: of the clip.
        drift: of it.
        made: how it was made, plain values.

    Returns:
        Its path, `drift_path`.

    Raises:
        OutputError: it cannot be written.
    """
    target = drift_path(path)
    atomic_write_text(target, json.dumps({"made": dict(made), **asdict(drift)}, indent=1) + "\n")
    return target
