"""The sound of one file, as samples at the rate that is asked for. Runs in the jailed child; see `reader.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import reader
from autoreel.media.limits import Limits

_HOLE_S = 0.1  # a gap in the times from here on is silence; smaller ones are rounding
_MAX_FAILED_SHARE = 0.01
_LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class SoundRequest:
    """Which sound is wanted.

    Args:
        sample_rate_hz: samples per second and channel.
        channels: 1 or 2.
        start_s, end_s: only what sounds in [start_s, end_s).
    """

    sample_rate_hz: int = 48000
    channels: int = 2
    start_s: float = 0.0
    end_s: float | None = None


def read_waves(descriptor: int, request: SoundRequest, limits: Limits) -> Iterator[NDArray[np.float32]]:
    """Decode the sound; what is missing between two time stamps is silence.

    Args:
        descriptor: open for reading.
        request: what is wanted.
        limits: what it may cost.

    Returns:
        float32 (n, channels) blocks that follow each other.

    Raises:
        MediaError: no sound, or damaged inside (an error at its very end is a tag that some files carry there).
    """
    rate = request.sample_rate_hz
    first = round(request.start_s * rate)
    last = None if request.end_s is None else round(request.end_s * rate)
    longest = round(limits.max_duration_s * rate)
    with reader.opened(descriptor, limits) as (container, _):
        stream = reader.sound_stream(container)
        if stream is None:
            raise MediaError("it has no sound")
        reader.restrict(stream, limits)
        position = 0  # of the next sample, from the file's start
        given = 0
        for start, block in _blocks(container, stream, request):
            if position == 0 or start - position > _HOLE_S * rate:
                silence = min(start, last if last is not None else start) - max(position, first)
                if silence > longest:
                    raise MediaError(f"its sound has a gap of {silence / rate:.6g} s")
                if silence > 0:
                    given += silence
                    yield np.zeros((silence, request.channels), np.float32)
                position = max(position, start)
            begin, end = max(0, first - position), len(block)
            if last is not None:
                end = min(end, last - position)
            position += len(block)
            if begin < end:
                given += end - begin
                if given > longest:
                    raise MediaError(f"its sound is longer than {limits.max_duration_s:g} s")
                yield block[begin:end]
            if last is not None and position >= last:
                return
        if given == 0 and request.start_s == 0:
            raise MediaError("no sound can be decoded")


def _blocks(container: Any, stream: Any, request: SoundRequest) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decoded and resampled blocks with the sample at which each begins."""
    rate = request.sample_rate_hz
    zero = reader.start_time(container)
    resampler = AudioResampler(format="flt", layout=_LAYOUTS[request.channels], rate=rate)
    num_good = num_failed = failed_since_good = 0
    reason = ""
    shift: Fraction | None = None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            num_failed += 1
            failed_since_good += 1
            reason = reason or reader.reason_of(error)
            if num_failed > max(3, 1000 * _MAX_FAILED_SHARE) and num_failed > _MAX_FAILED_SHARE * num_good:
                raise MediaError(f"its sound is damaged: {reason}") from error
            continue
        for frame in frames:
            if failed_since_good:
                raise MediaError(f"its sound is damaged after {num_good} of its blocks: {reason}")
            num_good += 1
            time_s = None if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
            if shift is None and time_s is not None:
                near = zero is not None and 0 <= time_s - zero <= 60
                shift = zero if near and zero is not None else time_s
            frame.pts = None  # the resampler's own clock would insert and drop samples
            for out in resampler.resample(frame):
                start = 0 if time_s is None or shift is None else round((time_s - shift) * rate)
                yield start, _samples(out, request.channels)
    if num_good:
        for out in resampler.resample(None):
            yield 0, _samples(out, request.channels)


def _samples(frame: Any, channels: int) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = frame.to_ndarray().reshape(-1, channels)
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
