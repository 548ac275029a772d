"""Sample footage: what is promised about its shape, sameness and labels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from autoreel.data.sample import KINDS, render_sample_footage, sample_frames, sample_music, write_sample_music
from autoreel.errors import UsageError
from autoreel.film.beats import track_beats
from autoreel.media.decode import read_clip, read_sound
from autoreel.media.probe import probe


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", range(6))
def test_every_variant_is_a_picture_that_moves(kind: str, variant: int) -> None:
    chunks = list(sample_frames(kind, variant, seed=0, num_frames=30, size=(48, 64)))
    frames = np.concatenate(chunks)
    assert [len(chunk) for chunk in chunks] == [25, 5]
    assert frames.shape == (30, 48, 64, 3) and frames.dtype == np.uint8
    assert frames.std() > 12, "something is to be seen"
    assert np.abs(frames[-1].astype(int) - frames[0]).mean() > 0.8, "and it moves"
    clipped = (frames == 255).all(-1).mean()
    assert clipped < 0.08, "little is burnt out"


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_every_frame(kind: str) -> None:
    def first(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.asarray(next(sample_frames(kind, 1, seed, num_frames=2, size=(32, 32))))

    np.testing.assert_array_equal(first(3), first(3))
    assert (first(3) != first(4)).any()


def test_footage_has_labels_and_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    paths = render_sample_footage(
        tmp_path, kinds=("ad", "travel"), clips_per_kind=1, clip_s=0.4, size=(64, 64), report=told.append
    )
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["ad/ad-0.mp4", "travel/travel-0.mp4"]
    assert len(told) == 2
    clip = read_clip(paths[0])
    assert clip.frames.shape == (10, 64, 64, 3) and clip.rate == Fraction(25)
    written = [path.stat().st_mtime_ns for path in paths]
    render_sample_footage(tmp_path, kinds=("ad", "travel"), clips_per_kind=1, clip_s=0.4, size=(64, 64))
    assert [path.stat().st_mtime_ns for path in paths] == written


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'horror'; there are ad, romance, travel"):
        render_sample_footage(tmp_path, kinds=("horror",))


def test_music_has_the_length_and_the_beat_it_says(tmp_path: Path) -> None:
    path = tmp_path / "music.wav"
    write_sample_music(path, length_s=30.0)
    assert probe(path).has_sound
    sound = read_sound(path)
    assert sound.samples.shape == (30 * 48000, 2)
    assert 0.5 < np.abs(sound.samples).max() < 0.75
    beats = track_beats(sample_music(30.0))
    ratio = beats.tempo_bpm / 96
    assert min(abs(ratio - r) for r in (0.5, 1.0, 2.0)) < 0.03
