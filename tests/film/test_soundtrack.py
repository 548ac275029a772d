"""What is heard: music under voices, clips with their own sound, all of it as loud as asked and exactly as long."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.errors import ConfigError, MediaError
from autoreel.film.layout import lay_out
from autoreel.film.preflight import check_sources
from autoreel.film.renderer import render
from autoreel.film.soundtrack import soundtrack
from autoreel.film.storyboard import Storyboard
from autoreel.media.encode import VideoWriter
from autoreel.media.sound import loudness_lufs

RATE_HZ = 48_000


def _tone(path: Path, length_s: float, hertz: float, volume: float = 0.2, pulse_s: float = 0.0) -> str:
    at = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    tone = volume * np.sin(2 * np.pi * hertz * at) * (1.0 if not pulse_s else (at % (2 * pulse_s) < pulse_s))
    sound = Sound(np.stack([tone, tone], axis=1).astype(np.float32), RATE_HZ)
    with VideoWriter(path, (32, 32), Fraction(10), sound=sound) as writer:
        writer.write(np.zeros((round(length_s * 10), 32, 32, 3), np.uint8))
    return str(path)


def _heard(board: Storyboard, first: int = 0, last: int | None = None) -> Sound:
    stream = soundtrack(board, lay_out(board), first=first, last=last)
    assert stream is not None
    return Sound(np.concatenate(list(stream.blocks)), stream.sample_rate_hz)


def _power(sound: Sound, hertz: float, start_s: float, end_s: float) -> float:
    part = sound.samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ), 0].astype(np.float64)
    at = np.arange(len(part)) / RATE_HZ
    return float(20 * np.log10(1e-9 + np.abs(np.mean(part * np.exp(-2j * np.pi * hertz * at))) * 2))


def _board(shots: list[dict[str, Any]], **more: Any) -> Storyboard:
    return Storyboard.model_validate({"canvas": {"width": 32, "height": 32, "rate": 25}, "shots": shots, **more})


def test_music_goes_down_under_a_voice_and_comes_back(tmp_path: Path) -> None:
    music, voice = _tone(tmp_path / "m.mkv", 10.0, 300), _tone(tmp_path / "v.mkv", 2.0, 1500)
    board = _board([{"verb": "card", "length_s": 9.0}], music={"file": music, "fade_out_s": 0},
                   voices=[{"file": voice, "start_s": 4.0}], mix={"duck_db": 12, "duck_fade_s": 0.5, 
                        "loudness_lufs": -25})  # fmt: skip
    heard = _heard(board)
    assert len(heard.samples) == 9 * RATE_HZ
    alone, under, after = (_power(heard, 300, a, b) for a, b in ((0.5, 2.5), (4.5, 5.5), (7.5, 8.5)))
    assert alone - under == pytest.approx(12.0, abs=0.3) and after == pytest.approx(alone, abs=0.3)
    assert _power(heard, 1500, 4.5, 5.5) > under + 8
    assert _power(heard, 1500, 2.0, 3.8) < -60 and _power(heard, 1500, 6.3, 8.0) < -60
    assert loudness_lufs(heard) == pytest.approx(-25.0, abs=0.2)


def test_without_ducking_music_stays(tmp_path: Path) -> None:
    music, voice = _tone(tmp_path / "m.mkv", 10.0, 300), _tone(tmp_path / "v.mkv", 1.0, 1500)
    board = _board([{"verb": "card", "length_s": 5.0}], music={"file": music, "fade_out_s": 0},
                   voices=[{"file": voice, "start_s": 2.0, "volume_db": -20}], mix={"duck_db": 0, 
                        "loudness_lufs": -25})  # fmt: skip
    heard = _heard(board)
    assert _power(heard, 300, 2.2, 2.8) == pytest.approx(_power(heard, 300, 0.5, 1.5), abs=0.3)
    assert _power(heard, 300, 2.2, 2.8) - _power(heard, 1500, 2.2, 2.8) == pytest.approx(20, abs=3)


def test_a_clip_is_heard_under_its_own_shot_only(tmp_path: Path) -> None:
    clip = _tone(tmp_path / "c.mkv", 4.0, 700)
    shots = [{"verb": "card", "length_s": 2.0},
             {"verb": "material", "source": clip, "in_s": 1.0, "length_s": 2.0, "volume_db": 0,
              "transition": {"kind": "fade", "length_s": 0.4}},
             {"verb": "card", "length_s": 1.0}]  # fmt: skip
    heard = _heard(_board(shots, mix={"loudness_lufs": -23}))
    assert len(heard.samples) == 5 * RATE_HZ
    assert _power(heard, 700, 2.5, 3.8) > -30
    assert _power(heard, 700, 0.5, 1.7) < -80 and _power(heard, 700, 4.1, 4.9) < -80
    assert loudness_lufs(heard) == pytest.approx(-23.0, abs=0.2)


def test_a_part_of_the_film_sounds_as_it_does_in_the_whole(tmp_path: Path) -> None:
    song = _tone(tmp_path / "m.mkv", 2.0, 300, pulse_s=0.3)
    board = _board([{"verb": "card", "length_s": 6.0}], music={"file": song})
    whole, part = _heard(board), _heard(board, 50, 100)
    np.testing.assert_array_equal(part.samples, whole.samples[2 * RATE_HZ : 4 * RATE_HZ])


def test_a_voice_that_outlasts_the_film_is_cut(tmp_path: Path) -> None:
    voice = _tone(tmp_path / "v.mkv", 3.0, 1500)
    board = _board([{"verb": "card", "length_s": 2.0}], voices=[{"file": voice, "start_s": 1.0, "in_s": 0.5}])
    assert len(_heard(board).samples) == 2 * RATE_HZ
    late = _board([{"verb": "card", "length_s": 2.0}], voices=[{"file": voice, "start_s": 1.0, "in_s": 10}])
    with pytest.raises(MediaError, match="no sound from 10 s on"):
        _heard(late)


def test_a_clip_without_sound_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "mute.mp4", (32, 32), Fraction(10)) as writer:
        writer.write(np.zeros((10, 32, 32, 3), np.uint8))
    shots = [{"verb": "material", "source": str(tmp_path / "mute.mp4"), "length_s": 1.0, "volume_db": 0}]
    with pytest.raises(ConfigError, match=r"shot 1: 'volume_db' is 0, but .* has no sound; leave it out"):
        check_sources(_board(shots), None, "film.toml")


def test_every_format_holds_the_sound(tmp_path: Path) -> None:
    board = _board([{"verb": "card", "length_s": 1.0}], music={"file": _tone(tmp_path / "m.mkv", 2.0, 300)})
    for ending in (".mp4", ".mov", ".mkv", ".webm"):
        assert render(board, None, tmp_path / f"film{ending}").num_frames == 25


def _clicks() -> NDArray[np.float32]:
    samples = np.zeros(4 * RATE_HZ, np.float32)
    samples[:: RATE_HZ // 5] = 0.9
    return samples


def _too_low_to_hear() -> NDArray[np.float32]:
    return (0.9 * np.sin(2 * np.pi * 2 * np.arange(4 * RATE_HZ) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "targets", "remedy"),
    [(_clicks, {-5: True, -40: False}, "'loudness_lufs', or give sound of lower peaks"),
     (_too_low_to_hear, {-5: True, -40: True}, " dB; give sound of lower peaks")],
)  # fmt: skip
def test_a_loudness_that_cannot_be_reached_is_told(
    tmp_path: Path, made: Callable[[], NDArray[np.float32]], targets: dict[int, bool], remedy: str
) -> None:
    """High peaks and little to hear; what can be asked for instead is said where the field takes it."""
    sound = Sound(np.repeat(made()[:, None], 2, axis=1), RATE_HZ)
    with VideoWriter(tmp_path / "m.mkv", (32, 32), Fraction(10), sound=sound) as writer:
        writer.write(np.zeros((40, 32, 32, 3), np.uint8))
    for target, is_told in targets.items():
        music = {"file": str(tmp_path / "m.mkv"), "loudness_lufs": target}
        lines: list[str] = []
        render(_board([{"verb": "card", "length_s": 3.0}], music=music), None, tmp_path / "f.mp4", report=lines.append)
        assert lines[-1].startswith("loudness: -") == is_told
        assert not is_told or f"LUFS instead of {target}; its peaks would" in lines[-1]
        assert not is_told or lines[-1].endswith(remedy)
