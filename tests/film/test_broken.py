"""Broken storyboards: each field wrong in each way is answered by one line that names field, value and remedy."""

import copy
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from autoreel.errors import ConfigError
from autoreel.film.document import load_storyboard, save_storyboard
from autoreel.film.effects import EFFECTS
from autoreel.film.preflight import check_sources
from autoreel.film.storyboard import (
    Canvas,
    Captions,
    Fade,
    Mix,
    Music,
    Shot,
    Storyboard,
    Title,
    Transition,
    Voice,
)

WHOLE: dict[str, Any] = {
    "version": 1, "run": "r", "tempo_bpm": 100.0,
    "canvas": {"width": 512, "height": 288, "rate": 25, "fit": "crop", "background": "black", "upscale": "lanczos"},
    "opening": {"length_s": 0.5, "color": "black"}, "ending": {"length_s": 1.0, "color": "white"},
    "music": {"file": "m.mp3", "start_s": 0.0, "fade_in_s": 0.1, "fade_out_s": 1.0, "volume_db": 0.0,
              "loudness_lufs": -14.0},
    "mix": {"loudness_lufs": -14.0, "duck_db": 10.0, "duck_fade_s": 0.4},
    "captions": {"file": "c.srt", "mode": "burnt", "place": "lower", "size": 0.06, "color": "white", "font": "f.ttf"},
    "voices": [{"file": "v.mp3", "start_s": 1.0, "in_s": 0.0, "out_s": 2.0, "volume_db": 0.0}],
    "titles": [{"text": "T", "start_s": 0.0, "length_s": 2.0, "place": "center", "size": 0.1, "color": "white",
                "font": "f.ttf", "fade_s": 0.2}],
    "shots": [
        {"verb": "generate", "length_s": 2.0, "label": "a", "seed": 1, "in_s": 0.5},
        {"verb": "vary", "length_s": 2.0, "source": "a.mp4", "out_s": 3.0, "strength": 0.5,
         "transition": {"kind": "dip", "length_s": 0.5, "color": "black"},
         "effects": [{"name": "grain", "strength": 0.2, "size": 2}]},
        {"verb": "morph", "beats": 4, "source": "a.mp4", "to": "b.mp4", "to_in_s": 1.0},
        {"verb": "loop", "length_s": 2.0, "source": "a.mp4", "way_s": 1.0},
        {"verb": "slow", "length_s": 2.0, "source": "a.mp4", "factor": 0.5},
        {"verb": "material", "length_s": 2.0, "source": "a.mp4", "volume_db": 0.0},
        {"verb": "card", "length_s": 2.0, "color": "grey"},
    ],
}  # fmt: skip
Path_ = tuple[Any, ...]
TABLES: dict[Path_, Any] = {
    (): Storyboard, ("canvas",): Canvas, ("opening",): Fade, ("ending",): Fade, ("music",): Music, ("mix",): Mix,
    ("captions",): Captions, ("voices", 0): Voice, ("titles", 0): Title, ("shots", 1): Shot,
    ("shots", 1, "transition"): Transition, ("shots", 1, "effects", 0): EFFECTS["grain"],
}  # fmt: skip
WRONG_KINDS = {"a word": "nonsense!", "a truth": True, "a list": [1, 2], "a table": {"a": 1}, "a time": "12:00"}


def _fields(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every single value in the storyboard, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _fields(inner, (*path, index))
    else:
        yield path, value


def _with(path: Path_, value: Any, rename: str | None = None) -> dict[str, Any]:
    board = copy.deepcopy(WHOLE)
    place: Any = board
    for key in path[:-1]:
        place = place[key]
    if rename is not None:
        place[rename] = place.pop(path[-1])
    else:
        place[path[-1]] = value
    return board


def _broken() -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """A name, the storyboard, and words that must be in its one line."""
    for path, given in _fields(WHOLE):
        key, name = path[-1], ".".join(map(str, path))
        is_text = isinstance(given, str)
        for kind, wrong in WRONG_KINDS.items():
            if is_text and isinstance(wrong, str) and key not in ("color", "background", "verb", "kind", "fit", "place",
                                                                  "mode", "name", "upscale"):  # fmt: skip
                continue  # a path or a text may be any word
            yield f"{name} is {kind}", _with(path, wrong), ["unknown effect" if key == "name" else f"'{key}'"]
        if not is_text:
            if key not in ("version", "rate"):
                yield f"{name} is a text", _with(path, str(given)), [f"'{key}' is {given}: input should be a valid "]
            for wrong in (-1e12, 1e12, float("nan")):
                yield f"{name} is {wrong}", _with(path, wrong), [f"'{key}'", str(wrong)[:4]]
        else:
            yield f"{name} is empty", _with(path, ""), ["unknown effect" if key == "name" else f"'{key}'"]
        if key in ("file", "font", "source", "to", "run"):
            yield f"{name} is in no home", _with(path, "~nobody-of-that-name/x.mp4"), [f"'{key}'", "home folder"]
        yield f"{name} is misspelt", _with(path, None, f"{key}e"), [f"unknown key '{key}e', did you mean '{key}'?"]
    for rate in ("1e999999999", "9" * 400, "1/0", "1e3"):
        yield f"canvas.rate is {rate[:20]}", _with(("canvas", "rate"), rate), ["'rate' is", rate[:20], "24000/1001"]


CASES = {name: (board, words) for name, board, words in _broken()}


def test_the_whole_storyboard_has_no_mistake_and_every_field(tmp_path: Path) -> None:
    (tmp_path / "film.toml").write_text(tomli_w.dumps(WHOLE))
    load_storyboard(tmp_path / "film.toml")
    known = {path: set(model.model_fields) for path, model in TABLES.items()}
    for path, fields in known.items():
        if path == ("shots", 1):
            there = set().union(*(shot.keys() for shot in WHOLE["shots"]))
        else:
            place: Any = WHOLE
            for key in path:
                place = place[key]
            there = set(place)
        assert fields == there, path


def test_there_are_hundreds_of_them() -> None:
    assert len(CASES) >= 400


@pytest.mark.parametrize("name", CASES)
def test_one_line_names_field_value_and_remedy(tmp_path: Path, name: str) -> None:
    board, words = CASES[name]
    path = tmp_path / "film.toml"
    path.write_text(tomli_w.dumps(board))
    assert tomllib.loads(path.read_text())
    with pytest.raises(ConfigError) as caught:
        load_storyboard(path)
    problems = caught.value.problems
    (first,) = [line for line in problems if all(word in line for word in words)] or [""]
    assert first, f"{words} not in {problems}"
    assert "\n" not in first and len(first) < 400
    # What follows from a field that is not there is told too, but nothing else.
    assert len(problems) <= 3, problems


@pytest.mark.parametrize("verb", ["still", "material"])
def test_a_name_that_no_disk_takes(tmp_path: Path, verb: str) -> None:
    path = tmp_path / "film.toml"
    shots = [{"verb": verb, "source": f"{'a' * 300}.mp4", "length_s": 1.0}]
    path.write_text(tomli_w.dumps({"shots": shots, "music": {"file": "b" * 300}}))
    with pytest.raises(ConfigError) as caught:
        check_sources(load_storyboard(path), None, str(path))
    assert [line.split(" is ")[0] for line in caught.value.problems] == ["shot 1: 'source'", "[music]: 'file'"]
    assert all("name too long; name another file" in line for line in caught.value.problems)


def test_a_home_that_is_there_and_a_file_that_only_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    path = tmp_path / "film.toml"
    path.write_text(tomli_w.dumps({"shots": [
        {"verb": "still", "source": source, "length_s": 1.0} for source in ("~/a.png", "./~nobody-of-that-name.png")
    ]}))  # fmt: skip
    board = load_storyboard(path)
    assert [shot.source for shot in board.shots] == [
        str(tmp_path / name) for name in ("mine/a.png", "~nobody-of-that-name.png")
    ]
    again = save_storyboard(board, tmp_path / "again.toml")
    assert load_storyboard(again) == board
    by_hand = Shot(verb="still", source="~/a.png", length_s=1.0)
    assert by_hand == board.shots[0]
    with pytest.raises(ValueError, match="no such home folder"):
        Shot(verb="still", source="~nobody-of-that-name/a.png", length_s=1.0)


@pytest.mark.parametrize(
    ("given", "rate"),
    [("29.97002997003", "30000/1001"), (29.97002997003, "30000/1001"), ("23.976023976023976", "24000/1001"),
     ("23.976", "2997/125"), (59.94, "2997/50"), ("24000/1001", "24000/1001"), (25, "25")],
)  # fmt: skip
def test_rates_as_programs_tell_them(given: Any, rate: str) -> None:
    assert Canvas(rate=given).rate == Fraction(rate)


def test_a_rate_of_too_fine_a_fraction() -> None:
    with pytest.raises(ValueError, match="up to 100000 below"):
        Canvas(rate="2500001/100003")
