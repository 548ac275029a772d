"""Where a shot's pictures come from: the model, the person's material, a still or a plain card.

    source frames  0   1   2   3   4   5         at the source's own rate
    film frames    0  1  2  3  4  5  6  7  8     at the film's; each shows the source frame of its time
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from autoreel.clip import Frames
from autoreel.errors import ConfigError, RunError
from autoreel.film.effects import ReverseEffect, SmoothEffect
from autoreel.film.layout import Placed
from autoreel.film.made import HELD_S, FilmRun, make, too_short, without
from autoreel.film.motion import along_motion
from autoreel.film.pace import Pace
from autoreel.film.storyboard import Canvas, Shot, is_generated, is_repainted
from autoreel.media.decode import decode, first_frame
from autoreel.media.limits import FILM
from autoreel.media.probe import MediaInfo, probe
from autoreel.media.yuv420 import Picture, Planar, as_rgb, from_rgb, plain, planes_of

MAX_REVERSED_BYTES = 1 << 30
MAX_DECODED_HZ = 1000  # the decoder gives no more pictures a second


def open_source(
    placed: Placed, canvas: Canvas, run: FilmRun | None, cached: Callable[[int, Callable[[], Iterator[Frames]]],
    Iterator[Frames]], enlarge: Callable[[Iterator[Frames]], Iterator[Frames]] = iter, planar: bool = False,
) -> Iterator[Picture]:  # fmt: skip
    """The pictures of a shot before its effects.

    Args:
        placed: the shot.
        canvas: what they are fitted to.
        run: for shots that need a model.
        cached: called with the number of source frames and what makes them; gives those frames, perhaps from before.
        enlarge: gives frames of the model larger, as many as it is given.
        planar: pictures in the layout of encoders, not RGB.

    Returns:
        Exactly `placed.num_frames` pictures of the canvas's size, at the film's rate.

    Raises:
        MediaError: the source cannot be read, or ends before the shot does.
    """
    shot, rate = placed.shot, canvas.rate
    if shot.verb == "card":
        size, color = (canvas.width, canvas.height), shot.color or canvas.background
        card = plain(size, color) if planar else Image.new("RGB", size, color)
        return itertools.repeat(card, placed.num_frames)
    fitter = Fitter(canvas, planar)
    if shot.verb == "still":
        still = fitter.fit(first_frame(Path(str(shot.source)), at_s=shot.in_s or 0.0, limits=FILM))
        return itertools.repeat(still, placed.num_frames)
    if shot.verb == "material":
        return _material(placed, canvas, fitter)
    if run is None:
        raise RunError(f"shot {placed.number}: verb '{shot.verb}' needs a trained run")
    pace, skip = Pace.of(placed, run.rate, rate), skipped(shot, run.rate)
    count = skip + pace.num_source
    frames = cached(count, lambda: make(placed, run, count))
    # What runs backwards is held as the model made it, and enlarged in the order it is seen in.
    shown = _turned(without(frames, skip), pace, placed.number)
    return _paced(enlarge(shown), pace, placed.number, run.rate, fitter.fit)


def skipped(shot: Shot, rate: Fraction) -> int:
    """Frames of the model that are made before a shot of new footage begins, and not shown."""
    return round(Fraction(str(shot.in_s)) * rate) if shot.verb == "generate" and shot.in_s is not None else 0


def _material(placed: Placed, canvas: Canvas, fitter: Fitter) -> Iterator[Picture]:
    """The person's own footage, decoded at the pace it is shown and near the size it is shown."""
    shot, source = placed.shot, Path(str(placed.shot.source))
    is_smooth = any(isinstance(effect, SmoothEffect) for effect in shot.effects)
    pace, rate = pace_of_material(placed, canvas, probe(source).rate if is_smooth else None)
    start_s = shot.in_s or 0.0
    span_s = float((pace.num_source + 1) / rate)
    end_s = min(shot.out_s or math.inf, start_s + span_s)
    size = (canvas.height, canvas.width)
    how: Literal["crop", "stretch"] = "crop"
    if canvas.fit == "letterbox":
        info = probe(source)
        size, how = fitter.scaled_size(info.height, info.width), "stretch"
    # What fills the canvas comes out of the decoder as it goes into the encoder.
    is_ready = fitter.is_planar and size == (canvas.height, canvas.width)
    chunks = decode(
        source, size=size, fit=how, rate=rate, start_s=start_s, end_s=end_s, planar=is_ready, limits=FILM
    )
    fit = Planar if is_ready else fitter.fit
    shown = _turned((c.frames for c in chunks), pace, placed.number)
    return _paced(shown, pace, placed.number, rate, fit, str(source))


def pace_of_material(placed: Placed, canvas: Canvas, own_rate: Fraction | None) -> tuple[Pace, Fraction]:
    """How a shot goes through the person's own footage, and at which rate that is decoded.

    Args:
        own_rate: pictures per second of the footage, as it says; only frames in between ask for it.
    """
    pace = Pace.of(placed, canvas.rate, canvas.rate)
    if pace.is_smooth:  # frames in between are made from the source's own, not from repeated ones
        rate = min(canvas.rate, own_rate or canvas.rate)
        return Pace.of(placed, rate, canvas.rate), rate
    if pace.speed is not None and canvas.rate / pace.speed <= MAX_DECODED_HZ:
        return replace(pace, warps=()), canvas.rate / pace.speed  # one speed throughout is left to the decoder
    return pace, canvas.rate


def bytes_reversed(placed: Placed, canvas: Canvas, run: FilmRun | None, info: MediaInfo | None, planar: bool) -> int:
    """What a shot that runs backwards holds in memory, as far as that is known; 0 for every other.

    Args:
        run: for shots that need a model.
        info: what its source is.
        planar: its effects take pictures in the layout of encoders.
    """
    shot, size = placed.shot, (canvas.height, canvas.width)
    if not any(isinstance(effect, ReverseEffect) for effect in shot.effects):
        return 0
    if shot.verb == "material" and info is not None:
        pace, _ = pace_of_material(placed, canvas, info.rate)
        decoded = size if canvas.fit == "crop" else Fitter(canvas).scaled_size(info.height, info.width)
        return pace.num_source * decoded[0] * decoded[1] * 3 // (2 if planar and decoded == size else 1)
    if run is not None and (is_generated(shot) or is_repainted(shot)):
        return Pace.of(placed, run.rate, canvas.rate).num_source * run.size[0] * run.size[1] * 3
    return 0


def too_long_backwards(number: int) -> str:
    """A shot that runs backwards is held whole, and cannot be."""
    return f"shot {number}: too long to run backwards; make it shorter"


def _turned(chunks: Iterator[Frames], pace: Pace, number: int) -> Iterator[Frames]:
    """The frames of a shot from the last to the first, where it runs backwards."""
    if not pace.is_reversed:
        yield from chunks
        return
    for frame in reversed(_gathered(_single(chunks), pace.num_source, number)):
        yield frame[None]


def _paced(
    chunks: Iterator[Frames], pace: Pace, number: int, source_rate: Fraction, fit: Callable[[Frames], Picture],
    source: str = "the model",
) -> Iterator[Picture]:  # fmt: skip
    places = [pace.place(frame) for frame in range(pace.num_frames)]
    held = _held(_single(chunks), pace.num_source, number, source_rate, source)
    if pace.is_smooth and any(place.denominator > 1 for place in places):
        yield from along_motion(map(as_rgb, map(fit, held)), places)
        return
    at, shown = -1, None
    for place in places:
        while at < math.floor(place):
            frame, at = next(held), at + 1
            if at == math.floor(place):
                shown = fit(frame)
        assert shown is not None
        yield shown


def _held(frames: Iterator[Frames], count: int, number: int, rate: Fraction, source: str) -> Iterator[Frames]:
    """`count` single frames, the last one held where they end a little early."""
    given, last = 0, None
    for last in itertools.islice(frames, count):
        given += 1
        yield last
    missing_s = float((count - given) / rate)
    if given < count and (last is None or missing_s > HELD_S):
        raise too_short(number, source, missing_s)
    for _ in range(count - given):
        assert last is not None
        yield last


def _single(chunks: Iterator[Frames]) -> Iterator[Frames]:
    for chunk in chunks:
        yield from chunk


def _gathered(frames: Iterator[Frames], count: int, number: int) -> list[Frames]:
    """All frames of a shot that runs backwards: the only shots that are held in memory whole."""
    gathered: list[Frames] = []
    for frame in frames:
        gathered.append(frame)
        if len(gathered) * frame.nbytes > MAX_REVERSED_BYTES:
            raise ConfigError([too_long_backwards(number)], "storyboard")
        if len(gathered) == count:
            break
    return gathered


class Fitter:
    """Brings frames of any size to the canvas: covering it, or within it on the background; planar where asked for."""

    def __init__(self, canvas: Canvas, planar: bool = False) -> None:
        self._canvas, self.is_planar = canvas, planar

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size gets, its aspect kept, before it is cropped or framed."""
        across, down = Fraction(self._canvas.width, width), Fraction(self._canvas.height, height)
        scale = max(across, down) if self._canvas.fit == "crop" else min(across, down)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def fit(self, frame: Frames) -> Picture:
        """uint8 (H, W, 3) to a picture of the canvas's size."""
        frame = self._shown_part(frame)
        if self.is_planar:
            return self._fit_planar(frame)
        canvas, picture = self._canvas, Image.fromarray(np.ascontiguousarray(frame))
        height, width = self.scaled_size(picture.height, picture.width)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        if picture.size == (canvas.width, canvas.height):
            return picture
        left, top = (canvas.width - width) // 2, (canvas.height - height) // 2
        result = Image.new("RGB", (canvas.width, canvas.height), canvas.background)
        result.paste(picture, (left, top))  # a part that lies outside is cut away
        return result

    def _shown_part(self, frame: Frames) -> Frames:
        """Of a picture that is cropped to less than half, the middle: a strip must not be enlarged to a mile first."""
        if self._canvas.fit != "crop":
            return frame
        height, width = frame.shape[:2]
        rows = -(-width * self._canvas.height // self._canvas.width) + 2
        columns = -(-height * self._canvas.width // self._canvas.height) + 2
        top = (height - rows) // 2 if height > 2 * rows else 0
        left = (width - columns) // 2 if width > 2 * columns else 0
        return frame[top : height - top, left : width - left]

    def _fit_planar(self, frame: Frames) -> Planar:
        canvas = self._canvas
        height, width = (max(2, 2 * round(side / 2)) for side in self.scaled_size(*frame.shape[:2]))
        picture = from_rgb(frame, (height, width))
        if picture.size == (canvas.width, canvas.height):
            return picture
        result = plain((canvas.width, canvas.height), canvas.background).data.copy()
        left, top = (canvas.width - width) // 4 * 2, (canvas.height - height) // 4 * 2
        for number, (source, target) in enumerate(zip(picture.planes(), planes_of(result), strict=True)):
            x, y = (left, top) if number == 0 else (left // 2, top // 2)
            cut = source[max(0, -y) : max(0, -y) + target.shape[0], max(0, -x) : max(0, -x) + target.shape[1]]
            target[max(0, y) : max(0, y) + cut.shape[0], max(0, x) : max(0, x) + cut.shape[1]] = cut
        return Planar(result)
