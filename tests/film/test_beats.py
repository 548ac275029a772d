"""Beats: within 35 ms on click tracks of known tempo, with noise and swing; an even pace where there are none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.film.beats import even_beats, track_beats

RATE_HZ = 22_050


def _clicks(
    tempo_bpm: float, noise: float = 0.0, swing: float = 0.0, first_s: float = 0.37, length_s: float = 20.0
) -> tuple[Sound, NDArray[np.float64]]:
    """A click on every beat, the first of four on another pitch; with swing a softer one before the next beat."""
    rng = np.random.default_rng(round(tempo_bpm))
    samples = rng.normal(0.0, noise, round(length_s * RATE_HZ)) if noise else np.zeros(round(length_s * RATE_HZ))
    beats = np.arange(first_s, length_s - 0.1, 60.0 / tempo_bpm)
    beats = beats + rng.normal(0.0, 0.004, len(beats))  # a player, not a machine
    at = np.arange(round(0.03 * RATE_HZ)) / RATE_HZ
    for number, beat in enumerate(beats):
        click = np.sin(2 * np.pi * (150.0 if number % 4 == 0 else 1000.0) * at) * np.exp(-at / 0.01)
        for time_s, loud in ((beat, 0.8), (beat + swing * 60.0 / tempo_bpm, 0.3)):
            start = round(time_s * RATE_HZ)
            if (loud == 0.8 or swing) and start + len(click) < len(samples):
                samples[start : start + len(click)] += loud * click
    return Sound(samples[:, None].astype(np.float32), RATE_HZ), beats


@pytest.mark.parametrize("tempo_bpm", [60, 68, 77, 86, 95, 104, 113, 122, 131, 140, 150, 160, 170, 180])
@pytest.mark.parametrize(("noise", "swing"), [(0.0, 0.0), (0.1, 0.0), (0.03, 2 / 3)])
def test_clicks_are_found(tempo_bpm: int, noise: float, swing: float) -> None:
    sound, truth = _clicks(tempo_bpm, noise, swing)
    found = track_beats(sound)
    off_s = np.abs(truth[:, None] - found.times_s).min(axis=1)
    assert np.mean(off_s < 0.035) >= 0.95
    if not swing:
        assert found.tempo_bpm == pytest.approx(tempo_bpm, rel=0.03)
        assert len(found.times_s) == pytest.approx(20.0 * tempo_bpm / 60, abs=2.5)
    assert found.pulse > 0.2
    assert np.all(np.diff(found.times_s) > 0)


@pytest.mark.parametrize("tempo_bpm", [62, 85, 100, 118])
def test_softer_notes_half_way_are_no_beats(tempo_bpm: int) -> None:
    sound, truth = _clicks(tempo_bpm, swing=0.5, length_s=30.0)
    found = track_beats(sound)
    assert found.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02)
    assert np.mean(np.abs(truth[:, None] - found.times_s).min(axis=1) < 0.035) >= 0.95


def test_beats_of_two_drums_are_all_beats() -> None:
    """A low and a high drum in turn, of about the same energy: every stroke is a beat, not every other."""
    rng = np.random.default_rng(0)
    samples, at = rng.normal(0.0, 0.002, 20 * RATE_HZ), np.arange(round(0.08 * RATE_HZ)) / RATE_HZ
    fall = np.exp(-at / 0.03)
    strokes = 0.8 * np.sin(2 * np.pi * 80 * at) * fall, 0.45 * rng.normal(0.0, 1.0, len(at)) * fall
    for number in range(38):
        start = round((0.2 + number * 0.5) * RATE_HZ)
        samples[start : start + len(at)] += strokes[number % 2]
    assert track_beats(Sound(samples[:, None].astype(np.float32), RATE_HZ)).tempo_bpm == pytest.approx(120, rel=0.02)


def test_bars_start_where_the_bass_is() -> None:
    sound, truth = _clicks(110)
    found = track_beats(sound)
    bars = found.bars_s[(found.bars_s > truth[0] - 0.1) & (found.bars_s < truth[-1])]
    off_s = np.abs(truth[::4][:, None] - bars).min(axis=1)
    assert np.median(off_s) < 0.035


def test_loud_parts_have_more_energy() -> None:
    sound, _ = _clicks(120)
    samples = sound.samples.copy()
    samples[: len(samples) // 2] *= 0.1
    found = track_beats(Sound(samples, RATE_HZ))
    early, late = found.energy[found.times_s < 9], found.energy[found.times_s > 11]
    assert late.mean() > early.mean() + 0.3
    assert found.energy.min() >= 0 and found.energy.max() <= 1


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(10 * RATE_HZ),
        np.random.default_rng(0).normal(0, 0.1, 20 * RATE_HZ),
        np.sin(np.arange(10 * RATE_HZ) * 0.1),
        np.ones(100),
        np.zeros(1),
        np.zeros(0),
    ],
    ids=["silence", "noise", "tone", "short", "one sample", "nothing"],
)
def test_without_beats_the_pace_is_even(samples: NDArray[np.float64]) -> None:
    found = track_beats(Sound(samples[:, None].astype(np.float32), RATE_HZ))
    assert found.pulse == 0
    assert found.tempo_bpm == 120
    assert found.times_s[0] == 0
    assert np.allclose(np.diff(found.times_s), 0.5)
    assert len(found.energy) == len(found.times_s)


def test_stereo_and_other_sample_rates() -> None:
    sound, truth = _clicks(100)
    twice = np.repeat(np.repeat(sound.samples, 2, axis=0), 2, axis=1)
    found = track_beats(Sound(twice, 2 * RATE_HZ))
    assert np.mean(np.abs(truth[:, None] - found.times_s).min(axis=1) < 0.035) >= 0.95


def test_even_beats_cover_the_film() -> None:
    beats = even_beats(3.2)
    assert beats.times_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert beats.pulse == 0
