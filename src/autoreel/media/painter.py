"""Decoded frames become pictures as they are meant to be seen. Runs in the jailed child; see `reader.py`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import colour, reader, yuv420
from autoreel.media.decoded import Timed
from autoreel.media.geometry import Fit, Orientation, Plan, display_size, plan
from autoreel.media.limits import Limits

_ALPHA_FORMATS = ("rgba", "bgra", "argb", "abgr", "gbrap", "yuva", "ya8", "ya16", "pal8", "ayuv", "vuya")
_YUV_FORMATS = ("yuv", "nv", "p0", "p2", "p4", "uyvy", "yuyv", "yvyu", "ayuv", "vuy", "y2", "xv", "ya", "gray")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


class Deinterlacer:
    """Pictures woven of two fields are separated (BWDIF, one picture out per picture in); others pass untouched."""

    def __init__(self) -> None:
        self._graph: tuple[tuple[Any, ...], av.filter.Graph] | None = None
        self._waiting: list[Timed] = []

    def run(self, frames: Iterator[Timed]) -> Iterator[Timed]:
        """Frames in, frames out, in order and with their times."""
        for timed in frames:
            if not timed.frame.interlaced_frame:
                yield from self._flush()
                yield timed
                continue
            key = (timed.frame.width, timed.frame.height, timed.frame.format.name)
            if self._graph is None or self._graph[0] != key:
                yield from self._flush()
                graph = _graph(timed.frame, [("bwdif", "mode=send_frame:deint=interlaced")])
                self._graph = (key, graph)
            self._waiting.append(timed)
            self._graph[1].push(timed.frame)
            yield from self._pull()
        yield from self._flush()

    def _pull(self) -> Iterator[Timed]:
        assert self._graph is not None
        while self._waiting:
            try:
                frame = self._graph[1].vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            timed = self._waiting.pop(0)
            yield Timed(timed.time_s, timed.duration_s, frame)

    def _flush(self) -> Iterator[Timed]:
        if self._graph is not None:
            self._graph[1].vpush(None)
            yield from self._pull()
        self._graph, self._waiting = None, []


def _graph(frame: Any, filters: list[tuple[str, str]]) -> av.filter.Graph:
    """A chain of filters for frames like this one. Names and arguments are made here, never taken from a file."""
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))]
    nodes += [graph.add(name, arguments) for name, arguments in filters]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


class Painter:
    """Decoded frames to uint8 sRGB of one size; asked twice for the same frame it answers from memory.

    Args:
        aspect: a pixel's width over its height.
        size: (height, width) of the result; None for that of the first frame as shown.
        fit: how frames are fitted into it.
        limits: on pixels.
        is_planar: give them as `yuv420.py` lays them out; the size is even then.
    """

    def __init__(
        self, aspect: Fraction, size: tuple[int, int] | None, fit: Fit, limits: Limits, is_planar: bool = False
    ) -> None:
        self._aspect, self._fit, self._limits, self._is_planar = aspect, fit, limits, is_planar
        self._size = size
        self._graph: tuple[tuple[Any, ...], av.filter.Graph, Plan] | None = None
        self._is_direct = False
        self._last: tuple[Any, NDArray[np.uint8]] | None = None

    def paint(self, frame: Any) -> NDArray[np.uint8]:
        """uint8 (H, W, 3), or planar (H * 3 / 2, W, 1); the same array when the frame is the same."""
        if self._last is None or self._last[0] is not frame:
            self._last = (frame, self._painted(frame))
        return self._last[1]

    def _painted(self, frame: Any) -> NDArray[np.uint8]:
        wide = colour.needs_conversion(frame.color_trc, frame.color_primaries)
        turn = reader.orientation(frame)
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, wide, turn)
        if self._graph is None or self._graph[0] != key:
            if self._size is None:
                self._size = display_size(frame.height, frame.width, self._aspect, turn)
                if self._size[0] * self._size[1] > self._limits.max_pixels:
                    raise MediaError(f"its pictures are shown at {self._size[1]}x{self._size[0]}; that is too large")
            layout = plan(frame.height, frame.width, self._aspect, turn, self._size, self._fit)
            self._is_direct = self._is_planar and _stays_planar(frame, layout, wide)
            self._graph = (key, _graph(frame, _painting(frame, layout, wide, self._is_direct)), layout)
        _, graph, layout = self._graph
        graph.vpush(frame)
        scaled: Any = graph.vpull().to_ndarray()
        if self._is_direct:
            return np.asarray(scaled, np.uint8)[..., None]
        if wide:
            scaled = colour.to_standard(scaled, frame.color_trc, frame.color_primaries)
        finished = layout.finish(scaled)
        return yuv420.from_rgb(finished).data[..., None] if self._is_planar else finished


def _stays_planar(frame: Any, layout: Plan, wide: bool) -> bool:
    """Whether a frame needs no red, green and blue on its way: it lies as coded, fills the size and has no alpha."""
    is_yuv = frame.format.name.startswith(_YUV_FORMATS) and not frame.format.name.startswith(_ALPHA_FORMATS)
    return is_yuv and not wide and layout.orientation == Orientation() and layout.scaled == layout.canvas


def _painting(frame: Any, layout: Plan, wide: bool, is_direct: bool = False) -> list[tuple[str, str]]:
    top, left, height, width = layout.crop
    filters: list[tuple[str, str]] = []
    if (top, left, height, width) != (0, 0, frame.height, frame.width):
        filters.append(("crop", f"w={width}:h={height}:x={left}:y={top}:exact=1"))
    name: str = frame.format.name
    full = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
    matrix = colour.matrix_name(frame.colorspace, frame.height, frame.width)
    yuv = name.startswith(_YUV_FORMATS)
    source = f":in_color_matrix={matrix}:in_range={'full' if full else 'limited'}" if yuv else ""
    if name.startswith(_ALPHA_FORMATS):
        # Colour is weighted by its alpha before it is averaged: what is transparent is black, without fringes.
        filters.append(("scale", f"w=iw:h=ih{source}:out_range=full:flags=accurate_rnd"))
        filters += [("format", "pix_fmts=gbrap"), ("premultiply", "inplace=1")]
        source = ""
    if is_direct and name == "yuv420p" and matrix == "bt709" and not full and layout.scaled == (height, width):
        return filters or [("null", "")]  # it is what is asked for
    shrinks = layout.scaled[0] <= height and layout.scaled[1] <= width
    how = "area" if shrinks else "bicubic"
    filters.append((
        "scale",
        f"w={layout.scaled[1]}:h={layout.scaled[0]}{source}:"
        f"{'out_color_matrix=bt709:out_range=limited' if is_direct else 'out_range=full'}:"
        f"flags={how}+accurate_rnd+full_chroma_int+full_chroma_inp",
    ))  # fmt: skip
    if is_direct:
        return [*filters, ("format", "pix_fmts=yuv420p")]
    filters.append(("format", "pix_fmts=rgb48le" if wide else "pix_fmts=rgb24"))
    return filters
