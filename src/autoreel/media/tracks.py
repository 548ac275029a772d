"""Sound as it flows: blocks of samples that follow each other, cut, repeated, faded, mixed; none is ever held whole.

    file --blocks--> looped or placed --faded--> mixed --gain, limiter--> encoder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Blocks = Iterator[Samples]  # float32 (n, channels), n as it comes
Curve = NDArray[np.float32]

SEAM_S = 0.5  # of the crossfade where a sound is repeated
KEPT_S = 30.0  # a shorter sound that is repeated is kept in memory
BLOCK = 4800


@dataclass(frozen=True)
class SoundStream:
    """Sound that is made while it is written.

    Args:
        blocks: float32 (n, channels) in [-1, 1].
        sample_rate_hz: samples per second and channel.
        channels: 1 or 2.
    """

    blocks: Blocks
    sample_rate_hz: int
    channels: int = 2


class Reader:
    """Takes exactly so many samples at a time out of blocks of any size."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._waiting: list[Samples] = []
        self._num_waiting = 0
        self._has_ended = False

    def fill(self, count: int) -> int:
        """Ask for blocks until `count` samples are there or the end has come; how many are there."""
        while not self._has_ended and self._num_waiting < count:
            block = next(self._blocks, None)
            if block is None:
                self._has_ended = True
            elif len(block):
                self._waiting.append(block)
                self._num_waiting += len(block)
        return self._num_waiting

    def take(self, count: int) -> Samples:
        """The next `count` samples, fewer at their end; (0, 0) when there are none."""
        left = min(count, self.fill(count))
        self._num_waiting -= left
        taken: list[Samples] = []
        while left:
            block = self._waiting.pop(0)
            if len(block) > left:
                self._waiting.insert(0, block[left:])
            taken.append(block[:left])
            left -= len(taken[-1])
        if not taken:
            return np.zeros((0, 0), np.float32)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    @property
    def is_over(self) -> bool:
        """Whether all that there was has been taken, as far as is known."""
        return self._has_ended and not self._num_waiting

    def close(self) -> None:
        """Let go of what the blocks come from."""
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


def cut(blocks: Blocks, length: int) -> Blocks:
    """At most `length` samples."""
    left = length
    for block in blocks:
        if left <= 0:
            return
        yield block[:left]
        left -= min(left, len(block))


def repeated(start: Callable[[], Blocks], length: int, rate_hz: int) -> Blocks:
    """`length` samples of a sound, played again and again where it is shorter; the seams are faded at equal power.

    Args:
        start: begins the sound anew.
        length: of the result.
        rate_hz: samples per second.
    """
    seam, left = round(SEAM_S * rate_hz), length
    tail: Samples | None = None  # the end of the time before, which sounds on under the beginning of this one
    start = _kept_if_short(start, round(KEPT_S * rate_hz))
    while left > 0:
        reader = Reader(start() if tail is None else _over(start(), tail))
        given = 0
        # So much is held back that, when the end comes, what must sound on is still at hand.
        while (there := reader.fill(seam + BLOCK)) >= seam + BLOCK:
            yield reader.take(BLOCK)[:left]
            given, left = given + BLOCK, left - BLOCK
            if left <= 0:
                reader.close()
                return
        rest = reader.take(there)
        given += there
        over = min(seam, given // 4)
        if not given or there - over >= left or (tail is None and there >= left):
            yield rest[:left]
            return
        yield rest[: there - over]
        left -= there - over
        tail = rest[there - over :] * _power(over)[::-1] if over else None


def _kept_if_short(start: Callable[[], Blocks], most: int) -> Callable[[], Blocks]:
    """A sound of up to `most` samples is read once only, however often it is repeated."""
    kept: list[Samples] = []
    is_whole = False

    def begin() -> Blocks:
        nonlocal is_whole
        if is_whole:
            yield from kept
            return
        kept.clear()
        total = 0
        for block in start():
            total += len(block)
            if total <= most:
                kept.append(block)
            else:
                kept.clear()
            yield block
        is_whole = total <= most

    return begin


def _over(blocks: Blocks, tail: Samples) -> Blocks:
    """A sound that begins while another ends."""
    reader = Reader(blocks)
    begun = reader.take(len(tail))
    yield begun * _power(len(tail))[: len(begun)] + tail[: len(begun)]
    while len(block := reader.take(BLOCK)):
        yield block


def _power(length: int) -> Samples:
    """(length, 1): from nothing to all at equal power."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))
    return np.sqrt(ramp).astype(np.float32)[:, None]


def faded(blocks: Blocks, length: int, rise: int, fall: int) -> Blocks:
    """Raised-cosine fades at both ends of `length` samples; shortened together when they do not fit."""
    if rise + fall > length:
        rise, fall = length * rise // (rise + fall), length * fall // (rise + fall)
    place = 0
    for block in blocks:
        end = place + len(block)
        if place < rise or end > length - fall:
            at = np.arange(place, end)
            gain = np.ones(len(block), np.float32)
            if rise:
                gain *= _half_cosine((at + 0.5) / rise)
            if fall:
                gain *= _half_cosine((length - at - 0.5) / fall)
            block = block * gain[:, None]
        yield block
        place = end


def _half_cosine(share: NDArray[np.float64]) -> Curve:
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0.0, 1.0)), np.float32)


@dataclass(frozen=True)
class Track:
    """One sound of a mix.

    Args:
        start: begins it anew; blocks of the mix's channels and rate.
        offset: samples of silence before it.
        gain: it is multiplied by this.
        curve: further gains, one every `step` samples of the mix and a straight line between them; None for none.
        step: samples between two values of the curve.
    """

    start: Callable[[], Blocks]
    offset: int = 0
    gain: float = 1.0
    curve: Curve | None = None
    step: int = 0


def mixed(tracks: Sequence[Track], length: int, channels: int = 2) -> Blocks:
    """The sum of tracks, exactly `length` samples; each is opened when it begins and closed when it is over."""
    waiting = sorted(tracks, key=lambda track: track.offset)
    playing: list[tuple[Track, Reader]] = []
    try:
        for place in range(0, length, BLOCK):
            count = min(BLOCK, length - place)
            total = np.zeros((count, channels), np.float32)
            while waiting and waiting[0].offset < place + count:
                track = waiting.pop(0)
                playing.append((track, Reader(track.start())))
            for track, reader in playing:
                before = max(0, track.offset - place)
                samples = reader.take(count - before)
                if len(samples):
                    total[before : before + len(samples)] += samples * gains(track, place + before, len(samples))
            playing = [(track, reader) for track, reader in playing if not reader.is_over]
            yield total
    finally:
        for _, reader in playing:
            reader.close()


def gains(track: Track, place: int, count: int) -> np.float32 | Samples:
    """What `count` samples of a track are multiplied by, the first of them at a place of the mix."""
    if track.curve is None:
        return np.float32(track.gain)
    at = np.arange(place, place + count) / track.step
    return (track.gain * np.interp(at, np.arange(len(track.curve)), track.curve)).astype(np.float32)[:, None]
