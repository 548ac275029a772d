"""Sound as numbers: to another rate, to a length, mixed, measured as ears do, levelled. Pure functions on `Sound`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.errors import UsageError


def resample(sound: Sound, sample_rate_hz: int) -> Sound:
    """To another sample rate (FFmpeg's band-limited resampler).

    Args:
        sound: any rate, 1 or 2 channels.
        sample_rate_hz: of the result.

    Returns:
        The same length in time, to the nearest sample.
    """
    if sample_rate_hz == sound.sample_rate_hz:
        return sound
    import av
    from av.audio.resampler import AudioResampler

    channels = sound.samples.shape[1]
    if channels not in (1, 2):
        raise UsageError(f"sound has {channels} channels; 1 or 2 can be resampled")
    layout = "mono" if channels == 1 else "stereo"
    resampler = AudioResampler(format="flt", layout=layout, rate=sample_rate_hz)
    frame: Any = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound.samples, np.float32).reshape(1, -1), format="flt", layout=layout
    )
    frame.sample_rate = sound.sample_rate_hz
    resampled: list[Any] = [*resampler.resample(frame), *resampler.resample(None)]
    blocks = [np.zeros((0, channels), np.float32), *(f.to_ndarray().reshape(-1, channels) for f in resampled)]
    wanted = round(len(sound.samples) * Fraction(sample_rate_hz, sound.sample_rate_hz))
    return Sound(_cut(np.concatenate(blocks), wanted), sample_rate_hz)


def _cut(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Exactly `length` samples; silence is added where there are fewer."""
    if len(samples) >= length:
        return samples[:length]
    return np.pad(samples, ((0, length - len(samples)), (0, 0)))


def fit(sound: Sound, length_s: float | Fraction, fade_in_s: float = 0.0, fade_out_s: float = 0.0) -> Sound:
    """To an exact length: cut at the end, or repeated from its start with a crossfade; then faded in and out.

    Args:
        sound: the material; not empty.
        length_s: of the result; exact to the nearest sample.
        fade_in_s, fade_out_s: raised-cosine fades; shortened together when they do not fit.
    """
    rate = sound.sample_rate_hz
    length = round(Fraction(length_s) * rate)
    if length < 0 or fade_in_s < 0 or fade_out_s < 0:
        raise UsageError(f"length {float(length_s):g} s with fades of {fade_in_s:g} s and {fade_out_s:g} s cannot be")
    if len(sound.samples) == 0:
        raise UsageError("there is no sound to fit")
    samples = _repeated(sound.samples, length, min(round(0.5 * rate), len(sound.samples) // 4)).copy()
    rise, fall = round(fade_in_s * rate), round(fade_out_s * rate)
    if rise + fall > length:
        rise, fall = length * rise // (rise + fall), length * fall // (rise + fall)
    if rise:
        samples[:rise] *= _ramp(rise)[:, None]
    if fall:
        samples[length - fall :] *= _ramp(fall)[::-1, None]
    return Sound(samples, rate)


def _ramp(length: int) -> NDArray[np.float32]:
    """0 to 1 along half a cosine."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length), np.float32)


def _repeated(samples: NDArray[np.float32], length: int, overlap: int) -> NDArray[np.float32]:
    """At least the length by playing again and again; the seams are faded at equal power."""
    if len(samples) >= length:
        return samples[:length]
    rise = np.sqrt(_ramp(overlap))[:, None] if overlap else None
    result = np.zeros((length, samples.shape[1]), np.float32)
    begin, step = 0, len(samples) - overlap
    while begin < length:
        turn = samples.copy()
        if rise is not None and begin > 0:
            turn[:overlap] *= rise
        if rise is not None and begin + step < length:
            turn[-overlap:] *= rise[::-1]
        end = min(length, begin + len(turn))
        result[begin:end] += turn[: end - begin]
        begin += step
    return result


def mix(
    sounds: Sequence[Sound], gains_db: Sequence[float] | None = None, offsets_s: Sequence[float] | None = None
) -> Sound:
    """Sounds over each other, as long as the one that ends last. The sum is not limited; see `level`.

    Args:
        sounds: of one sample rate; mono ones are spread to two channels beside stereo ones.
        gains_db: of each; 0 leaves it as it is.
        offsets_s: when each begins.
    """
    if not sounds or len({s.sample_rate_hz for s in sounds}) != 1:
        raise UsageError("sounds of one sample rate can be mixed, at least one; resample them first")
    gains = [0.0] * len(sounds) if gains_db is None else list(gains_db)
    rate = sounds[0].sample_rate_hz
    starts = [0] * len(sounds) if offsets_s is None else [round(o * rate) for o in offsets_s]
    if len(gains) != len(sounds) or len(starts) != len(sounds) or min(starts) < 0:
        raise UsageError("each sound needs one gain and one offset of at least 0")
    channels = max(s.samples.shape[1] for s in sounds)
    length = max(start + len(s.samples) for s, start in zip(sounds, starts, strict=True))
    result = np.zeros((length, channels), np.float32)
    for sound, start, gain in zip(sounds, starts, gains, strict=True):
        result[start : start + len(sound.samples)] += sound.samples * np.float32(10 ** (gain / 20))
    return Sound(result, rate)


def loudness_lufs(sound: Sound) -> float:
    """Integrated loudness, ITU-R BS.1770-4 (annex 1): K-weighting, blocks of 400 ms, both gates.

    Args:
        sound: 1 or 2 channels, at least 0.4 s.

    Returns:
        LUFS; minus infinity for silence or less than one block.
    """
    step = round(0.1 * sound.sample_rate_hz)
    sums = k_weighted_energy(sound, step)
    if len(sums) < 4:
        return -math.inf
    power = np.convolve(sums, np.ones(4), "valid") / (4 * step)  # equation 2, left and right weigh 1
    with np.errstate(divide="ignore"):
        loudness = -0.691 + 10 * np.log10(np.maximum(power, 0))
    kept = power[loudness > -70]  # the absolute gate
    if len(kept) == 0:
        return -math.inf
    relative = -0.691 + 10 * math.log10(kept.mean()) - 10  # the relative gate
    kept = power[(loudness > -70) & (loudness > relative)]
    return -0.691 + 10 * math.log10(kept.mean()) if len(kept) else -math.inf


def k_weighted_energy(
    sound: Sound, step: int, first_sample: int = 0, last_sample: int | None = None
) -> NDArray[np.float64]:
    """Sum of squares over both channels of every whole step, after the two filters of BS.1770 annex 1.

    Args:
        sound: what is measured, and what surrounds it.
        step: samples.
        first_sample, last_sample: only the steps between these.

    Filtered by FFT in pieces. The filters forget within a quarter of a second (the lower one is a critically damped
    38 Hz), so half a second before each piece and a quarter after it make the pieces equal to the whole.
    """
    rate = sound.sample_rate_hz
    length = 1 << math.ceil(math.log2(2.5 * rate))
    before, after = rate // 2, rate // 4
    take = (length - before - after) // step * step
    response = _k_response(rate, length)
    stop = len(sound.samples) if last_sample is None else last_sample
    total = first_sample + (stop - first_sample) // step * step
    sums: list[NDArray[np.float64]] = []
    for begin in range(first_sample, total, take):
        end = min(total, begin + take)
        first = max(0, begin - before)
        spectrum = np.fft.rfft(sound.samples[first:end].astype(np.float64), length, axis=0)
        filtered = np.fft.irfft(spectrum * response[:, None], length, axis=0)[begin - first : end - first]
        sums.append((filtered**2).sum(axis=1).reshape(-1, step).sum(axis=1))
    return np.concatenate(sums) if sums else np.zeros(0)


@lru_cache(maxsize=4)
def _k_response(rate: int, length: int) -> NDArray[np.complex128]:
    z = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)  # one sample of delay at each frequency
    response = np.ones_like(z)
    for b, a in (_shelf(rate), _high_pass(rate)):
        response *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.asarray(response, np.complex128)


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    """The head as a shelf; the analogue values behind table 1, for any rate (as libebur128 derives them)."""
    frequency, gain_db, quality = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * frequency / rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / quality + k * k
    b = [(high + band * k / quality + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / quality + k * k) / a0]
    return b, [1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """The low end that is hardly heard; table 2."""
    frequency, quality = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * frequency / rate)
    a0 = 1 + k / quality + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0]


def true_peak_db(sound: Sound) -> float:
    """Largest value between the samples too, by four-fold oversampling (BS.1770-4 annex 2), in dB of full scale."""
    if len(sound.samples) == 0:
        return -math.inf
    rate, channels = sound.sample_rate_hz, sound.samples.shape[1]
    peak = float(np.abs(sound.samples).max())
    piece, overlap = 10 * rate, rate // 20  # the resampler sees far less than the overlap
    for begin in range(0, len(sound.samples) if channels <= 2 else 0, piece):
        first = max(0, begin - overlap)
        part = Sound(sound.samples[first : begin + piece + overlap], rate)
        over = resample(part, 4 * rate).samples[4 * (begin - first) : 4 * (begin - first + piece)]
        peak = max(peak, float(np.abs(over).max()))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def level(sound: Sound, target_lufs: float = -14.0, peak_db: float = -1.0) -> Sound:
    """To a loudness; where that would clip, only as loud as the peak ceiling allows. One gain for all: dynamics stay.

    Args:
        sound: silence stays silence.
        target_lufs: -14 is what streaming services play, -23 what broadcasters ask for (EBU R 128).
        peak_db: true-peak ceiling.
    """
    loudness = loudness_lufs(sound)
    if math.isinf(loudness):
        return sound
    gain_db = min(target_lufs - loudness, peak_db - true_peak_db(sound))
    return Sound(sound.samples * np.float32(10 ** (gain_db / 20)), sound.sample_rate_hz)
