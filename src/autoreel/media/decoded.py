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
from autoreel.media.witness import second_decoder

Log = list[tuple[int, str, str]]  # level, logger, message
_SEEK_WORTH_S = 2  # nearer starts are reached by decoding
_MAX_LOST_SHARE = 0.02  # of the pictures that the packets promise
_INDEXED = frozenset({"mp4", "matroska", "avi", "flv"})  # containers that say themselves which pictures are key
_MAX_UNUSABLE_PACKETS = 300  # before the first picture


@dataclass(frozen=True)
class Timed:
    """A decoded frame, its time and how long it lasts, in seconds."""

    time_s: Fraction
    duration_s: Fraction
    frame: Any


def decoded(
    container: Any, stream: Any, limits: Limits, opening_log: Log, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[Timed]:
    """Every frame with a time that never goes back; damage is noticed here.

    A file can be damaged and still decode: the decoder paints over what it lacks. It says so in its log, in a mark on
    a packet or a frame, by fewer frames than packets, or by fewer packets than the index promised. None of these
    happens in whole files. Some decoders see little; `witness.py` has second ones. HEVC has no check of its own: there,
    and rarely elsewhere, some flipped bits lead to another picture without any of these signs.

    Args:
        container, stream: open, with the decoder restricted.
        limits: on pixels, frames and times.
        opening_log: what was logged while opening; damage told there has no time, so it is raised at the end.
        start_s: frames before it are decoded only from the last key frame on, and their damage does not matter.
        end_s: the first frame at or after it is the last one given.

    Raises:
        MediaError: at the damaged place, or over a limit.
    """
    clock = _Clock(container, stream, limits)
    tally = _Tally(container, stream, opening_log, _seek(container, start_s, clock), limits)
    with av.logging.Capture() as log:
        for packet in container.demux(stream):
            for frame in tally.decode(packet, clock):
                if tally.num_frames > limits.max_decoded_frames:
                    raise MediaError(f"more than {limits.max_decoded_frames} pictures are coded in it")
                reader.check_pixels(frame, limits)
                timed = clock.time(frame)
                if end_s is not None and timed.time_s >= Fraction(end_s):
                    yield timed
                    return
                if frame.is_corrupt and not (tally.sought and timed.time_s < Fraction(start_s)):
                    raise MediaError(f"damaged: the decoder marks the picture at {clock.now_s:.2f} s as corrupt")
                yield timed
            said = tally.hear(log)
            if said and not (tally.sought and clock.now_s < start_s):
                raise MediaError(f"{said} after {clock.now_s:.2f} s")
            if tally.num_unusable > _MAX_UNUSABLE_PACKETS:
                break
    tally.check_end(clock)


class _Tally:
    """Counts what a file promised and what it gave, and listens to what FFmpeg only logs."""

    def __init__(self, container: Any, stream: Any, opening_log: Log, sought: bool, limits: Limits) -> None:
        self._container, self._stream = container, stream
        codec = stream.codec_context.codec
        self._loggers = {codec.name, codec.canonical_name, container.format.name}
        self.sought = sought
        self._knows_keys = bool(_INDEXED & set(container.format.name.split(",")))
        self.num_packets = self.num_hidden = self.num_frames = self.num_unusable = 0
        self._witness = second_decoder(stream, limits)
        self._started = False  # a stream cut out of a longer one starts with packets that lack their reference
        self._first_error = ""
        self._said_on_opening = _damage_in(opening_log, {container.format.name})

    def decode(self, packet: Any, clock: _Clock) -> Iterator[Any]:
        """The frames of one packet; errors before the first usable key frame are only counted."""
        if packet.size:
            self.num_packets += 1
            self.num_hidden += packet.is_discard  # an edit list leaves it out
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            reason = reader.reason_of(error)
            if self._started and not isinstance(error, av.error.EOFError):
                raise MediaError(f"damaged after {clock.now_s:.2f} s: {reason}") from error
            if packet.is_keyframe and self._knows_keys and not self.sought:
                # It has all it needs, and nothing that follows has.
                raise MediaError(f"no picture can be decoded from its start on: {reason}") from error
            self._first_error = self._first_error or reason
            self.num_unusable += 1
            self._ask_witness(packet, [], clock)
            return
        if self._started and packet.is_corrupt:
            raise MediaError(f"damaged after {clock.now_s:.2f} s: a packet is marked as corrupt")
        self._started = self._started or packet.is_keyframe
        self._ask_witness(packet, frames, clock)
        for frame in frames:
            self.num_frames += 1
            yield frame

    def _ask_witness(self, packet: Any, frames: list[Any], clock: _Clock) -> None:
        if self._witness is None:
            return
        try:
            self._witness.check(packet, frames, self._started)
        except MediaError as error:
            raise MediaError(f"damaged after {clock.now_s:.2f} s: {error}") from error
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            raise MediaError(f"damaged after {clock.now_s:.2f} s: {reader.reason_of(error)}") from error

    def hear(self, log: Log) -> str:
        """The first message about damage since the last call; nothing while the stream has not started."""
        said = _damage_in(log, self._loggers)
        log.clear()
        self._first_error = self._first_error or said
        return said if self._started else ""

    def check_end(self, clock: _Clock) -> None:
        """Raises MediaError when too little came."""
        promised = self._stream.frames
        if not self.num_frames:
            reason = self._first_error or (f"{promised} are promised" if promised else "there is none")
            raise MediaError(f"no picture can be decoded: {reason}")
        if self.sought:
            return
        if self._said_on_opening:
            raise MediaError(self._said_on_opening)
        if promised - self.num_packets > max(2, _MAX_LOST_SHARE * promised) and not self._all_is_there():
            raise MediaError(f"cut off after {clock.now_s:.2f} s: {self.num_packets} of {promised} pictures are there")
        lost = self.num_packets - self.num_hidden - self.num_frames
        if lost > max(2 + self.num_unusable, _MAX_LOST_SHARE * self.num_packets):
            raise MediaError(f"damaged: {lost} of {self.num_packets} pictures cannot be decoded")

    def _all_is_there(self) -> bool:
        """Whether every packet of the index lies inside the file and was read.

        The count of pictures in an MP4 has those too that an edit list cuts away, as trimming on a phone does; its
        index, as FFmpeg gives it, has not.
        """
        if "mp4" not in self._container.format.name.split(","):
            return False
        index = self._stream.index_entries
        size_bytes = self._container.size
        return self.num_packets >= len(index) > 0 and all(one.pos + one.size <= size_bytes for one in index)


def _damage_in(log: Log, loggers: set[str]) -> str:
    """The first error by one of the loggers, or nothing."""
    for level, name, message in log:
        if level <= av.logging.ERROR and ("ended prematurely" in message or "partial file" in message):
            return "the file is cut off"
        if level <= av.logging.ERROR and name in loggers:
            return f"damaged ({reader.printable(message)})"
    return ""


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
