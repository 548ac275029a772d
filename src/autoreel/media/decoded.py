"""Every frame of a file with its time, and the place where it is damaged. Runs in the jailed child; see `reader.py`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.logging

from autoreel.errors import MediaError
from autoreel.media import reader
from autoreel.media.limits import Limits

_SEEK_WORTH_S = 2  # nearer starts are reached by decoding
_MAX_LOST_SHARE = 0.02  # of the pictures that the packets promise
_MAX_UNUSABLE_PACKETS = 300  # before the first picture


@dataclass(frozen=True)
class Timed:
    """A decoded frame, its time and how long it lasts, in seconds."""

    time_s: Fraction
    duration_s: Fraction
    frame: Any


def decoded(
    container: Any, stream: Any, limits: Limits, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[Timed]:
    """Every frame with a time that never goes back; damage is noticed here.

    A file can be damaged and still decode: the decoder paints over what it lacks. It says so in its log, in a mark on
    the frame, by fewer frames than packets, or by fewer packets than the index promised. None of these happens in whole
    files.
    """
    ear = _Ear(stream)
    clock = _Clock(container, stream, limits)
    sought = _seek(container, start_s, clock)
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
                if error.errno == errno.ENOMEM:
                    raise
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
                wanted = end_s is None or timed.time_s < Fraction(end_s)
                if frame.is_corrupt and wanted and not (sought and timed.time_s < Fraction(start_s)):
                    raise MediaError(
                        f"damaged: the decoder marks the picture at {float(timed.time_s):.2f} s as corrupt"
                    )
                yield timed
                if not wanted:
                    return
            heard = ear.listen(log)
            if heard and started and not (sought and clock.now_s < start_s):
                raise MediaError(f"{heard} after {clock.now_s:.2f} s")
            first_error = first_error or heard
            if num_lost > _MAX_UNUSABLE_PACKETS:
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
    """Listens to FFmpeg's log for what only it says: errors that the decoder painted over, and a file cut short."""

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

    def time(self, frame: Any) -> Timed:
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
        return Timed(time_s, min(duration_s, Fraction(self._limits.max_gap_s)), frame)

    def begin_at(self, zero: Fraction) -> None:
        """Fix which stamp is zero, before a seek hides the first frame."""
        self._zero = zero


def _seek(container: Any, start_s: float, clock: _Clock) -> bool:
    """Go to the key picture before the start, when that saves decoding; True when it did."""
    if start_s <= _SEEK_WORTH_S:
        return False
    target = clock.zero_s + Fraction(start_s) - 1
    try:
        container.seek(int(target * av.time_base), backward=True)
    except reader.DAMAGE:
        container.seek(0)  # a file without an index is read from its start
        return False
    clock.begin_at(clock.zero_s)
    return True
