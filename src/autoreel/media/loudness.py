"""Loudness of sound that flows by, and the gain that brings it to a target below a ceiling.

One pass measures (ITU-R BS.1770-4: K-weighted power every 100 ms, true peak every 5 ms), a second one plays with a gain
that is known then. What would rise above the ceiling is held down by a limiter that looks ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.media.sound import k_weighted_energy
from autoreel.media.tracks import Blocks, Reader

Floats = NDArray[np.float64]

STEP_S = 0.1
PEAK_S = 0.005
PIECE_S = 1.9
BEFORE_S = 0.5  # of context that makes a filtered piece equal to the filtered whole; the filters forget sooner
OVER = 4  # times oversampled, as BS.1770-4 annex 2 asks for
MAX_LIMITED_DB = 6.0  # the limiter takes away no more; what needs more stays quieter instead
RELEASE_S = 0.15
PER_STEP = round(STEP_S / PEAK_S)
PIECE = 200 * PER_STEP  # gains of the limiter that are reckoned at a time
REACH = 2  # peaks that the limiter looks ahead and back


@dataclass(frozen=True)
class Measured:
    """What one pass over a sound finds.

    Args:
        energy: (n,) sum of squares of both channels over each 100 ms after K-weighting.
        peaks: (m,) float32, largest absolute value of each 5 ms, between the samples too.
        rate_hz: samples per second.
    """

    energy: Floats
    peaks: NDArray[np.float32]
    rate_hz: int

    @property
    def loudness_lufs(self) -> float:
        """Integrated, both gates applied; minus infinity for silence or less than 0.4 s."""
        return gated_lufs(self.energy, round(STEP_S * self.rate_hz))


def measure(blocks: Blocks, rate_hz: int, channels: int = 2, *, with_peaks: bool = True) -> Measured:
    """Go through a sound once, in memory that does not grow with it but for a few numbers a second."""
    step, piece = round(STEP_S * rate_hz), round(PIECE_S / STEP_S) * round(STEP_S * rate_hz)
    before = round(BEFORE_S * rate_hz)
    reader = Reader(blocks)
    window = np.zeros((0, channels), np.float32)
    past = 0  # samples of the window that were measured already
    sums: list[Floats] = []
    peaks = _Peaks(rate_hz, channels) if with_peaks else None
    while True:
        fresh = reader.take(piece)
        new = len(fresh)
        if not new:
            break
        window = np.concatenate([window, fresh])
        if peaks is not None:
            peaks.add(fresh)
        sums.append(k_weighted_energy(Sound(window, rate_hz), step, past, past + new))
        drop = max(0, past + new - before)
        window, past = window[drop:], past + new - drop
    energy = np.concatenate(sums) if sums else np.zeros(0)
    return Measured(energy, peaks.finished() if peaks is not None else np.zeros(0, np.float32), rate_hz)


def gated_lufs(energy: Floats, step: int) -> float:
    """Integrated loudness from the K-weighted energy of steps of 100 ms (BS.1770-4, equations 2 to 7)."""
    if len(energy) < 4:
        return -math.inf
    power = np.convolve(energy, np.ones(4), "valid") / (4 * step)
    kept = power[power > 10 ** ((-70 + 0.691) / 10)]
    if not len(kept):
        return -math.inf
    kept = kept[kept > kept.mean() * 10 ** (-10 / 10)]
    return float(-0.691 + 10 * np.log10(kept.mean())) if len(kept) else -math.inf


class _Peaks:
    """The true peak of every 5 ms."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        layout = "mono" if channels == 1 else "stereo"
        self._rate_hz, self._channels, self._layout = rate_hz, channels, layout
        self._resampler = AudioResampler(format="flt", layout=layout, rate=OVER * rate_hz)
        self._step = round(PEAK_S * rate_hz) * OVER
        self._rest = np.zeros(0, np.float32)
        self._found: list[NDArray[np.float32]] = []
        self._num_samples = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        if len(samples):
            self._num_samples += len(samples)
            frame: Any = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples, np.float32).reshape(1, -1), format="flt", layout=self._layout
            )
            frame.sample_rate = self._rate_hz
            self._gather(self._resampler.resample(frame))

    def _gather(self, frames: list[Any]) -> None:
        loud = [np.abs(frame.to_ndarray().reshape(-1, self._channels)).max(axis=1) for frame in frames]
        values = np.concatenate([self._rest, *loud])
        whole = len(values) // self._step * self._step
        self._found.append(values[:whole].reshape(-1, self._step).max(axis=1))
        self._rest = values[whole:]

    def finished(self) -> NDArray[np.float32]:
        if self._num_samples:
            self._gather(list(self._resampler.resample(None)))
        last = self._rest.max(keepdims=True) if len(self._rest) else np.zeros(0, np.float32)
        return np.concatenate([*self._found, last]) if self._found else last


@dataclass(frozen=True)
class Levelling:
    """How a measured sound is brought to its loudness.

    Args:
        gain: for all of it.
        curve: (m,) further gains of the limiter, one for each 5 ms; (0,) where nothing is limited.
        loudness_lufs: what comes out.
    """

    gain: float
    curve: NDArray[np.float32]
    loudness_lufs: float


def plan_levelling(measured: Measured, target_lufs: float = -14.0, peak_db: float = -1.0) -> Levelling:
    """The gain and the limiter's work that give a loudness below a ceiling.

    Args:
        measured: the sound; silence stays silence.
        target_lufs: -14 is what streaming services play, -23 what broadcasters ask for (EBU R 128).
        peak_db: true-peak ceiling.
    """
    loudness, unlimited = measured.loudness_lufs, np.zeros(0, np.float32)
    if math.isinf(loudness):
        return Levelling(1.0, unlimited, loudness)
    ceiling = 10 ** (peak_db / 20)
    highest = float(measured.peaks.max(initial=1e-9))
    most_db = 20 * math.log10(ceiling / highest) + MAX_LIMITED_DB
    first_db = min(target_lufs - loudness, most_db)
    if first_db <= most_db - MAX_LIMITED_DB:
        return Levelling(10 ** (first_db / 20), unlimited, loudness + first_db)

    def missed(gain_db: float) -> tuple[float, float]:
        return abs(_limited_lufs(measured, gain_db, ceiling) - target_lufs), gain_db

    # The limiter takes away loudness, which more gain gives back. Not always the more the louder: where quiet blocks
    # come above the gate, the mean of all falls. So the gains are tried, coarsely and then finely.
    best = min(missed(g) for g in np.arange(first_db, most_db + 1e-9, 0.5).tolist())
    fine = np.arange(max(first_db, best[1] - 0.4), min(most_db, best[1] + 0.4) + 1e-9, 0.1).tolist()
    _, gain_db = min(best, *(missed(g) for g in fine))
    curve, first = np.empty(len(measured.peaks), np.float32), 0
    for piece in limiter_curve(measured.peaks, 10 ** (gain_db / 20), ceiling):
        curve[first : first + len(piece)] = piece
        first += len(piece)
    return Levelling(10 ** (gain_db / 20), curve, _limited_lufs(measured, gain_db, ceiling))


def limiter_curve(peaks: NDArray[np.float32], gain: float, ceiling: float) -> Iterator[Floats]:
    """Gains in (0, 1], one for each peak, that keep all peaks below the ceiling on a straight line between them.

    At once down and slowly up again, the least of five around each, and the mean of three of those: every value on the
    way between two of these gains is no higher than the peak there allows.

    Args:
        peaks: (n,) of the sound as it is.
        gain: that it is played with.
        ceiling: of what is heard.

    Returns:
        The n gains in pieces of PIECE, the last one shorter: those of an hour would take as much memory as a picture.
    """
    before, piece = np.zeros(0), np.zeros(0)
    for following in _held_down(peaks, gain, ceiling):
        if len(piece):
            yield _mean_of_three(before, piece, following[:1])
            before = piece[-1:]
        piece = following
    if len(piece):
        yield _mean_of_three(before, piece, piece[-1:])


def _mean_of_three(before: Floats, piece: Floats, after: Floats) -> Floats:
    around = np.concatenate([before if len(before) else piece[:1], piece, after])
    return np.convolve(around, np.ones(3) / 3, "valid")


def _held_down(peaks: NDArray[np.float32], gain: float, ceiling: float) -> Iterator[Floats]:
    """The least gain of five around each peak, at once down and slowly up again, in pieces."""
    keep, held = math.exp(-PEAK_S / RELEASE_S), 1.0
    for first in range(0, len(peaks), PIECE):
        last = min(len(peaks), first + PIECE)
        begin, end = max(0, first - REACH), min(len(peaks), last + REACH)
        needed = np.minimum(1.0, ceiling / np.maximum(peaks[begin:end].astype(np.float64) * gain, 1e-9))
        around = np.pad(needed, (REACH - first + begin, REACH - end + last), mode="edge")
        values = np.lib.stride_tricks.sliding_window_view(around, 2 * REACH + 1).min(axis=1).tolist()
        for i, value in enumerate(values):
            held = min(value, 1.0 - (1.0 - held) * keep)
            values[i] = held
        yield np.array(values)


def _limited_lufs(measured: Measured, gain_db: float, ceiling: float) -> float:
    """How loud a sound is that is played with a gain and a limiter; most of its energy lies where the peaks are."""
    left, first = np.zeros(len(measured.energy)), 0
    for curve in limiter_curve(measured.peaks, 10 ** (gain_db / 20), ceiling):
        power = measured.peaks[first : first + len(curve)].astype(np.float64) ** 2 + 1e-12
        shares = _of_steps(power * curve**2) / np.maximum(_of_steps(power), 1e-12)
        into = left[first // PER_STEP : first // PER_STEP + len(shares)]
        into[:] = shares[: len(into)]
        first += len(curve)
    return gated_lufs(measured.energy * left, round(STEP_S * measured.rate_hz)) + gain_db


def _of_steps(values: Floats) -> Floats:
    """The sums over each step of the loudness."""
    return np.asarray(np.pad(values, (0, -len(values) % PER_STEP)).reshape(-1, PER_STEP).sum(axis=1))


def levelled(blocks: Blocks, levelling: Levelling, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Sound with its gain and its limiter applied."""
    step, place = round(PEAK_S * rate_hz), 0
    for block in blocks:
        gain = np.full(len(block), levelling.gain, np.float32)
        if len(levelling.curve):
            first = max(0, place // step - 2)
            around = levelling.curve[first : (place + len(block)) // step + 2]
            centres = (np.arange(first, first + len(around)) + 0.5) * step
            gain *= np.interp(np.arange(place, place + len(block)), centres, around).astype(np.float32)
        yield block * gain[:, None]
        place += len(block)
