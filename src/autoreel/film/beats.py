"""The beats of a piece of music.

Onset strength from spectral flux, one tempo from its autocorrelation under a log-normal prior, then dynamic
programming over beat times: D. P. W. Ellis, "Beat Tracking by Dynamic Programming", J. New Music Research 36 (2007).
Each beat is then moved to the nearest sharp rise of energy. Music without a beat gets an even pace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Sound

Floats = NDArray[np.float64]

HOP_S = 0.01
WINDOW_S = 0.046
NUM_BANDS = 40
LOW_BAND_HZ = 200.0  # bass and kick, which mark the first beat of a bar
TEMPO_RANGE_BPM = (40.0, 240.0)
TEMPO_CENTRE_BPM = 120.0
TEMPO_SPREAD_OCTAVES = 0.9
FASTEST_HALVED_BPM, ALIKE_HALVES = 190.0, 0.6  # beats are taken as twice as fast up to here, when so alike
LOUDER, AS_SHARP = 2.0, 0.6  # in power, and of the rise: then the notes between the beats are the beats
MUCH_LOUDER, SLOWEST_BPM = 3.0, 58.0  # in power: then every other one is a note between beats of no slower a pace
OWN_SHARE = 0.22  # of the strongest autocorrelation that a beat's length must have itself
TIGHTNESS = 120.0  # alpha of Ellis eq. 2, for an envelope of unit deviation
MIN_PULSE = 0.15  # autocorrelation at the tempo's lag, of 1; noise stays below, a beat lies above
MIN_MUSIC_S = 3.0
EVEN_BEAT_S = 0.5
FLUX_LAG = 2
FLOOR = 1e-6  # of the loudest: what lies below is silence
FLUX_LEAD_S = 0.010  # the window reaches an onset this long before its centre does
BEATS_PER_BAR = 4


@dataclass(frozen=True)
class Beats:
    """What cuts can hold on to.

    Args:
        times_s: ascending, from the start of the sound.
        tempo_bpm: beats a minute.
        downbeat: index of the first beat that starts a bar of four.
        energy: (len(times_s),) in [0, 1], how loud the music is from each beat to the next, against its own range.
        pulse: how strongly the beat stands out, in [0, 1]; 0 for an even pace laid over music without beats.
    """

    times_s: Floats
    tempo_bpm: float
    downbeat: int
    energy: Floats
    pulse: float

    @property
    def bars_s(self) -> Floats:
        """The times at which bars start."""
        return self.times_s[self.downbeat :: BEATS_PER_BAR]


def track_beats(sound: Sound) -> Beats:
    """Find the beats of a sound.

    Args:
        sound: any length, channels and sample rate.

    Returns:
        Its beats; an even pace of two a second when it has none (silence, noise, rain, under 3 s).
    """
    samples = np.asarray(sound.samples, dtype=np.float32)
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    rate_hz = sound.sample_rate_hz
    onsets, bass = _onset_strength(mono, rate_hz)
    deviation = float(onsets.std()) if len(onsets) else 0.0
    if len(mono) / rate_hz < MIN_MUSIC_S or deviation < 1e-6:
        return even_beats(sound.duration_s, mono, rate_hz)
    period, pulse = _period(onsets)
    if pulse < MIN_PULSE:
        return even_beats(sound.duration_s, mono, rate_hz)
    frames = _on_the_accent(mono, rate_hz, onsets, _beat_frames(onsets / deviation, period), period)
    frames = _without_soft_halves(mono, rate_hz, frames, period)
    times = _to_rises(mono, rate_hz, frames * HOP_S + FLUX_LEAD_S)
    times = times[times < sound.duration_s]
    strengths = bass[np.clip(np.round(times / HOP_S).astype(int), 0, len(bass) - 1)]
    phase = int(np.argmax([strengths[i::BEATS_PER_BAR].mean() for i in range(min(BEATS_PER_BAR, len(strengths)))]))
    tempo = 60.0 / float(np.median(np.diff(times))) if len(times) > 1 else 60.0 / (period * HOP_S)
    return Beats(times, tempo, phase, _energy(mono, rate_hz, times), min(1.0, pulse))


def even_beats(duration_s: float, mono: NDArray[np.float32] | None = None, rate_hz: int = 1) -> Beats:
    """An even pace of two beats a second over `duration_s` seconds, for films without music or without a beat."""
    times = np.arange(0.0, max(duration_s, EVEN_BEAT_S / 2), EVEN_BEAT_S)
    energy = _energy(mono, rate_hz, times) if mono is not None and len(mono) else np.full(len(times), 0.5)
    return Beats(times, 60.0 / EVEN_BEAT_S, 0, energy, 0.0)


def _onset_strength(mono: NDArray[np.float32], rate_hz: int) -> tuple[Floats, Floats]:
    """Rise of log energy, in all bands and in the bass, one value each HOP_S; local mean removed.

    Against the loudest of three neighbouring bands two hops before (Boeck and Widmer, DAFx 2013), and squared: an
    onset in few bands then stands out of noise in all.
    """
    hop, width = rate_hz * HOP_S, int(2 ** np.round(np.log2(rate_hz * WINDOW_S)))
    count = int(len(mono) / hop)
    if count < 3:
        return np.zeros(count), np.zeros(count)
    window = np.hanning(width).astype(np.float32)
    bands = _bands(width, rate_hz)
    loudest = max(float(mono.max()) ** 2, float(mono.min()) ** 2, 1e-8)
    rises = np.zeros((count, NUM_BANDS))
    last: Floats | None = None
    for start in range(0, count, 1024):  # by chunks: an hour of music must not become one spectrogram
        at = np.round(np.arange(start, min(start + 1024, count)) * hop).astype(int)
        first, end = at[0] - width // 2, at[-1] + width
        part = mono[max(0, first) : end]
        part = np.pad(part, (max(0, -first), max(0, end - max(0, first) - len(part))))
        pieces = part[at[:, None] - at[0] + np.arange(width)] * window
        power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2 @ bands
        level = np.log10(FLOOR + power / (width * loudest))
        spread = np.maximum(level, np.maximum(np.roll(level, 1, axis=1), np.roll(level, -1, axis=1)))
        before = np.vstack([np.repeat(level[:1], FLUX_LAG, axis=0) if last is None else last, spread])
        rises[start : start + len(at)] = np.maximum(0.0, level - before[: len(at)]) ** 2
        last = before[-FLUX_LAG:]
    edges = _band_edges(rate_hz)
    low = rises[:, edges[1:-1] < LOW_BAND_HZ]
    return _without_trend(rises.mean(axis=1)), (low if low.size else rises).mean(axis=1)


def _band_edges(rate_hz: int) -> Floats:
    return np.geomspace(40.0, min(16_000.0, rate_hz * 0.48), NUM_BANDS + 2)


def _bands(width: int, rate_hz: int) -> Floats:
    """Triangles over frequency, evenly spaced on a logarithmic scale; (width // 2 + 1, NUM_BANDS)."""
    edges, frequency = _band_edges(rate_hz), np.fft.rfftfreq(width, 1.0 / rate_hz)[:, None]
    # Low triangles would fall between two bins: none is narrower than two.
    floor = 2.0 * rate_hz / width
    lower, middle, upper = edges[:-2], edges[1:-1], edges[2:]
    up = (frequency - np.minimum(lower, middle - floor)) / np.maximum(middle - lower, floor)
    down = (np.maximum(upper, middle + floor) - frequency) / np.maximum(upper - middle, floor)
    weights = np.clip(np.minimum(up, down), 0.0, None)
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-9))


def _without_trend(values: Floats) -> Floats:
    """Values less their mean over about a second, never below zero."""
    width = min(len(values), round(1.0 / HOP_S) | 1)
    mean = np.convolve(values, np.ones(width), "same") / np.convolve(np.ones(len(values)), np.ones(width), "same")
    return np.maximum(0.0, values - mean)


def _period(onsets: Floats) -> tuple[float, float]:
    """The beat's length in hops, and its autocorrelation (Ellis section 3.2, with the harmonic sum of eq. 7)."""
    centred = onsets - onsets.mean()
    # A little smoothing lets beats that are not exactly even meet themselves.
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 2.0) ** 2)
    smooth = np.convolve(centred, kernel / kernel.sum(), "same")
    size = 1 << int(np.ceil(np.log2(2 * len(smooth))))
    spectrum = np.fft.rfft(smooth, size)
    full = np.fft.irfft(np.abs(spectrum) ** 2)[: len(smooth)]
    overlap = np.arange(len(smooth), 0, -1) / len(smooth)
    correlation = full / max(full[0], 1e-12) / np.maximum(overlap, 0.25)
    shortest, longest = (round(60.0 / bpm / HOP_S) for bpm in reversed(TEMPO_RANGE_BPM))
    longest = min(longest, len(smooth) // 2 - 2)
    lags = np.arange(shortest, longest + 1)
    tempo = 60.0 / (np.arange(1, 2 * longest + 4) * HOP_S)
    prior = np.exp(-0.5 * (np.log2(tempo / TEMPO_CENTRE_BPM) / TEMPO_SPREAD_OCTAVES) ** 2)
    reach = min(len(correlation) - 1, 2 * longest + 3)
    weighted = np.zeros(2 * longest + 4)
    weighted[1 : reach + 1] = correlation[1 : reach + 1] * prior[:reach]
    score = (weighted[lags] + 0.5 * weighted[2 * lags] + 0.25 * weighted[2 * lags - 1] + 0.25 * weighted[2 * lags + 1])
    # A third of a swung beat has strong multiples, but is none itself.
    score[correlation[lags] < OWN_SHARE * correlation[lags].max()] = -np.inf
    best = int(lags[np.argmax(score)])
    # Fast beats lie far from the prior's centre, and in noise twice their length wins; but then they meet themselves
    # half way too, which the halves of slow beats hardly do.
    half = best // 2 + int(np.argmax(correlation[best // 2 : best // 2 + 2]))
    if half * HOP_S >= 60.0 / FASTEST_HALVED_BPM and correlation[half] >= ALIKE_HALVES * correlation[best]:
        best = half
    return _peak(correlation, best), float(correlation[best])


def _peak(values: Floats, at: int) -> float:
    """The top of the parabola through a value and its neighbours."""
    if not 0 < at < len(values) - 1:
        return float(at)
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return at + (float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0)


def _beat_frames(onsets: Floats, period: float) -> Floats:
    """Ellis eq. 5 to 7: C(t) = O(t) + max over tau of (C(tau) - alpha log^2((t - tau) / period))."""
    shortest, longest = max(1, round(period / 2)), round(period * 2)
    steps = np.arange(-longest, -shortest + 1)
    cost = -TIGHTNESS * np.log(-steps / period) ** 2
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)  # an onset counts for beats within about 30 ms
    local = np.convolve(onsets, kernel, "same")
    score, back = local.copy(), np.full(len(local), -1)
    for t in range(shortest, len(local)):
        first = max(0, t - longest)
        options = score[first : t - shortest + 1] + cost[first - t + longest :]
        best = int(np.argmax(options))
        if t >= longest or options[best] > 0:
            score[t] += options[best]
            back[t] = first + best
    tail = max(0, len(score) - longest)
    at = tail + int(np.argmax(score[tail:]))
    frames: list[int] = []
    while at >= 0:
        frames.append(at)
        at = int(back[at])
    return _filled(np.array(frames[::-1], dtype=np.float64), period, len(local))


def _on_the_accent(
    mono: NDArray[np.float32], rate_hz: int, onsets: Floats, frames: Floats, period: float
) -> Floats:
    """The same pace moved to where it sounds loudest, when the notes in between (swing) rise as sharply as the beats.

    Onsets are told by how much the level rises, whatever the level: a soft note between two beats counts as much.
    """
    power = _power(mono, rate_hz)

    def near(values: Floats, at: Floats) -> float:
        return float(_around(values, at).max(axis=1).mean())

    best, loudest = frames, near(power, frames) * LOUDER
    for share in (1 / 3, 1 / 2, 2 / 3):
        moved = frames + share * period
        if near(onsets, moved) >= AS_SHARP * near(onsets, frames) and near(power, moved) > loudest:
            best, loudest = moved, near(power, moved)
    if best is frames:
        return frames
    before = best[0] - period
    inside = best[best < len(onsets)]
    return np.concatenate([[before], inside]) if before >= 0 else inside


def _without_soft_halves(mono: NDArray[np.float32], rate_hz: int, frames: Floats, period: float) -> Floats:
    """Every other one, where those are much louder: the others are notes between the beats.

    Autocorrelation cannot tell: eighths meet themselves at half a beat as well as at a whole one. A bar of loud and
    less loud beats stays as it is: the softest of the loud must be 5 dB above the loudest of the soft, but for a fifth
    of each, and the pace that is left a usual one.
    """
    if len(frames) < 8 or 2 * period * HOP_S > 60.0 / SLOWEST_BPM:
        return frames
    energy = _around(_power(mono, rate_hz), frames).sum(axis=1)
    for loud, soft in ((0, 1), (1, 0)):
        if np.percentile(energy[loud::2], 20) > MUCH_LOUDER * np.percentile(energy[soft::2], 80):
            return frames[loud::2]
    return frames


def _power(mono: NDArray[np.float32], rate_hz: int) -> Floats:
    """Mean square of each hop; one lasts HOP_S, whatever the number of samples in it."""
    hop = rate_hz * HOP_S
    count = int(len(mono) / hop)
    starts = np.floor(np.arange(count) * hop).astype(int)
    whole = np.square(mono[: math.ceil(count * hop)], dtype=np.float64)  # what is left over is no hop
    return np.asarray(np.add.reduceat(whole, starts) / hop)


def _around(values: Floats, at: Floats) -> Floats:
    """The values within three hops of each place, (places, 7)."""
    return np.asarray(values[np.clip(np.round(at)[:, None].astype(int) + np.arange(-3, 4), 0, len(values) - 1)])


def _filled(frames: Floats, period: float, length: int) -> Floats:
    """The beats, carried on evenly to both ends: a quiet start or end has a pace too."""
    before = np.arange(frames[0] - period, 0, -period)[::-1]
    after = np.arange(frames[-1] + period, length, period)
    return np.concatenate([before, frames, after])


def _to_rises(mono: NDArray[np.float32], rate_hz: int, times: Floats) -> Floats:
    """Each time moved to the sharpest rise of energy within 40 ms, where one stands out."""
    hop = max(1, round(rate_hz * 0.002))
    count = len(mono) // hop
    if count < 50:
        return times
    edge = np.abs(np.diff(mono[: count * hop], prepend=mono[:1])).reshape(count, hop)
    level = np.log(1e-5 + edge.mean(axis=1))
    past = np.convolve(level, np.ones(10) / 10, "full")[: len(level)]
    rise = np.maximum(0.0, level[1:] - past[:-1])  # rise[k] is at the start of piece k + 1
    offsets = np.arange(-20, 21)
    weight = np.exp(-0.5 * (offsets / 10.0) ** 2)
    typical = float(rise.mean() + 2 * rise.std())
    moved = times.copy()
    for i, time in enumerate(times):
        at = round(time * rate_hz / hop) - 1 + offsets
        inside = (at >= 0) & (at < len(rise))
        if not inside.any():
            continue
        here = np.where(inside, rise[np.clip(at, 0, len(rise) - 1)], 0.0)
        best = int(np.argmax(here * weight))
        if here[best] > typical:
            moved[i] = (at[best] + 1) * hop / rate_hz
    return np.unique(np.maximum(moved, 0.0))


def _energy(mono: NDArray[np.float32], rate_hz: int, times: Floats) -> Floats:
    """Loudness from each time to the next, between the 5th and 95th hundredth of its own range."""
    edges = np.clip(np.round(np.append(times, len(mono) / rate_hz) * rate_hz).astype(int), 0, len(mono))
    power = [float(np.mean(mono[a:b].astype(np.float64) ** 2)) if b > a else 0.0
             for a, b in zip(edges[:-1], edges[1:], strict=True)]
    level = np.log10(1e-6 + np.array(power))
    low, high = np.percentile(level, [5, 95]) if len(level) else (0.0, 0.0)
    if high - low < 0.05:  # no louder and no quieter parts
        return np.full(len(times), 0.5)
    return np.asarray(np.clip((level - low) / (high - low), 0.0, 1.0))
