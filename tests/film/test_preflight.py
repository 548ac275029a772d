"""What can be known of the material before anything is made: all of it at once, each file looked at once."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoreel.clip import Sound
from autoreel.errors import ConfigError, MediaError
from autoreel.film import material, sources
from autoreel.film.document import save_storyboard
from autoreel.film.edit import export
from autoreel.film.layout import lay_out
from autoreel.film.needs import problems_of_lengths
from autoreel.film.preflight import check_sources
from autoreel.film.renderer import render
from autoreel.film.sources import open_source
from autoreel.film.storyboard import Storyboard
from autoreel.media.encode import VideoWriter
from autoreel.media.limits import Limits
from autoreel.media.probe import MediaInfo, probe


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """Two seconds of 25 pictures, with sound."""
    sound = Sound(np.random.default_rng(0).normal(0, 0.1, (2 * 8000, 1)).astype(np.float32), 8000)
    with VideoWriter(tmp_path / "clip.mkv", (32, 32), Fraction(25), sound=sound) as writer:
        writer.write(np.full((50, 32, 32, 3), 90, np.uint8))
    return str(tmp_path / "clip.mkv")


def _board(shots: list[dict[str, Any]], rate: int = 25, **more: Any) -> Storyboard:
    canvas = {"width": 32, "height": 32, "rate": rate}
    return Storyboard.model_validate({"run": "/run", "canvas": canvas, "shots": shots, **more})


def _problems(board: Storyboard, run: Any, out: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        render(board, run, out)
    return caught.value.problems


def test_whatever_is_wrong_with_material_is_told_together(tmp_path: Path, striped_run: Any, clip: str) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_text("no film")
    material = {"verb": "material", "source": clip}
    shots: list[dict[str, Any]] = [
        {"length_s": 1.0},
        {"verb": "material", "source": str(damaged), "length_s": 1.0, "volume_db": 0.0},
        {**material, "length_s": 1.0, "in_s": 50.0, "volume_db": 0.0},
        {"verb": "still", "source": clip, "length_s": 1.0, "in_s": 2.5},
        {"verb": "card", "length_s": 1.0, "effects": [{"name": "inset", "file": clip, "in_s": 99.0}]},
        {**material, "length_s": 1.0, "in_s": 0.5, "out_s": 1.0},
        {"verb": "slow", "source": clip, "factor": 0.5, "length_s": 6.0},
        {"verb": "morph", "source": clip, "to": clip, "to_in_s": 1.5, "length_s": 1.0},
        {"verb": "between", "source": clip, "to": clip, "to_in_s": 3.0, "length_s": 1.0},
        {"verb": "still", "source": "/nope.png", "length_s": 1.0},
        {**material, "length_s": 3.0},
    ]
    board = _board(shots, music={"file": clip, "start_s": 9.0}, voices=[{"file": str(damaged)}])
    found = _problems(board, striped_run, tmp_path / "film.mp4")
    expected = [
        "shot 2: 'source' is '", "shot 10: 'source' is '/nope.png': no such file", "voice 1: 'file' is '",
        "shot 3: ", "shot 3: 'in_s' is 50, and", "shot 4: ", "shot 5: ", "shot 6: ", "shot 7: ", "shot 8: ", "shot 9: ",
        "shot 11: ", "[music]: 'start_s' is 9, and",
    ]  # fmt: skip
    assert len(found) == len(expected), found
    assert all(any(line.startswith(start) for line in found) for start in expected), found
    for number, missing_s in ((6, 0.5), (8, 0.5), (11, 1.0)):
        (line,) = [line for line in found if line.startswith(f"shot {number}: ")]
        told = re.fullmatch(rf".*{clip} ends (\d\.\d\d) s before the shot does; shorten the shot .*", line)
        assert told and float(told[1]) == pytest.approx(missing_s, abs=1 / 25)
    assert any("it has no picture from 2.5 s to its end; choose a time before that" in line for line in found)
    assert not striped_run.asked and not (tmp_path / "film.mp4").exists()


def test_a_file_is_looked_at_once(
    tmp_path: Path, striped_run: Any, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()

    def look(path: str, limits: Limits) -> MediaInfo:
        looked.append(path)
        return probe(path, limits)

    monkeypatch.setattr(material, "probe", look)
    shots = [{"verb": "material", "source": clip, "length_s": 0.2, "volume_db": 0.0},
             {"verb": "card", "length_s": 0.2, "effects": [{"name": "split", "file": clip}]}]  # fmt: skip
    check_sources(_board(shots * 3, music={"file": clip}, voices=[{"file": clip}]), striped_run, "film.toml")
    assert looked == [clip]


@pytest.mark.parametrize("effects", [[], [{"name": "speed", "factor": 0.5}], [{"name": "reverse"}],
                                     [{"name": "ramp", "start": 0.5, "end": 1.5}]])  # fmt: skip
@pytest.mark.parametrize("rate", [10, 25, 60])
def test_it_refuses_what_would_fail_and_nothing_else(clip: str, effects: list[dict[str, Any]], rate: int) -> None:
    answers = set()
    slowed = 2 if effects and effects[0]["name"] == "speed" else 1
    for length_s in (1.6, 1.7, 1.8, 1.9, 2.0):
        board = _board([{"verb": "material", "source": clip, "in_s": 0.22, "length_s": slowed * length_s,
                         "effects": effects}], rate)  # fmt: skip
        layout = lay_out(board)
        files = {clip: material.look_at(clip)}
        is_refused = bool(problems_of_lengths(board, layout, None, files))
        answers.add(is_refused)
        try:
            shown = len(list(open_source(layout.placed[0], board.canvas, None, lambda count, make: make())))
        except MediaError:
            shown = 0
        assert is_refused == (shown == 0), length_s
    assert answers == {True, False}


def test_a_file_that_says_a_wrong_length_is_asked_for_its_pictures(clip: str) -> None:
    board = _board([{"verb": "material", "source": clip, "length_s": 2.0}])
    found = material.look_at(clip)
    for length_s in (0.1, None):
        files = {clip: replace(found, info=replace(found.info, duration_s=length_s))}
        assert problems_of_lengths(board, lay_out(board), None, files) == []


def test_what_runs_backwards_is_told_when_it_is_too_long(
    tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = {"verb": "material", "source": clip, "length_s": 1.6, "effects": [{"name": "reverse"}]}
    shots = [{"verb": "card", "length_s": 0.2}, shot, shot]
    monkeypatch.setattr(sources, "MAX_REVERSED_BYTES", 40 * 32 * 32 * 2)
    monkeypatch.setattr("autoreel.film.needs.MAX_REVERSED_BYTES", 40 * 32 * 32 * 2)
    assert render(_board(shots), None, tmp_path / "film.mp4").num_frames == 85  # as the encoder takes them: 1.5 bytes
    assert _problems(_board(shots), None, tmp_path / "film.gif") == tuple(
        f"shot {number}: too long to run backwards; make it shorter" for number in (2, 3)
    )


def test_slower_than_the_decoder_can_give(tmp_path: Path, clip: str) -> None:
    shot = {"verb": "material", "source": clip, "length_s": 0.5, "effects": [{"name": "speed", "factor": 0.1}]}
    assert render(_board([shot], 240), None, tmp_path / "film.mp4").num_frames == 120


def test_a_film_counted_in_beats_is_looked_at_when_they_are_known(tmp_path: Path, striped_run: Any, clip: str) -> None:
    shots: list[dict[str, Any]] = [{"beats": 1}, {"verb": "material", "source": clip, "length_s": 4.0}]
    found = _problems(_board(shots, music={"file": clip}), striped_run, tmp_path / "film.mp4")
    assert len(found) == 1 and found[0].startswith("shot 2: ") and not striped_run.asked


def test_what_begins_after_the_end_is_told(tmp_path: Path, clip: str) -> None:
    said = tmp_path / "said.srt"
    said.write_text("1\n00:00:02,000 --> 00:00:03,000\na\n\n2\n00:00:02,500 --> 00:00:03,000\nb\n")
    board = _board([{"verb": "card", "length_s": 2.0}], captions={"file": str(said)},
                   voices=[{"file": clip, "start_s": 1.9}, {"file": clip, "start_s": 2.0}])  # fmt: skip
    assert _problems(board, None, tmp_path / "film.mp4") == (
        "voice 2: starts at 2 s, after the film's end at 2 s; start it earlier, or make the film longer",
        "[captions]: all start after the film's end at 2 s, the first at 2 s; name those of this film, "
        "or make the film longer",
    )


@pytest.mark.parametrize("mode", ["burnt", "track"])
def test_captions_for_more_than_the_film_are_left_out_with_a_line(tmp_path: Path, mode: str) -> None:
    said = tmp_path / "said.srt"
    said.write_text("1\n00:00:00,000 --> 00:00:01,000\na\n\n2\n00:00:02,000 --> 00:00:03,000\nb\n")
    board = _board([{"verb": "card", "length_s": 2.0}], captions={"file": str(said), "mode": mode})
    lines: list[str] = []
    assert render(board, None, tmp_path / "film.mp4", report=lines.append).num_frames == 50
    assert lines[0] == "captions: 1 of 2 start after the film's end at 2 s and are left out"
    board_file = save_storyboard(board, tmp_path / "film.toml")
    export(board_file, tmp_path / "film.otio", report=lines.append)
    assert lines[0] in lines[1:] and "\n2\n" not in (tmp_path / "film.media" / "captions.srt").read_text()
