"""Storyboards: every problem at once, in words that help; and there and back without a loss."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from autoreel.errors import ConfigError
from autoreel.film.document import load_storyboard, save_storyboard, storyboard_text
from autoreel.film.effects import EFFECTS, GrainEffect, VignetteEffect, ZoomEffect
from autoreel.film.storyboard import Canvas, Fade, Music, Shot, Storyboard, Title, Transition

SHOT = 'run = "r"\n[[shots]]\nlength_s = 2\n'


def _problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "film.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_storyboard(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def test_a_small_storyboard_needs_little(tmp_path: Path) -> None:
    path = tmp_path / "film.toml"
    path.write_text(SHOT)
    board = load_storyboard(path)
    assert board.run == str(tmp_path / "r")
    assert board.shots == (Shot(verb="generate", length_s=2.0),)
    assert board.canvas == Canvas()


def test_all_problems_are_named_together(tmp_path: Path) -> None:
    problems = _problems(
        tmp_path,
        """
        [canvass]
        [canvas]
        width = 5
        rate = "fast"
        background = "blu"
        [[titles]]
        [[shots]]
        verb = "generat"
        length_s = -1
        lable = "x"
        [[shots]]
        length_s = 2
        beats = 2
        effects = [{ name = "vignete" }, { name = "grain", strenght = 1 }, { strength = 1 }, 3]
        transition = { kind = "fad", lenght = 2 }
        """,
    )
    expected = [
        "unknown key 'canvass', did you mean 'canvas'?",
        "[canvas]: 'width' is 5",
        "[canvas]: 'rate' is fast: a rate is frames per second",
        "[canvas]: 'background' is blu: a color is '#rrggbb'",
        "title 1: 'text' is missing",
        "shot 1: 'verb' is 'generat', did you mean 'generate'?",
        "shot 1: 'length_s' is -1",
        "shot 1: unknown key 'lable', did you mean 'label'?",
        "shot 2: transition: 'kind' is 'fad', did you mean 'fade'?",
        "shot 2: transition: unknown key 'lenght', did you mean 'length_s'?",
        "shot 2: effect 1: unknown effect 'vignete', did you mean 'vignette'?",
        "shot 2: effect 2 (grain): unknown key 'strenght', did you mean 'strength'?",
        "shot 2: effect 3: an effect needs a 'name'",
        "shot 2: effect 4: must be a table",
        "shot 2: has both 'length_s' and 'beats'",
        "shot 2: 'beats' needs [music] or 'tempo_bpm'",
        "'run' is missing: shot 2 needs a trained model",
    ]
    for start in expected:
        assert any(problem.startswith(start) for problem in problems), (start, problems)
    assert len(problems) == len(expected), problems


# What is wrong, and a word of the remedy that must stand in the one message.
BROKEN = {
    "version = 2\n" + SHOT: "version",
    "version = 'a'\n" + SHOT: "version",
    "run = 3\n[[shots]]\nlength_s = 2\n": "run",
    "run = ''\n[[shots]]\nlength_s = 2\n": "run",
    "run = 'r'\n": "shots",
    "run = 'r'\nshots = []\n": "at least one shot",
    "run = 'r'\nshots = 3\n": "must be a list",
    "run = 'r'\nshots = [3]\n": "table",
    "[[shots]]\nlength_s = 2\n": "run folder",
    "run = 'r'\n[[shots]]\n": "'length_s' or 'beats' is missing",
    "tempo_bpm = 5\n" + SHOT: "tempo_bpm",
    "tempo_bpm = 'fast'\n" + SHOT: "tempo_bpm",
    "tempo = 120\n" + SHOT: "did you mean 'tempo_bpm'",
    "canvas = 3\n" + SHOT: "canvas",
    "[canvas]\nwidth = 511\n" + "[[shots]]\nverb = 'card'\nlength_s = 2": "multiple of 2",
    "[canvas]\nwidth = 8\n[[shots]]\nverb = 'card'\nlength_s = 2": "16",
    "[canvas]\nheight = 100000\n[[shots]]\nverb = 'card'\nlength_s = 2": "4320",
    "[canvas]\nheight = 'tall'\n[[shots]]\nverb = 'card'\nlength_s = 2": "height",
    "[canvas]\nrate = 0\n[[shots]]\nverb = 'card'\nlength_s = 2": "rate",
    "[canvas]\nrate = '1/0'\n[[shots]]\nverb = 'card'\nlength_s = 2": "24000/1001",
    "[canvas]\nrate = true\n[[shots]]\nverb = 'card'\nlength_s = 2": "24000/1001",
    "[canvas]\nrate = nan\n[[shots]]\nverb = 'card'\nlength_s = 2": "rate",
    "[canvas]\nfit = 'croop'\n[[shots]]\nverb = 'card'\nlength_s = 2": "did you mean 'crop'",
    "[canvas]\nbackground = '#12345'\n[[shots]]\nverb = 'card'\nlength_s = 2": "#rrggbb",
    "[canvas]\nbackground = 7\n[[shots]]\nverb = 'card'\nlength_s = 2": "#rrggbb",
    "[opening]\nlength_s = 0\n[[shots]]\nverb = 'card'\nlength_s = 2": "[opening]",
    "[opening]\nkind = 'fade'\n[[shots]]\nverb = 'card'\nlength_s = 2": "unknown key 'kind'",
    "[ending]\ncolor = 'mauve'\n[[shots]]\nverb = 'card'\nlength_s = 2": "[ending]",
    "[music]\n[[shots]]\nverb = 'card'\nlength_s = 2": "[music]: 'file' is missing",
    "[music]\nfile = ''\n[[shots]]\nverb = 'card'\nlength_s = 2": "[music]",
    "[music]\nfile = 'm'\nloudness = -14\n[[shots]]\nverb = 'card'\nlength_s = 2": "did you mean 'loudness_lufs'",
    "[music]\nfile = 'm'\nloudness_lufs = 3\n[[shots]]\nverb = 'card'\nlength_s = 2": "-5",
    "[music]\nfile = 'm'\nstart_s = -1\n[[shots]]\nverb = 'card'\nlength_s = 2": "start_s",
    "[music]\nfile = 'm'\nfade_in_s = 99\n[[shots]]\nverb = 'card'\nlength_s = 2": "60",
    "[[titles]]\ntext = ''\n[[shots]]\nverb = 'card'\nlength_s = 2": "title 1: 'text'",
    "[[titles]]\ntext = '   '\n[[shots]]\nverb = 'card'\nlength_s = 2": "is    : it is empty; give it words",
    '[[titles]]\ntext = "a\\u0001b"\n[[shots]]\nverb = "card"\nlength_s = 2': "characters in it that cannot be shown",
    f"[[titles]]\ntext = '{'a' * 1001}'\n[[shots]]\nverb = 'card'\nlength_s = 2": "1001 letters; it can have 1000",
    "[[titles]]\ntext = 'a'\nplace = 'top'\n[[shots]]\nverb = 'card'\nlength_s = 2": "upper",
    "[[titles]]\ntext = 'a'\nsize = 3\n[[shots]]\nverb = 'card'\nlength_s = 2": "0.5",
    "[[titles]]\ntext = 'a'\nsiez = 0.1\n[[shots]]\nverb = 'card'\nlength_s = 2": "did you mean 'size'",
    "[[titles]]\ntext = 'a'\nlength_s = 0\n[[shots]]\nverb = 'card'\nlength_s = 2": "title 1: 'length_s'",
    "[[shots]]\nverb = 3\nlength_s = 2": "verb",
    "[[shots]]\nverb = 'card'\nlength_s = inf": "length_s",
    "[[shots]]\nverb = 'card'\nlength_s = 'long'": "length_s",
    "[[shots]]\nverb = 'card'\nbeats = 0\n[music]\nfile = 'm'": "beats",
    "[[shots]]\nverb = 'card'\nbeats = 1.5\n[music]\nfile = 'm'": "beats",
    "[[shots]]\nverb = 'card'\nbeats = 4": "'beats' needs [music]",
    "[[shots]]\nverb = 'card'\nlength_s = 2\nlabel = 'a'": "'label' has no meaning for verb 'card'",
    "[[shots]]\nverb = 'card'\nlength_s = 2\nseed = 1": "it belongs to: generate, continue, animate",
    "[[shots]]\nverb = 'card'\nlength_s = 2\nsource = 'a'": "'source' has no meaning",
    "[[shots]]\nverb = 'material'\nlength_s = 2": "'source' is missing",
    "[[shots]]\nverb = 'still'\nlength_s = 2": "'source' is missing",
    "run = 'r'\n[[shots]]\nverb = 'continue'\nlength_s = 2": "'source' is missing",
    "run = 'r'\n[[shots]]\nverb = 'animate'\nlength_s = 2": "'source' is missing",
    "run = 'r'\n[[shots]]\nverb = 'rebuild'\nlength_s = 2": "'source' is missing",
    "[[shots]]\nverb = 'rebuild'\nsource = 'a'\nlength_s = 2": "'run' is missing",
    "[[shots]]\nverb = 'material'\nsource = 'a'\nlength_s = 2\nin_s = 3\nout_s = 2": "must lie after 'in_s'",
    "[[shots]]\nverb = 'material'\nsource = 'a'\nlength_s = 2\nin_s = -3": "in_s",
    "[[shots]]\nverb = 'still'\nsource = 'a'\nlength_s = 2\nout_s = 3": "'out_s' has no meaning",
    SHOT + "seed = -1": "seed",
    SHOT + "seed = 1.5": "seed",
    SHOT + "label = ''": "label",
    SHOT + "color = 'white'": "color",
    SHOT + "transition = { kind = 'fade' }": "use [opening]",
    SHOT + "[[shots]]\nlength_s = 2\ntransition = 3": "must be a table",
    SHOT + "[[shots]]\nlength_s = 2\ntransition = { kind = 'fade', color = 'white' }": "belongs to kind 'dip'",
    SHOT + "[[shots]]\nlength_s = 2\ntransition = { length_s = -1 }": "transition: 'length_s'",
    SHOT + "[[shots]]\nlength_s = 2\ntransition = { kind = 'wipe' }": "did you mean 'wipe-",
    SHOT + "effects = 3": "must be a list",
    SHOT + "effects = [{ name = 'speed', factor = 0 }]": "(speed): 'factor'",
    SHOT + "effects = [{ name = 'speed', factor = 2 }, { name = 'speed', factor = 2 }]": "stands twice",
    SHOT + "effects = [{ name = 'blur', radius = 5 }]": "(blur): 'radius'",
    SHOT + "effects = [{ name = 'zoom', start = 0.5 }]": "(zoom): 'start'",
    SHOT + "effects = [{ name = 'color', contrast = 'high' }]": "(color): 'contrast'",
    "shots = [": "not valid TOML",
    "a = 1\na = 2": "not valid TOML",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_storyboard_is_answered_by_its_place_and_the_remedy(tmp_path: Path, text: str) -> None:
    problems = _problems(tmp_path, text)
    assert len(problems) == 1, problems
    assert BROKEN[text] in problems[0]
    assert "\n" not in problems[0] and "Error" not in problems[0] and "pydantic" not in problems[0]


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_storyboard(tmp_path / "none.toml")
    (tmp_path / "film.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_storyboard(tmp_path / "film.toml")
    (tmp_path / "film.json").write_text("[]")
    with pytest.raises(ConfigError, match="has no storyboard"):
        load_storyboard(tmp_path / "film.json")


def _whole_board(folder: Path) -> Storyboard:
    return Storyboard(
        run=str(folder / "runs" / "x"),
        tempo_bpm=98.5,
        canvas=Canvas(width=320, height=180, rate=Fraction(24000, 1001), fit="letterbox", background="#102030"),
        opening=Fade(length_s=0.5),
        ending=Fade(length_s=2.0, color="#ffffff"),
        music=Music(file=str(folder / "song.mp3"), start_s=1.5, loudness_lufs=-16.0),
        titles=(Title(text='A "quoted"\nname \\ ünï 中文', font=str(folder.parent / "font.ttf")),),
        shots=(
            Shot(length_s=2.5, label="bend \x7f", seed=7, effects=(VignetteEffect(strength=0.3), ZoomEffect(end=1.3))),
            Shot(verb="material", source=str(folder / "a b.mp4"), beats=8, in_s=1.0, out_s=9.0,
                 transition=Transition(kind="dip", length_s=0.4, color="#ffffff")),
            Shot(verb="card", length_s=1.0, color="#aa0000", effects=(GrainEffect(),)),
        ),
    )  # fmt: skip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    board = _whole_board(tmp_path)
    path = tmp_path / "deep" / "film.toml"
    path.parent.mkdir()
    assert save_storyboard(board, path) == path
    assert load_storyboard(path) == board
    text = path.read_text(encoding="utf-8")
    assert 'file = "../song.mp3"' in text  # relative to the file, so that the folder can move
    assert 'effects = [{ name = "vignette", strength = 0.3 }, { name = "zoom", end = 1.3 }]' in text


def test_a_storyboard_in_the_folder_of_its_run(tmp_path: Path) -> None:
    board = Storyboard(run=str(tmp_path), shots=(Shot(length_s=1.0),))
    assert load_storyboard(save_storyboard(board, tmp_path / "film.toml")) == board
    assert 'run = "."' in (tmp_path / "film.toml").read_text(encoding="utf-8")


def test_a_storyboard_somebody_edited_is_never_replaced(tmp_path: Path) -> None:
    board, path = _whole_board(tmp_path), tmp_path / "film.toml"
    assert save_storyboard(board, path) == path
    other = board.model_copy(update={"titles": ()})
    assert save_storyboard(other, path) == path  # as it was written, nothing of a person's is lost
    assert load_storyboard(path) == other
    edited = path.read_text().replace("seed = 7", "seed = 8")
    path.write_text(edited)
    assert save_storyboard(board, path) == tmp_path / "film-2.toml"
    assert path.read_text() == edited
    path.write_text('[[shots]]\nverb = "card"\nlength_s = 1\n')  # one that a person wrote from the start
    assert save_storyboard(board, path) == tmp_path / "film-2.toml"
    assert save_storyboard(board, path, replace=True) == path


@pytest.mark.parametrize(("key", "value"), [("color", "grey"), ("place", "upper"), ("size", 0.1), ("font", "f.ttf")])
def test_a_track_of_captions_has_no_look_of_its_own(tmp_path: Path, key: str, value: Any) -> None:
    board = {"captions": {"file": "c.srt", "mode": "track", key: value}, "shots": [{"verb": "card", "length_s": 2}]}
    (problem,) = _problems(tmp_path, tomli_w.dumps(board))
    assert problem.startswith(f"[captions]: '{key}' has no meaning for mode 'track'") and "mode 'burnt'" in problem
    board["captions"] = {"file": "c.srt", "mode": "track", "color": "White"}  # as it is without a word
    (tmp_path / "film.toml").write_text(tomli_w.dumps(board))
    path = save_storyboard(load_storyboard(tmp_path / "film.toml"), tmp_path / "again.toml")
    assert load_storyboard(path) == load_storyboard(tmp_path / "film.toml")


SHOWN = st.characters(exclude_categories=["Cc", "Cs"], include_characters="\n\t")


def _needed(name: str) -> dict[str, str]:
    """An effect with nothing but what it cannot do without."""
    return {"name": name} | ({"file": "/other.mp4"} if "file" in EFFECTS[name].model_fields else {})


@settings(max_examples=50, deadline=None)
@given(
    text=st.text(SHOWN, max_size=40).filter(str.strip),
    lengths=st.lists(st.floats(0.04, 1000).map(lambda x: round(x, 6)), min_size=1, max_size=5),
    name=st.sampled_from(sorted(EFFECTS)),
)
def test_any_storyboard_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, lengths: list[float], name: str
) -> None:
    path = tmp_path_factory.mktemp("board") / "film.toml"
    shots = [{"verb": "card", "length_s": length, "effects": [_needed(name)]} for length in lengths]
    board = Storyboard.model_validate({"titles": [{"text": text}], "shots": shots})
    path.write_text(storyboard_text(board, path), encoding="utf-8", newline="")
    assert load_storyboard(path) == board
