"""Flowing sound equals whole sound; loudness is met below the ceiling; nothing is opened before its time."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.media import loudness, tracks
from autoreel.media.sound import fit, loudness_lufs, true_peak_db

RATE_HZ = 16_000
Samples = NDArray[np.float32]


def _music(length_s: float, seed: int = 0) -> Samples:
    """Two chords a second with hard attacks over soft noise; stereo."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    tone = np.exp(-((at * 2) % 1) * 9) * np.sin(2 * np.pi * 330 * at) * 0.7
    return (np.stack([tone, tone * 0.6], axis=1) + rng.normal(0, 0.01, (len(at), 2))).astype(np.float32)


def _blocks(samples: Samples, size: int = 3001) -> Callable[[], Iterator[Samples]]:
    return lambda: (samples[i : i + size] for i in range(0, len(samples), size))


def _whole(blocks: Iterator[Samples]) -> Samples:
    return np.concatenate(list(blocks))


@pytest.mark.parametrize("given_s", [0.4, 2.3, 35.0])
@pytest.mark.parametrize("size", [700, 90_001])
def test_repeated_and_faded_as_the_whole_sound(given_s: float, size: int) -> None:
    samples, length = _music(given_s), round(7.3 * RATE_HZ)
    flowing = tracks.repeated(_blocks(samples, size), length, RATE_HZ)
    flowing = tracks.faded(flowing, length, round(0.5 * RATE_HZ), round(1.5 * RATE_HZ))
    whole = fit(Sound(samples, RATE_HZ), 7.3, 0.5, 1.5)
    np.testing.assert_allclose(_whole(flowing), whole.samples, atol=1e-6)


def test_a_short_sound_is_read_once() -> None:
    begun = []

    def start() -> Iterator[Samples]:
        begun.append(1)
        yield _music(0.5)

    assert len(_whole(tracks.repeated(start, 20 * RATE_HZ, RATE_HZ))) == 20 * RATE_HZ
    assert len(begun) == 1


def test_nothing_repeated_is_nothing() -> None:
    assert [len(block) for block in tracks.repeated(lambda: iter(()), 100, RATE_HZ)] in ([], [0])


def test_a_mix_opens_each_track_when_it_begins_and_closes_it_when_it_ends() -> None:
    events: list[str] = []

    def start(name: str, length: int) -> Callable[[], Iterator[Samples]]:
        def blocks() -> Iterator[Samples]:
            events.append(f"{name} opens")
            yield np.full((length, 2), 0.25, np.float32)

        return blocks

    curve = np.array([1.0, 1.0, 0.5, 0.5], np.float32)
    ducked = tracks.Track(start("music", 40_000), gain=2.0, curve=curve, step=10_000)
    late = tracks.Track(start("voice", 5_000), offset=30_000)
    mixed = _whole(tracks.mixed([late, ducked], 45_000))
    assert mixed.shape == (45_000, 2) and events == ["music opens", "voice opens"]
    assert mixed[5_000, 0] == pytest.approx(0.5) and mixed[15_000, 0] == pytest.approx(0.375, abs=1e-4)
    assert mixed[32_000, 0] == pytest.approx(0.5) and mixed[39_000, 0] == pytest.approx(0.25)
    assert not mixed[40_000:].any()


@pytest.mark.parametrize("size", [50, 4_000, 100_000])
def test_measured_as_the_whole_sound(size: int) -> None:
    sound = Sound(_music(6.03), RATE_HZ)
    found = loudness.measure(_blocks(sound.samples, size)(), RATE_HZ)
    assert found.loudness_lufs == pytest.approx(loudness_lufs(sound), abs=1e-6)
    assert 20 * np.log10(found.peaks.max()) == pytest.approx(true_peak_db(sound), abs=0.01)


@pytest.mark.parametrize("target_lufs", [-30.0, -18.0, -15.0])
def test_levelled_to_the_target_below_the_ceiling(target_lufs: float) -> None:
    sound = Sound(_music(8.0), RATE_HZ)
    plan = loudness.plan_levelling(loudness.measure(_blocks(sound.samples)(), RATE_HZ), target_lufs)
    out = Sound(_whole(loudness.levelled(_blocks(sound.samples)(), plan, RATE_HZ)), RATE_HZ)
    assert loudness_lufs(out) == pytest.approx(target_lufs, abs=0.1)
    assert true_peak_db(out) < -0.9


def test_what_cannot_be_so_loud_stays_quieter_instead_of_being_crushed() -> None:
    clicks = np.zeros((6 * RATE_HZ, 2), np.float32)
    clicks[:: RATE_HZ // 2] = 0.9
    found = loudness.measure(_blocks(clicks)(), RATE_HZ)
    plan = loudness.plan_levelling(found, -8.0)
    assert plan.curve.min() == pytest.approx(0.5, abs=0.01)
    assert plan.loudness_lufs < -20


def test_silence_and_a_moment_stay_as_they_are() -> None:
    for samples in (np.zeros((RATE_HZ, 2), np.float32), np.ones((10, 2), np.float32), np.zeros((0, 2), np.float32)):
        plan = loudness.plan_levelling(loudness.measure(_blocks(samples)(), RATE_HZ))
        assert plan.gain == 1.0
        np.testing.assert_array_equal(
            _whole(iter([np.zeros((0, 2), np.float32), *loudness.levelled(_blocks(samples)(), plan, RATE_HZ)])), samples
        )


@pytest.mark.parametrize("count", [0, 1, 2, loudness.PIECE - 1, loudness.PIECE, loudness.PIECE + 1, 9001])
def test_a_limiter_in_pieces_is_that_of_the_whole(count: int) -> None:
    peaks = np.random.default_rng(count).uniform(0.01, 1.0, count).astype(np.float32) ** 3
    needed = np.minimum(1.0, 0.4 / np.maximum(peaks.astype(np.float64) * 2.0, 1e-9))
    keep, held, whole = np.exp(-loudness.PEAK_S / loudness.RELEASE_S), 1.0, list[float]()
    for at in range(count):
        held = min(needed[max(0, at - 2) : at + 3].min(), 1.0 - (1.0 - held) * keep)
        whole.append(held)
    expected = [np.mean([whole[max(0, at - 1)], whole[at], whole[min(count - 1, at + 1)]]) for at in range(count)]
    pieces = list(loudness.limiter_curve(peaks, 2.0, 0.4))
    assert all(len(piece) == loudness.PIECE for piece in pieces[:-1])
    np.testing.assert_allclose(np.concatenate([np.zeros(0), *pieces]), expected, rtol=1e-12)


def test_a_long_film_takes_little_memory_to_level() -> None:
    rng = np.random.default_rng(0)
    peaks = rng.uniform(0.3, 0.9, 3 * 60 * 200).astype(np.float32)
    found = loudness.Measured(rng.uniform(10, 40, 3 * 60 * 10), peaks, RATE_HZ)
    tracemalloc.start()
    plan = loudness.plan_levelling(found, 0.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.curve.min() < 1.0 and most < plan.curve.nbytes + 1_000_000
