"""Kinds of film: data that loads, films that differ, and mistakes that are named."""

import re
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from autoreel.errors import ConfigError, UsageError
from autoreel.film.beats import Beats
from autoreel.film.director import direct
from autoreel.film.effects import LutEffect
from autoreel.film.kinds import Kind, known_kinds, load_kind
from autoreel.film.layout import lay_out
from autoreel.film.storyboard import Canvas, Storyboard
from autoreel.media.encode import VideoWriter
from autoreel.preflight import check_kind


def _direct(kind: str, seed: int = 0) -> Storyboard:
    times = np.arange(0.31, 120.0, 60.0 / 105)
    beats = Beats(times, 105.0, 2, np.clip(0.5 + 0.5 * np.sin(times / 8), 0, 1), 0.5)
    return direct(length_s=60.0, canvas=Canvas(rate=Fraction(25)), beats=beats, run=Path("/run"),
                  labels=("a", "b", "c"), title="A title", seed=seed, kind=load_kind(kind))  # fmt: skip


def test_the_kinds_of_film() -> None:
    assert list(known_kinds()) == ["ad", "plain", "romance", "travel"]


@pytest.mark.parametrize("name", known_kinds())
@pytest.mark.parametrize("seed", range(4))
def test_each_makes_a_film_of_exact_length(name: str, seed: int) -> None:
    board = _direct(name, seed)
    kind = load_kind(name)
    assert kind.about
    assert lay_out(board).num_frames == 1500
    lengths = [shot.length_s or 0 for shot in board.shots]
    assert min(lengths) >= 0.9 * kind.shots_from_s and max(lengths) <= 1.1 * kind.shots_to_s
    used = {shot.transition.kind for shot in board.shots if shot.transition}
    assert used <= set(kind.transitions) | {"fade", "dip"}
    assert all(shot.effects == kind.effects for shot in board.shots[1:])
    assert {shot.label for shot in board.shots[1:]} == {"a", "b", "c"}


def test_their_pace_differs() -> None:
    counts = {name: len(_direct(name).shots) for name in known_kinds()}
    assert counts["ad"] > counts["plain"] > counts["romance"]


def test_a_kind_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('shot_s = 3\ntransitions = { cut = 1.0 }\neffects = [{ name = "sepia" }]\n')
    assert load_kind(str(path)) == Kind.model_validate(
        {"shot_s": 3.0, "transitions": {"cut": 1.0}, "effects": [{"name": "sepia"}]}
    )


def test_files_of_ones_own_kind_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "k").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "k" / "mine.toml"
    path.write_text('effects = [{ name = "lut", file = "look.cube" }]\ntitle_effects = [3]\n')
    with pytest.raises(ConfigError, match=r"'title_effects\.0'"):
        load_kind(str(path))
    path.write_text('effects = [{ name = "lut", file = "look.cube" }]\n')
    for name in (str(path), "k/mine.toml"):
        assert load_kind(name).effects == (LutEffect(file=str(tmp_path / "k" / "look.cube")),)
    (problem,) = check_kind("k/mine.toml")
    assert "k/mine.toml: effect 'lut': 'file' is '" in str(problem) and "no such file" in str(problem)
    (tmp_path / "k" / "look.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    assert check_kind("k/mine.toml") == []


def test_videos_that_ones_own_kind_shows_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"no video")
    with VideoWriter(tmp_path / "clip.mkv", (16, 16), 25) as writer:
        writer.write(np.zeros((25, 16, 16, 3), np.uint8))
    with wave.open(str(tmp_path / "heard.wav"), "wb") as heard:
        heard.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        heard.writeframes(bytes(16_000))
    path = tmp_path / "mine.toml"
    for file, message in (("none.mp4", "'inset': 'file' is .*: no such file"), ("noise.mp4", "name another file"),
                          ("heard.wav", "it has no pictures"), ("clip.mkv", None)):  # fmt: skip
        path.write_text(f'effects = [{{ name = "inset", file = "{file}" }}]\n'
                        f'title_effects = [{{ name = "split", file = "{file}" }}]\n')  # fmt: skip
        found = check_kind(str(path))
        assert len(found) == (message is not None)
        assert message is None or (re.search(message, str(found[0])) and "'split'" in str(found[0]))


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'romance'"):
        load_kind("romanse")
    path = tmp_path / "mine.toml"
    path.write_text("shots_s = 3\ntitle_size = 7\n")
    with pytest.raises(ConfigError) as caught:
        load_kind(str(path))
    assert len(caught.value.problems) == 2 and "did you mean 'shot_s'" in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        load_kind(str(tmp_path / "none.toml"))
