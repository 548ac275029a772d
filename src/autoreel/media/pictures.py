"""The pictures of one file, in order, as they are meant to be seen. Runs in the jailed child; see `reader.py`.

packets --decode, check--> frames with times --deinterlace--> --resample in time--> --crop, scale, colour--> uint8
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import reader
from autoreel.media.decoded import Timed, decoded
from autoreel.media.geometry import Fit
from autoreel.media.limits import Limits
from autoreel.media.painter import Deinterlacer, Painter
from autoreel.media.timing import Resampler


@dataclass(frozen=True)
class PictureRequest:
    """Which pictures are wanted and how.

    Args:
        size: (height, width) or None for the size as shown.
        fit: how the picture is fitted into the size.
        rate: constant pictures per second, or None for the file's own times.
        start_s, end_s: only pictures in [start_s, end_s).
        first_only: end after one picture.
        planar: uint8 (H * 3 / 2, W, 1) as `yuv420.py` lays it out, instead of (H, W, 3).
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    rate: Fraction | None = None
    start_s: float = 0.0
    end_s: float | None = None
    first_only: bool = False
    planar: bool = False


def read_pictures(
    descriptor: int, request: PictureRequest, limits: Limits
) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """Decode a file.

    Args:
        descriptor: open for reading.
        request: what is wanted.
        limits: what it may cost.

    Returns:
        (time in seconds from the file's start, uint8 (H, W, 3), or as the request says) in order.

    Raises:
        MediaError: at the place where it is damaged, not allowed, or over a limit.
    """
    with reader.opened(descriptor, limits) as (container, log):
        stream = reader.video_stream(container)
        reader.restrict(stream, limits)
        timed = decoded(container, stream, limits, log, request.start_s, request.end_s)
        frames = Deinterlacer().run(_span(timed, request))
        painter = Painter(reader.pixel_aspect(stream), request.size, request.fit, limits, request.planar)
        count = 0
        for time_s, frame in _resampled(frames, request.rate, limits):
            count += 1
            if count > limits.max_frames:
                raise MediaError(f"more than {limits.max_frames} pictures at {float(time_s):.2f} s")
            yield time_s, painter.paint(frame)
            if request.first_only:
                return
        if count == 0:
            until = "its end" if request.end_s is None else f"{request.end_s:g} s"
            raise MediaError(f"it has no picture from {request.start_s:g} s to {until}")


def _span(frames: Iterator[Timed], request: PictureRequest) -> Iterator[Timed]:
    """The frames on show in [start_s, end_s), each until the next one; the one on show at start_s begins there."""
    start, end = Fraction(request.start_s), None if request.end_s is None else Fraction(request.end_s)

    def shown(timed: Timed, until: Fraction) -> Iterator[Timed]:
        if timed.time_s >= start or until > start:
            begin = max(timed.time_s, start)
            yield Timed(begin, (until if end is None else min(until, end)) - begin, timed.frame)

    held: Timed | None = None
    for timed in frames:
        if held is not None:
            yield from shown(held, timed.time_s)
        held = timed
        if end is not None and timed.time_s >= end:
            return
    if held is not None:
        yield from shown(held, held.time_s + held.duration_s)


def _resampled(frames: Iterator[Timed], rate: Fraction | None, limits: Limits) -> Iterator[tuple[Fraction, Any]]:
    if rate is None:
        for timed in frames:
            yield timed.time_s, timed.frame
        return
    resampler: Resampler[Any] = Resampler(rate)
    duration_s = 1 / rate
    for timed in frames:
        yield from resampler.push(timed.time_s, timed.frame)
        duration_s = timed.duration_s
    yield from resampler.finish(duration_s)
