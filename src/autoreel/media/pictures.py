"""The pictures of one file, in order, as they are meant to be seen. Runs in the jailed child; see `reader.py`.

    packets --decode, check--> frames with times --deinterlace--> --resample in time--> --crop, scale, colour--> uint8
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import av.logging
import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import colour, reader
from autoreel.media.geometry import Fit, Plan, display_size, plan
from autoreel.media.limits import Limits
from autoreel.media.timing import Resampler

_SEEK_WORTH_S = 2  # nearer starts are reached by decoding
_MAX_LOST_SHARE = 0.02  # of the pictures that the packets promise
_ALPHA_FORMATS = ("rgba", "bgra", "argb", "abgr", "gbrap", "yuva", "ya8", "ya16", "pal8", "ayuv", "vuya", "rgba64", "bgra64")


@dataclass(frozen=True)
class PictureRequest:
    """Which pictures are wanted and how.

    Args:
        size: (height, width) or None for the size as shown.
        fit: how the picture is fitted into the size.
        rate: constant pictures per second, or None for the file's own times.
        start_s, end_s: only pictures in [start_s, end_s).
        first_only: end after one picture.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    rate: Fraction | None = None
    start_s: float = 0.0
    end_s: float | None = None
    first_only: bool = False


def read_pictures(
    descriptor: int, request: PictureRequest, limits: Limits
) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """Decode a file.

    Args:
        descriptor: open for reading.
        request: what is wanted.
        limits: what it may cost.

    Returns:
        (time in seconds from the file's start, uint8 (H, W, 3)) in order.

    Raises:
        MediaError: at the place where it is damaged, not allowed, or over a limit.
    """
    with reader.opened(descriptor, limits) as container:
        stream = reader.video_stream(container)
        reader.restrict(stream, limits)
        frames = _Deinterlacer().run(_span(_decoded(container, stream, request, limits), request))
        painter = _Painter(reader.pixel_aspect(stream), request, limits)
        count = 0
        for time_s, frame in _resampled(frames, request.rate, limits):
            count += 1
            if count > limits.max_frames:
                raise MediaError(f"more than {limits.max_frames} pictures at {float(time_s):.2f} s")
            yield time_s, painter.paint(frame)
            if request.first_only:
                return
        if count == 0:
            raise MediaError(
                "it has no picture" if request.start_s == 0 and request.end_s is None
                else f"it has no picture from {request.start_s} s to {'its end' if request.end_s is None else request.end_s}"
            )  # fmt: skip


@dataclass(frozen=True)
class _Timed:
    """A decoded frame, its time and how long it lasts, in seconds."""

    time_s: Fraction
    duration_s: Fraction
    frame: Any


def _decoded(container: Any, stream: Any, request: PictureRequest, limits: Limits) -> Iterator[_Timed]:
    """Every frame with a time that never goes back; damage is noticed here.

    A file can be damaged and still decode: the decoder paints over what it lacks. It says so in its log, in a mark on the
    frame, by fewer frames than packets, or by fewer packets than the index promised. None of these happens in whole files.
    """
    ear = _Ear(stream)
    clock = _Clock(container, stream, limits)
    sought = _seek(container, stream, request, clock)
    num_packets = num_frames = num_lost = 0
    started = False  # a stream cut out of a longer one starts with packets that lack their reference
    first_error = ""
    with av.logging.Capture() as log:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                num_packets += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if started and not isinstance(error, av.error.EOFError):
                    raise MediaError(f"damaged after {clock.now_s:.2f} s: {reader.reason_of(error)}") from error
                first_error = first_error or reader.reason_of(error)
                num_lost += 1
                frames = []
            else:
                started = started or packet.is_keyframe
            for frame in frames:
                num_frames += 1
                if num_frames > limits.max_decoded_frames:
                    raise MediaError(f"more than {limits.max_decoded_frames} pictures are coded in it")
                reader.check_pixels(frame, limits)
                timed = clock.time(frame)
                wanted = request.end_s is None or timed.time_s < Fraction(request.end_s)
                if frame.is_corrupt and wanted and not (sought and timed.time_s < Fraction(request.start_s)):
                    raise MediaError(f"damaged at {float(timed.time_s):.2f} s: the decoder marks the picture as corrupt")
                yield timed
                if not wanted:
                    return
            heard = ear.listen(log)
            if heard and started and not (sought and clock.now_s < request.start_s):
                raise MediaError(f"{heard} after {clock.now_s:.2f} s")
            first_error = first_error or heard
            if num_lost > 300:
                break
    if not num_frames:
        reason = f": {first_error}" if first_error else f" ({stream.frames} are promised)" if stream.frames else ""
        raise MediaError(f"no picture can be decoded{reason}")
    promised = stream.frames if not sought else 0
    if stream.frames and promised - num_packets > max(2, _MAX_LOST_SHARE * promised) and num_packets == num_frames:
        raise MediaError(f"cut off after {clock.now_s:.2f} s: {num_packets} of {promised} pictures are there")
    if not sought and num_packets - num_frames > max(2 + num_lost, _MAX_LOST_SHARE * num_packets):
        raise MediaError(f"damaged: {num_packets - num_frames} of {num_packets} pictures cannot be decoded")


class _Ear:
    """Listens to FFmpeg's log for what only the log says: errors that the decoder painted over, and a file cut short."""

    def __init__(self, stream: Any) -> None:
        self._names = {stream.codec_context.codec.name, stream.codec_context.codec.canonical_name}

    def listen(self, log: list[tuple[int, str, str]]) -> str:
        """The first message about damage since the last call, or nothing."""
        found = ""
        for level, name, message in log:
            if level > av.logging.ERROR or found:
                continue
            if "ended prematurely" in message or "partial file" in message:
                found = "the file is cut off"
            elif name in self._names:
                found = f"damaged ({reader.printable(message)})"
        log.clear()
        return found


class _Clock:
    """Times of frames in seconds from the file's start: missing ones are filled in, wrong ones noticed."""

    def __init__(self, container: Any, stream: Any, limits: Limits) -> None:
        self._limits = limits
        self._base = Fraction(stream.time_base) if stream.time_base else Fraction(1, 1000)
        rate = reader.nominal_rate(stream)
        self._step_s = 1 / rate if rate else Fraction(1, 25)
        self._start = reader.start_time(container)
        self._zero: Fraction | None = None
        self._first: Fraction | None = None
        self._last: Fraction | None = None

    @property
    def now_s(self) -> float:
        """Time of the newest frame."""
        return float(self._last) if self._last is not None else 0.0

    @property
    def zero_s(self) -> Fraction:
        """The stamp that counts as zero, as far as the container says it."""
        return self._start or Fraction(0)

    def time(self, frame: Any) -> _Timed:
        """Place one frame.

        Raises:
            MediaError: a jump back, a gap or a length beyond the limits.
        """
        base = Fraction(frame.time_base) if frame.time_base else self._base
        duration_s = frame.duration * base if frame.duration and 0 < frame.duration * base < 3600 else self._step_s
        if frame.pts is None:
            time_s = Fraction(0) if self._last is None else self._last + self._step_s
        else:
            stamp = frame.pts * base
            if self._zero is None:
                # A start that lies after the picture, or far before it, is not one.
                near = self._start is not None and 0 <= stamp - self._start <= 60
                self._zero = self._start if near and self._start is not None else stamp
            time_s = stamp - self._zero
        if self._last is not None:
            if time_s < self._last - 1:
                raise MediaError(f"its times jump back by {float(self._last - time_s):.2f} s at {self.now_s:.2f} s")
            if time_s - self._last > self._limits.max_gap_s:
                raise MediaError(f"its times have a gap of {float(time_s - self._last):.6g} s at {self.now_s:.2f} s")
            if self._last < time_s:
                self._step_s = time_s - self._last
            time_s = max(time_s, self._last)
        self._first = time_s if self._first is None else self._first
        if time_s - self._first > self._limits.max_duration_s:
            raise MediaError(f"it is longer than {self._limits.max_duration_s:g} s")
        self._last = time_s
        return _Timed(time_s, min(duration_s, Fraction(self._limits.max_gap_s)), frame)

    def begin_at(self, zero: Fraction) -> None:
        """Fix which stamp is zero, before a seek hides the first frame."""
        self._zero = zero


def _seek(container: Any, stream: Any, request: PictureRequest, clock: _Clock) -> bool:
    """Go to the key picture before the start, when that saves decoding; True when it did."""
    if request.start_s <= _SEEK_WORTH_S:
        return False
    target = clock.zero_s + Fraction(request.start_s) - 1
    try:
        container.seek(int(target * av.time_base), backward=True)
    except reader.DAMAGE:
        container.seek(0)  # a file without an index is read from its start
        return False
    clock.begin_at(clock.zero_s)
    return True


def _span(frames: Iterator[_Timed], request: PictureRequest) -> Iterator[_Timed]:
    """The frames on show in [start_s, end_s); the one that is on show at start_s begins there."""
    start, end = Fraction(request.start_s), None if request.end_s is None else Fraction(request.end_s)
    before: _Timed | None = None
    for timed in frames:
        if timed.time_s < start:
            before = timed
            continue
        if before is not None and timed.time_s > start and before.time_s + before.duration_s > start:
            yield _Timed(start, min(timed.time_s, before.time_s + before.duration_s) - start, before.frame)
        before = None
        if end is not None and timed.time_s >= end:
            return
        left = timed.duration_s if end is None else min(timed.duration_s, end - timed.time_s)
        yield _Timed(timed.time_s, left, timed.frame)
    if before is not None and before.time_s + before.duration_s > start:
        yield _Timed(start, before.time_s + before.duration_s - start, before.frame)


def _resampled(frames: Iterator[_Timed], rate: Fraction | None, limits: Limits) -> Iterator[tuple[Fraction, Any]]:
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


class _Deinterlacer:
    """Pictures woven of two fields are separated (BWDIF, one picture out per picture in); others pass untouched."""

    def __init__(self) -> None:
        self._graph: tuple[tuple[Any, ...], av.filter.Graph] | None = None
        self._waiting: list[_Timed] = []

    def run(self, frames: Iterator[_Timed]) -> Iterator[_Timed]:
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

    def _pull(self) -> Iterator[_Timed]:
        assert self._graph is not None
        while self._waiting:
            try:
                frame = self._graph[1].vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            timed = self._waiting.pop(0)
            yield _Timed(timed.time_s, timed.duration_s, frame)

    def _flush(self) -> Iterator[_Timed]:
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


class _Painter:
    """Decoded frames to uint8 sRGB of one size; asked twice for the same frame it answers from memory."""

    def __init__(self, aspect: Fraction, request: PictureRequest, limits: Limits) -> None:
        self._aspect, self._request, self._limits = aspect, request, limits
        self._size = request.size
        self._graph: tuple[tuple[Any, ...], av.filter.Graph, Plan] | None = None
        self._last: tuple[Any, NDArray[np.uint8]] | None = None

    def paint(self, frame: Any) -> NDArray[np.uint8]:
        """uint8 (H, W, 3); the same array when the frame is the same."""
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
            layout = plan(frame.height, frame.width, self._aspect, turn, self._size, self._request.fit)
            self._graph = (key, _graph(frame, _painting(frame, layout, wide)), layout)
        _, graph, layout = self._graph
        graph.vpush(frame)
        scaled: Any = graph.vpull().to_ndarray()
        if wide:
            scaled = colour.to_standard(scaled, frame.color_trc, frame.color_primaries)
        return layout.finish(scaled)


def _painting(frame: Any, layout: Plan, wide: bool) -> list[tuple[str, str]]:
    top, left, height, width = layout.crop
    filters: list[tuple[str, str]] = []
    if (top, left, height, width) != (0, 0, frame.height, frame.width):
        filters.append(("crop", f"w={width}:h={height}:x={left}:y={top}:exact=1"))
    name: str = frame.format.name
    full = frame.color_range == 2 or name.startswith("yuvj")
    matrix = colour.matrix_name(frame.colorspace, frame.height, frame.width)
    yuv = name.startswith(("yuv", "nv", "p0", "p2", "p4", "uyvy", "yuyv", "yvyu", "ayuv", "vuy", "y2", "xv", "ya", "gray"))
    source = f":in_color_matrix={matrix}:in_range={'full' if full else 'limited'}" if yuv else ""
    if name.startswith(_ALPHA_FORMATS):
        # Colour is weighted by its alpha before it is averaged: what is transparent is black, without fringes.
        filters.append(("scale", f"w=iw:h=ih{source}:out_range=full:flags=accurate_rnd"))
        filters += [("format", "pix_fmts=gbrap"), ("premultiply", "inplace=1")]
        source = ""
    shrinks = layout.scaled[0] <= height and layout.scaled[1] <= width
    how = "area" if shrinks else "bicubic"
    filters.append((
        "scale",
        f"w={layout.scaled[1]}:h={layout.scaled[0]}{source}:out_range=full:"
        f"flags={how}+accurate_rnd+full_chroma_int+full_chroma_inp",
    ))  # fmt: skip
    filters.append(("format", "pix_fmts=rgb48le" if wide else "pix_fmts=rgb24"))
    return filters
