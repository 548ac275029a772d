"""Loudness against the cases of EBU Tech 3341, and sound that is exactly as long as it should be."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.errors import MediaError, UsageError
from autoreel.media.decode import read_sound
from autoreel.media.sound import fit, level, loudness_lufs, mix, resample, true_peak_db


def sine(db: float, length_s: float, hz: float = 1000, rate: int = 48000, channels: int = 2) -> NDArray[np.float32]:
    wave = 10 ** (db / 20) * np.sin(2 * np.pi * hz * np.arange(round(length_s * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


# EBU Tech 3341 (2023), table 1, cases 1 to 5: stereo sines of 1000 Hz as (dBFS, seconds), and what a meter must read.
CASES = [
    ([(-23, 20)], -23.0),
    ([(-33, 20)], -33.0),
    ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
    ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
    ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
]


@pytest.mark.parametrize(("parts", "expected"), CASES)
def test_loudness_reads_as_broadcasters_demand(parts: list[tuple[float, float]], expected: float) -> None:
    samples = np.concatenate([sine(db, length_s) for db, length_s in parts])
    assert loudness_lufs(Sound(samples, 48000)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 96000])
def test_loudness_does_not_depend_on_the_rate(rate: int) -> None:
    assert loudness_lufs(Sound(sine(-23, 5, rate=rate), rate)) == pytest.approx(-23.0, abs=0.1)


def test_one_channel_counts_half_of_two() -> None:
    # BS.1770: a 997 Hz sine at full scale in one channel reads -3.01.
    assert loudness_lufs(Sound(sine(0, 5, 997, channels=1), 48000)) == pytest.approx(-3.01, abs=0.05)


def test_silence_has_no_loudness() -> None:
    assert loudness_lufs(Sound(np.zeros((48000, 2), np.float32), 48000)) == -math.inf
    assert loudness_lufs(Sound(sine(-20, 0.1), 48000)) == -math.inf


def test_the_weighting_matches_the_standards_table() -> None:
    from autoreel.media.sound import _high_pass, _shelf

    b, a = _shelf(48000)
    assert b == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-8)
    assert a == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-8)
    b, a = _high_pass(48000)
    assert b == [1.0, -2.0, 1.0]
    assert a == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-8)


def test_levelling_reaches_the_target_or_stops_at_the_peak() -> None:
    quiet = Sound(sine(-40, 5), 48000)
    assert loudness_lufs(level(quiet, -16)) == pytest.approx(-16, abs=0.05)
    clicks = quiet.samples * 0.01
    clicks[::24000] = 0.5
    levelled = level(Sound(clicks, 48000), -14, peak_db=-1)
    assert true_peak_db(levelled) == pytest.approx(-1, abs=0.1)
    assert loudness_lufs(levelled) < -14
    silence = Sound(np.zeros((48000, 2), np.float32), 48000)
    assert level(silence) is silence


def test_true_peaks_lie_between_samples() -> None:
    # A quarter of the sample rate, an eighth of a turn late: samples at 0.707, the wave itself reaches 1.
    wave = np.sin(2 * np.pi * (np.arange(4800) / 4 + 1 / 8)).astype(np.float32)[:, None]
    sound = Sound(wave * np.hanning(4800).astype(np.float32)[:, None], 48000)
    assert np.abs(sound.samples).max() == pytest.approx(0.707, abs=0.01)
    assert true_peak_db(sound) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("rate", [16000, 44100, 48000, 96000])
def test_resampling_keeps_length_and_pitch(rate: int) -> None:
    sound = resample(Sound(sine(-6, 1.0, hz=1000, rate=32000), 32000), rate)
    assert sound.samples.shape == (rate, 2) and sound.sample_rate_hz == rate
    spectrum = np.abs(np.fft.rfft(sound.samples[:, 0]))
    assert int(spectrum.argmax()) == 1000
    middle = sound.samples[rate // 4 : 3 * rate // 4, 0]
    assert np.sqrt(2) * middle.std() == pytest.approx(10 ** (-6 / 20), rel=0.01)


def test_fit_cuts_and_fades() -> None:
    fitted = fit(Sound(np.ones((480000, 2), np.float32), 48000), 3.0, 1.0, 0.5)
    assert fitted.samples.shape == (144000, 2)
    assert fitted.samples[0, 0] < 1e-3 and fitted.samples[-1, 0] < 1e-3
    assert fitted.samples[24000, 0] == pytest.approx(0.5, abs=1e-3)
    assert (fitted.samples[48000:120000] == 1).all()
    assert (np.diff(fitted.samples[:48000, 0]) >= 0).all()


def test_fit_repeats_without_a_hole() -> None:
    short = Sound(sine(-6, 1.0, hz=440), 48000)
    fitted = fit(short, 10.0)
    assert fitted.samples.shape == (480000, 2)
    loud = [float(np.sqrt(np.mean(s**2))) for s in np.array_split(fitted.samples, 200)]
    assert min(loud) > 0.5 * max(loud)
    assert np.abs(np.diff(fitted.samples[:, 0])).max() < 0.06  # no click


def test_fades_that_do_not_fit_are_shortened_together() -> None:
    fitted = fit(Sound(np.ones((480000, 1), np.float32), 48000), 1.0, 3.0, 1.0)
    peak = int(fitted.samples[:, 0].argmax())
    assert peak == pytest.approx(36000, abs=10)
    assert fit(Sound(np.ones((10, 1), np.float32), 48000), 0).samples.shape == (0, 1)


def test_fit_leaves_its_material_alone() -> None:
    samples = np.ones((48000, 2), np.float32)
    fit(Sound(samples, 48000), 1.0, 0.5, 0.5)
    assert (samples == 1).all()


def test_mixing() -> None:
    one, two = Sound(np.full((100, 1), 0.5, np.float32), 1000), Sound(np.full((50, 2), 0.25, np.float32), 1000)
    mixed = mix([one, two], gains_db=[0, 20 * math.log10(2)], offsets_s=[0, 0.08])
    assert mixed.samples.shape == (130, 2)
    assert mixed.samples[0] == pytest.approx([0.5, 0.5])
    assert mixed.samples[90] == pytest.approx([1.0, 1.0])
    assert mixed.samples[120] == pytest.approx([0.5, 0.5])
    with pytest.raises(UsageError):
        mix([one, Sound(two.samples, 2000)])
    with pytest.raises(UsageError):
        mix([])


def test_reading_a_span_of_sound(audio: Path) -> None:
    whole = read_sound(audio / "guitar.mp3", 16000, 1)
    part = read_sound(audio / "guitar.mp3", 16000, 1, start_s=5.0, end_s=6.5)
    assert part.samples.shape == (24000, 1)
    assert np.abs(whole.samples[80000:104000] - part.samples).max() < 1e-4
    assert whole.duration_s > 20


def test_many_channels_are_mixed_down(audio: Path) -> None:
    sound = read_sound(audio / "bunny.surround.audio.flac", end_s=0.5)
    assert sound.samples.shape == (24000, 2) and sound.sample_rate_hz == 48000


def test_every_piece_of_music_is_read(audio: Path) -> None:
    for path in sorted(p for p in audio.iterdir() if p.suffix in (".mp3", ".wav", ".flac")):
        sound = read_sound(path, 16000, 2, end_s=20.0)
        assert sound.samples.std() > 1e-3, path
        assert np.abs(sound.samples).max() <= 1.5


def test_sound_starts_where_the_file_says(hostile: Path) -> None:
    sound = read_sound(hostile / "edit_list_positive_shift.mp4", 16000, 1)
    assert sound.duration_s == pytest.approx(10.0, abs=0.1)


def test_damaged_and_absent_sound(hostile: Path) -> None:
    with pytest.raises(MediaError, match="its sound is damaged"):
        read_sound(hostile / "derived" / "bitflips_mdat.mp4")
    with pytest.raises(MediaError, match="it has no sound"):
        read_sound(hostile / "video_180.mov")
    # An error after the last block is a tag, not damage.
    assert read_sound(hostile / "bear-id3.mp3").duration_s == pytest.approx(2.7, abs=0.2)
