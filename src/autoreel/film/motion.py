"""Frames in between two of a clip, along the way that its parts move: what the effect `smooth` shows.

    source frames    A               B               C       A ball that flies from A to B
    places           0      0.4     1      1.4      2        is seen on its way at 0.4, once; a blend would show it
    shown            A      A~B     B      B~C      C        twice, half as bright

FFmpeg's `minterpolate` searches the motion of blocks and blends what they bring from both sides (overlapped block
motion compensation). It knows a grid of times only; here its clock runs with the places that are wanted, so that
effects on time (speed, ramp, freeze) meet it at any of them. Green, blue and red are handed to it as if they were light
and colour differences: it treats all planes alike, and nothing is lost by a conversion.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from PIL import Image

_TICKS = 1 << 16  # of the filter's clock between two wanted places
_OPTIONS = "fps=1:mi_mode=mci:mc_mode=obmc:me_mode=bidir:me=epzs:vsbmc=0:scd=fdiff"
_PLANES = (1, 2, 0)  # green first: motion is searched in the first plane, and green is most of the light
_LEAST = 48  # pixels: smaller pictures are widened by their edges, blocks of motion must fit in
_AFTER = 3  # frames that the filter must have seen after the last one


def along_motion(pictures: Iterator[Image.Image], places: Sequence[Fraction]) -> Iterator[Image.Image]:
    """The pictures of a clip at any places between its frames.

    Args:
        pictures: RGB, of one size, as many as the places reach.
        places: in frames of the clip, never going back; the first is 0 or later.

    Yields:
        One picture for each place: the clip's own where a place falls on it, else one on the way between two. Where the
        two have nothing in common (a cut), the nearer one.
    """
    wanted = sorted(set(places))
    made = _made(pictures, wanted)
    shown: Image.Image | None = None
    before: Fraction | None = None
    for place in places:
        if place != before:
            shown, before = next(made), place
        assert shown is not None
        yield shown


def _made(pictures: Iterator[Image.Image], wanted: Sequence[Fraction]) -> Iterator[Image.Image]:
    """A picture for each place; these ascend, and the filter's clock is at i where `wanted[i]` is."""
    graph: _Graph | None = None
    own = dict[int, Image.Image]()  # pictures on which a place falls, by the place's number
    between = deque[tuple[int, Image.Image]]()
    told = 0
    last: Image.Image | None = None
    index = -1
    exact = {int(place): number for number, place in enumerate(wanted) if place.denominator == 1}
    for index, picture in enumerate(pictures):
        graph = graph or _Graph(picture)
        if index == 0:
            graph.push(picture, _clock(wanted, -1))
        graph.push(picture, _clock(wanted, index))
        if index in exact:
            own[exact[index]] = picture
        between.extend(graph.made())
        last = picture
        while told < len(wanted):
            found = _taken(told, wanted, own, between)
            if found is None:
                break
            yield found
            told += 1
    if graph is None or last is None:
        return
    for later in range(1, _AFTER + 1):
        graph.push(last, _clock(wanted, index + later))
    between.extend(graph.made())
    while told < len(wanted):
        yield _taken(told, wanted, own, between) or last
        told += 1


def _taken(
    number: int, wanted: Sequence[Fraction], own: dict[int, Image.Image], between: deque[tuple[int, Image.Image]]
) -> Image.Image | None:
    """The picture of a place, where it is there already."""
    while between and between[0][0] < number:
        between.popleft()
    if wanted[number].denominator == 1:
        return own.pop(number, None)
    return between[0][1] if between and between[0][0] == number else None


def _clock(wanted: Sequence[Fraction], index: int) -> int:
    """When the filter meets frame `index` of the clip: places that are wanted lie at whole numbers of `_TICKS`."""
    after = bisect.bisect_left(wanted, index)
    if after < len(wanted) and wanted[after] == index:
        return after * _TICKS
    if len(wanted) == 1:
        return round((index - wanted[0]) * _TICKS)
    number = min(max(after - 1, 0), len(wanted) - 2)  # before the first and after the last it goes on at their pace
    gone = (index - wanted[number]) / (wanted[number + 1] - wanted[number])
    return round((number + gone) * _TICKS)


class _Graph:
    """The filter, pictures in and out."""

    def __init__(self, picture: Image.Image) -> None:
        self._size = picture.size
        self._pad = [(0, max(0, _LEAST - side)) for side in (picture.height, picture.width)]
        graph = av.filter.Graph()
        self._in = graph.add_buffer(
            width=max(_LEAST, picture.width), height=max(_LEAST, picture.height), format=av.VideoFormat("yuv444p"),
            time_base=Fraction(1, _TICKS),
        )
        fill, self._out = graph.add("minterpolate", _OPTIONS), graph.add("buffersink")
        self._in.link_to(fill)
        fill.link_to(self._out)
        graph.configure()
        self._graph = graph  # kept alive with its ends

    def push(self, picture: Image.Image, pts: int) -> None:
        """Hand it the next picture."""
        colours = np.pad(np.asarray(picture), [*self._pad, (0, 0)], mode="edge")
        frame = av.VideoFrame(colours.shape[1], colours.shape[0], "yuv444p")
        for plane, colour in zip(frame.planes, _PLANES, strict=True):
            rows: Any = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            rows[: frame.height, : frame.width] = colours[..., colour]
        frame.pts, frame.time_base = pts, Fraction(1, _TICKS)
        self._in.push(frame)

    def made(self) -> Iterator[tuple[int, Image.Image]]:
        """Numbers of places, and their pictures, that have come out since."""
        while True:
            try:
                frame: Any = self._out.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            colours = np.empty((frame.height, frame.width, 3), np.uint8)
            for plane, colour in zip(frame.planes, _PLANES, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                colours[..., colour] = rows[: frame.height, : frame.width]
            yield round(frame.pts * frame.time_base), Image.fromarray(colours[: self._size[1], : self._size[0]])
