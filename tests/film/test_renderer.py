"""Rendering with a run that needs no training: exact length, transitions, sound, cache, record and errors."""

import json
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autoreel.clip import Frames, Sound
from autoreel.config import Config, DataConfig, dump_config
from autoreel.errors import ConfigError, OutputError, RunError, UsageError
from autoreel.film import batches
from autoreel.film.document import load_storyboard, save_storyboard
from autoreel.film.make import canvas_for, make_film
from autoreel.film.renderer import FilmResult, render
from autoreel.film.storyboard import Storyboard
from autoreel.media.decode import read_clip, read_sound
from autoreel.media.encode import VideoWriter
from autoreel.media.sound import loudness_lufs
from autoreel.runs import RunFolder

RED, GREEN, BLUE = 0, 1, 2


def _board(folder: Path, shots: list[dict[str, Any]], **more: Any) -> Storyboard:
    values = {"run": str(folder / "run"), "canvas": {"width": 64, "height": 48, "rate": 25}, "shots": shots, **more}
    return Storyboard.model_validate(values)


def _frames(result: FilmResult) -> NDArray[np.float64]:
    return read_clip(result.path).frames.astype(float)


def _channel(frames: NDArray[np.float64], start: int, stop: int) -> int:
    return int(frames[start:stop].mean(axis=(0, 1, 2)).argmax())


def _song(path: Path, length_s: float = 6.0) -> Path:
    rate = 48_000
    at = np.arange(round(length_s * rate)) / rate
    pulse = np.exp(-((at * 2) % 1) * 12) * np.sin(2 * np.pi * 220 * at) * 0.3
    sound = Sound(np.stack([pulse, pulse], axis=1).astype(np.float32), rate)
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    with VideoWriter(path, (32, 32), Fraction(10), sound=sound) as writer:
        for _ in range(round(length_s * 10)):
            writer.write(picture)
    return path


def _video(path: Path, num_frames: int = 50) -> Path:
    """Brighter with every frame; blue throughout."""
    frames = np.zeros((num_frames, 48, 64, 3), np.uint8)
    frames[..., BLUE] = 255
    frames[..., RED] = (np.arange(num_frames) * 4)[:, None, None]
    with VideoWriter(path, (48, 64), Fraction(25), quality=4) as writer:
        writer.write(frames)
    return path


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_a_film_is_exact_and_tells_what_it_is(
    tmp_path: Path, striped_run: Any, run_folder: Path, rate: Fraction
) -> None:
    striped_run.rate = rate
    song = _song(tmp_path / "song.mp4")
    lines: list[str] = []
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", music=song, length_s=9.3, title="Stripes",
                     report=lines.append)  # fmt: skip
    assert made.storyboard == tmp_path / "film.toml"
    assert made.result.num_frames == round(Fraction("9.3") * rate)
    with av.open(str(made.result.path)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert "AI-generated" in file.metadata["comment"]
        assert file.metadata["title"] == "Stripes"
        assert file.streams.video[0].average_rate == rate
        count = sum(1 for _ in file.decode(video=0))
    assert count == made.result.num_frames
    head = made.result.path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # it plays before it is loaded whole
    sound = read_sound(made.result.path)
    assert sound.duration_s == pytest.approx(made.result.duration_s, abs=0.05)
    assert np.abs(sound.samples[-200:]).max() < 0.01 < np.abs(sound.samples[48_000:96_000]).max()
    assert any("beats a minute" in line for line in lines) and any("frames" in line for line in lines)
    record = json.loads(made.result.record.read_text())
    assert record["ai_generated"] and record["num_frames"] == count
    assert {span["kind"] for span in record["spans"]} == {"generated"}
    assert record["storyboard"]["music"]["file"] == "song.mp4"


def test_the_music_is_levelled(tmp_path: Path, striped_run: Any) -> None:
    music = {"file": str(_song(tmp_path / "song.mp4")), "loudness_lufs": -20.0, "fade_out_s": 0.1}
    result = render(_board(tmp_path, [{"length_s": 5.0}], music=music), striped_run, tmp_path / "film.mp4")
    assert loudness_lufs(read_sound(result.path)) == pytest.approx(-20.0, abs=0.7)


def test_picture_and_sound_start_together(tmp_path: Path, striped_run: Any) -> None:
    """The same sound, within a hundredth of a second of where the music has it."""
    song = _song(tmp_path / "song.mp4")
    board = _board(tmp_path, [{"length_s": 5.0}], music={"file": str(song)})
    result = render(board, striped_run, tmp_path / "film.mp4")
    given, heard = (np.abs(read_sound(path, end_s=4.0).samples[:, 0]) for path in (song, result.path))
    size = 1 << 19
    product = np.fft.rfft(given, size).conj() * np.fft.rfft(heard, size)
    lag = int(np.fft.irfft(product).argmax())
    assert min(lag, size - lag) < 480


def test_a_silent_film_has_no_sound(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", length_s=3)
    with av.open(str(made.result.path)) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_cuts_fades_and_dips_are_where_they_belong(tmp_path: Path, striped_run: Any) -> None:
    shots = [
        {"label": "red", "length_s": 1.0},
        {"label": "green", "length_s": 1.0},
        {"label": "blue", "length_s": 1.0, "transition": {"kind": "fade", "length_s": 0.4}},
        {"label": "red", "length_s": 1.0, "transition": {"kind": "dip", "length_s": 0.4}},
    ]
    frames = _frames(render(_board(tmp_path, shots, opening={"length_s": 0.4}, ending={"length_s": 0.4}), striped_run,
                            tmp_path / "film.mp4"))  # fmt: skip
    assert len(frames) == 100
    assert _channel(frames, 12, 25) == RED and _channel(frames, 25, 26) == GREEN  # a cut is sharp
    middle = frames[50].mean(axis=(0, 1))
    assert middle[GREEN] == pytest.approx(middle[BLUE], rel=0.25)  # half way
    assert frames[75].mean() < 25 < frames[68].mean()  # through black
    assert _channel(frames, 82, 90) == RED
    brightness = frames.mean(axis=(1, 2, 3))
    assert brightness[0] < 0.3 * brightness[12] and brightness[99] < 3
    labels = [label for _, label, _, _ in striped_run.asked]
    assert sorted(set(labels)) == ["blue", "green", "red"]  # both red shots show one take, of one seed


def test_a_slower_run_is_shown_at_its_own_pace(tmp_path: Path, striped_run: Any) -> None:
    striped_run.rate = Fraction(10)
    frames = _frames(render(_board(tmp_path, [{"length_s": 2.0}]), striped_run, tmp_path / "film.mp4"))
    assert len(frames) == 50
    assert striped_run.asked[0][2] == 20
    changed = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)) > 4
    assert changed.sum() == 19


@pytest.mark.parametrize(("factor", "asked"), [(2.0, 49), (0.5, 13)])
def test_speed_changes_what_is_asked_for_and_not_the_length(
    tmp_path: Path, striped_run: Any, factor: float, asked: int
) -> None:
    shots = [{"length_s": 1.0, "effects": [{"name": "speed", "factor": factor}]}]
    result = render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4")
    assert result.num_frames == 25 and striped_run.asked[0][2] == asked


def test_every_verb(tmp_path: Path, striped_run: Any) -> None:
    source = str(_video(tmp_path / "blue.mp4"))
    shots: list[dict[str, Any]] = [
        {"verb": "material", "source": source, "length_s": 1.0, "in_s": 0.4},
        {"verb": "still", "source": source, "length_s": 0.4},
        {"verb": "card", "color": "#00ff00", "length_s": 0.4},
        {"verb": "continue", "source": source, "label": "red", "length_s": 0.4, "out_s": 1.0},
        {"verb": "animate", "source": source, "label": "green", "length_s": 0.4},
        {"verb": "rebuild", "source": source, "length_s": 0.4},
        {"verb": "material", "source": source, "length_s": 1.0, "effects": [{"name": "reverse"}]},
    ]
    result = render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4")
    frames = _frames(result)
    assert len(frames) == 100
    assert [_channel(frames, a + 1, a + 9) for a in (0, 25, 35, 45, 55, 65, 75)] == [
        BLUE, BLUE, GREEN, RED, GREEN, BLUE, BLUE
    ]  # fmt: skip
    red = frames[..., RED].mean(axis=(1, 2))
    assert red[2] == pytest.approx(4 * 12, abs=12)  # from its in point on
    assert np.all(np.diff(red[2:24]) > 0) and np.all(np.diff(red[76:99]) < 0)
    assert np.ptp(red[26:34]) < 3
    spans = json.loads(result.record.read_text())["spans"]
    assert [span["kind"] for span in spans] == [
        "original", "original", "plain", "generated", "generated", "rebuilt", "original"
    ]  # fmt: skip
    with av.open(str(result.path)) as file:
        assert "Partly AI-generated" in file.metadata["comment"]


def test_a_film_of_material_alone_needs_no_run_and_is_not_called_generated(tmp_path: Path) -> None:
    source = str(_video(tmp_path / "blue.mp4"))
    board = Storyboard.model_validate({"shots": [{"verb": "material", "source": source, "length_s": 1.0}]})
    result = render(board, None, tmp_path / "film.mp4")
    with av.open(str(result.path)) as file:
        assert "no picture in it was made by a model" in file.metadata["comment"]


def test_a_picture_of_another_shape_is_cropped_or_framed(tmp_path: Path) -> None:
    source = str(_video(tmp_path / "blue.mp4"))
    for fit, corner in (("crop", 255), ("letterbox", 0)):
        board = Storyboard.model_validate({
            "canvas": {"width": 96, "height": 48, "fit": fit},
            "shots": [{"verb": "material", "source": source, "length_s": 0.4}],
        })  # fmt: skip
        frames = _frames(render(board, None, tmp_path / f"{fit}.mp4"))
        assert frames[5, 24, 2, BLUE] == pytest.approx(corner, abs=12)
        assert frames[5, 24, 48, BLUE] == pytest.approx(255, abs=12)


def test_an_edit_renders_only_what_it_changed(tmp_path: Path, striped_run: Any) -> None:
    folder = RunFolder.create(tmp_path / "run", Config())
    folder.save_weights("codec.safetensors", {"weight": torch.zeros(1)}, {})
    shots: list[dict[str, Any]] = [{"label": name, "length_s": 0.6, "seed": 5} for name in ("red", "green", "blue")]
    out = tmp_path / "film.mp4"
    first = render(_board(tmp_path, shots), striped_run, out)
    before = _frames(first)
    assert (first.num_made, first.num_kept) == (3, 0)
    shots[1]["seed"] = 6
    shots[2]["effects"] = [{"name": "black-and-white"}]
    second = render(_board(tmp_path, shots), striped_run, out)
    assert (second.num_made, second.num_kept) == (1, 2)
    assert striped_run.asked[3:] == [("generate", "green", 15, 6)]
    assert np.array_equal(_frames(second)[:10], before[:10])
    assert len(list((tmp_path / ".film.shots").iterdir())) == 3  # what is of no use any more is gone
    folder.save_weights("codec.safetensors", {"weight": torch.ones(1)}, {})
    assert render(_board(tmp_path, shots), striped_run, out).num_made == 3  # another model


def test_a_record_makes_the_same_film_again(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    song = _song(tmp_path / "song.mp4")
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", music=song, length_s=3, title="Again")
    again = render(made.result.record, striped_run, tmp_path / "again.mp4", report=lambda line: None)
    assert made.result.path.read_bytes() == again.path.read_bytes()
    assert load_storyboard(made.result.record) == load_storyboard(made.storyboard)


def test_a_record_of_another_model_says_so(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", length_s=1)
    record = json.loads(made.result.record.read_text())
    record["run_hash"], record["versions"]["numpy"] = "0123", "0.1"
    made.result.record.write_text(json.dumps(record))
    lines: list[str] = []
    render(made.result.record, striped_run, tmp_path / "again.mp4", report=lines.append)
    assert "trained on since" in lines[0] and "numpy 0.1 is now" in lines[1]


def test_an_edited_storyboard_is_what_is_rendered(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    out = tmp_path / "film.mp4"
    made = make_film(striped_run, run_folder, out, length_s=2)
    edited = made.storyboard.read_text() + '[[shots]]\nverb = "card"\nlength_s = 1\n'
    made.storyboard.write_text(edited)
    assert render(made.storyboard, striped_run, out).num_frames == 75
    lines: list[str] = []
    again = make_film(striped_run, run_folder, out, length_s=2, title="Another", report=lines.append)
    assert again.storyboard == made.storyboard and made.storyboard.read_text() == edited
    assert again.result.num_frames == 75
    assert lines[0] == (
        "storyboard: film.toml was edited and is rendered as it stands (3.00 s, no music), "
        "not with --length 2s and --title 'Another'; rename it to have a new one written"
    )
    make_film(striped_run, run_folder, out, length_s=3, kind="ad", seed=7, report=lines.append)
    assert any("--kind ad and --seed 7" in line for line in lines)
    made.storyboard.write_text(edited + "wrong = 1\n")
    with pytest.raises(ConfigError, match="unknown key 'wrong'"):
        make_film(striped_run, run_folder, out, length_s=2)


def test_the_same_wishes_take_the_storyboard_that_stands_there(tmp_path: Path, striped_run: Any) -> None:
    """A film that was stopped, or asked for again, is not directed anew; shots that are kept are not made again."""
    folder = RunFolder.create(tmp_path / "run", Config())
    folder.save_weights("codec.safetensors", {"weight": torch.zeros(1)}, {})
    out, lines = tmp_path / "film.mp4", list[str]()

    def make(**wishes: Any) -> int:
        before = striped_run.sketched
        make_film(striped_run, folder.root, out, report=lines.append, **{"length_s": 8, **wishes})
        return int(striped_run.sketched - before)

    first = make()
    frames = read_clip(out).frames
    assert first > 0 and make() == 0
    assert "storyboard: film.toml is the one for these wishes already" in lines
    assert np.array_equal(read_clip(out).frames, frames)
    assert make(seed=1) > 0 and make(seed=1, title="New") > 0 and make(seed=1, title="New", kind="ad") > 0
    folder.save_weights("codec.safetensors", {"weight": torch.ones(1)}, {})
    assert make(seed=1, title="New", kind="ad") > 0, "another model"


def test_a_file_that_only_has_the_storyboards_name_stays(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    (tmp_path / "film.toml").write_text('preset = "tiny"\n')
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", length_s=1)
    assert made.storyboard == tmp_path / "film-2.toml"
    assert (tmp_path / "film.toml").read_text() == 'preset = "tiny"\n'


def test_nothing_of_other_people_is_replaced(tmp_path: Path, striped_run: Any) -> None:
    source = _video(tmp_path / "blue.mp4")
    before = source.read_bytes()
    board = _board(tmp_path, [{"verb": "material", "source": str(source), "length_s": 1}])
    for link in (source, tmp_path / "link.mp4"):
        if link != source:
            link.symlink_to(source)
        with pytest.raises(OutputError, match=r"would replace .*blue\.mp4, which is read"):
            render(board, striped_run, link)
    assert source.read_bytes() == before
    (tmp_path / "photo.json").write_text('{"camera": 1}')
    with pytest.raises(OutputError, match=r"photo\.json: a file of that name is there and is not the record of a film"):
        render(_board(tmp_path, [{"length_s": 1}]), striped_run, tmp_path / "photo.mp4")
    assert (tmp_path / "photo.json").read_text() == '{"camera": 1}' and not (tmp_path / "photo.mp4").exists()
    assert not striped_run.asked


def test_a_percent_sign_is_a_letter_of_a_films_name(tmp_path: Path, striped_run: Any) -> None:
    result = render(_board(tmp_path, [{"length_s": 0.2}]), striped_run, tmp_path / "50%.mp4")
    assert result.record == tmp_path / "50%.json" and result.path.is_file()


@pytest.mark.parametrize(("count", "length_s"), [(25, 1.08), (50, 2.1)])
def test_a_rebuilt_clip_that_ends_a_little_early_is_held(
    tmp_path: Path, striped_run: Any, count: int, length_s: float
) -> None:
    source = str(_video(tmp_path / "blue.mp4", count))
    board = _board(tmp_path, [{"verb": "rebuild", "source": source, "length_s": length_s}])
    assert render(board, striped_run, tmp_path / "film.mp4").num_frames == round(length_s * 25)
    board = _board(tmp_path, [{"verb": "rebuild", "source": source, "length_s": length_s + 0.5}])
    with pytest.raises(ConfigError, match=r"shot 1: .*blue.mp4 ends 0\.\d+ s before the shot does; shorten"):
        render(board, striped_run, tmp_path / "film.mp4")


def test_what_a_model_is_given_is_fitted_as_its_footage_was(tmp_path: Path, striped_run: Any) -> None:
    """A wide clip: letterboxed, it gets dark bars."""
    frames = np.zeros((10, 32, 128, 3), np.uint8)
    frames[..., BLUE] = 255
    with VideoWriter(tmp_path / "wide.mp4", (32, 128), Fraction(25), quality=4) as writer:
        writer.write(frames)
    striped_run.continue_stream = lambda given, num_frames, label, seed: iter([given, given[:1].repeat(num_frames, 0)])
    striped_run.animate_stream = lambda picture, num_frames, label, seed: iter([picture[None].repeat(num_frames, 0)])
    source = str(tmp_path / "wide.mp4")
    shots = [{"verb": verb, "source": source, "length_s": 0.2} for verb in ("rebuild", "animate", "continue")]
    for fit, dark in (("crop", False), ("letterbox", True)):
        striped_run.config = Config(data=DataConfig.model_validate({"fit": fit}))
        made = _frames(render(_board(tmp_path, shots), striped_run, tmp_path / f"{fit}.mp4", keep_shots=False))
        for start in (1, 6, 11):
            # The canvas crops the model's square picture to 4:3, so that a part of its bars stays.
            assert bool(made[start, 2, 32, BLUE] < 60) == dark, (fit, start)


def test_how_a_run_samples_is_a_part_of_what_makes_a_shot(tmp_path: Path, striped_run: Any) -> None:
    config = Config()
    folder = RunFolder.create(tmp_path / "run", config)
    folder.save_weights("codec.safetensors", {"weight": torch.zeros(1)}, {})
    board, out = _board(tmp_path, [{"length_s": 0.6}]), tmp_path / "film.mp4"
    assert render(board, striped_run, out).num_made == 1
    assert render(board, striped_run, out).num_kept == 1
    more_steps = config.model_copy(update={"prior": config.prior.model_copy(update={"steps": 20})})
    (tmp_path / "run" / "config.toml").write_text(dump_config(more_steps))
    lines: list[str] = []
    assert render(out.with_suffix(".json"), striped_run, out, report=lines.append).num_made == 1
    assert "or its config changed" in lines[0]


@pytest.mark.parametrize(
    ("verbs", "words"),
    [(["rebuild"], "Repainted"), (["generate"], "AI-generated"), (["rebuild", "generate"], "Partly AI-generated")],
)
def test_a_film_says_how_it_was_made(tmp_path: Path, striped_run: Any, verbs: list[str], words: str) -> None:
    source = str(_video(tmp_path / "blue.mp4"))
    shots = [{"verb": v, "length_s": 0.4, **({"source": source} if v == "rebuild" else {})} for v in verbs]
    result = render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4")
    with av.open(str(result.path)) as file:
        assert file.metadata["comment"].startswith(words)
    assert json.loads(result.record.read_text())["ai_generated"]


def test_beats_count_on_the_music(tmp_path: Path, striped_run: Any) -> None:
    song = _song(tmp_path / "song.mp4")  # two beats a second
    board = _board(tmp_path, [{"beats": 4}, {"label": "red", "length_s": 1.0}], music={"file": str(song)})
    result = render(board, striped_run, tmp_path / "film.mp4")
    first = next(count for _, label, count, _ in striped_run.asked if label is None)
    assert first == pytest.approx(50, abs=14)  # the first beat may be at the start or half a second on
    assert result.num_frames == first + 25


def test_all_that_is_missing_is_named_at_once(tmp_path: Path, striped_run: Any) -> None:
    board = _board(
        tmp_path,
        [{"length_s": 1, "label": "rde"}, {"verb": "material", "source": "/no/clip.mp4", "length_s": 1},
         {"verb": "still", "source": str(tmp_path), "length_s": 1}],
        music={"file": "/no/song.mp3"},
        titles=[{"text": "a", "font": "/no/font.ttf"}],
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        render(board, striped_run, tmp_path / "film.mp4")
    assert len(caught.value.problems) == 5
    assert "shot 1: 'label' is 'rde', did you mean 'red'?" in caught.value.problems
    assert not (tmp_path / "film.mp4").exists() and not striped_run.asked


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        ([{"text": "ส"}], "title 1: the bundled font has no letter for ส"),
        ([{"text": "a", "start_s": 9.0}], "title 1: starts at 9 s, after the film's end"),
    ],
)
def test_titles_are_looked_at_before_anything_is_made(
    tmp_path: Path, striped_run: Any, titles: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        render(_board(tmp_path, [{"length_s": 1}], titles=titles), striped_run, tmp_path / "film.mp4")
    assert not striped_run.asked


def test_material_that_ends_too_early_is_said_and_no_film_is_left(tmp_path: Path, striped_run: Any) -> None:
    source = str(_video(tmp_path / "blue.mp4"))
    board = _board(tmp_path, [{"verb": "material", "source": source, "length_s": 3.0}])
    with pytest.raises(ConfigError, match=r"shot 1: .*blue.mp4 ends 1\.\d+ s before the shot does; shorten"):
        render(board, striped_run, tmp_path / "film.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blue.mp4"]


def test_a_model_that_makes_too_little_is_an_error(tmp_path: Path, striped_run: Any) -> None:
    striped_run.decode = lambda latents, num_frames: np.zeros((5, 32, 32, 3), np.uint8)
    with pytest.raises(RunError, match="made 5 frames of 25"):
        render(_board(tmp_path, [{"length_s": 1}]), striped_run, tmp_path / "film.mp4")


def test_an_error_of_the_model_ends_the_film_and_leaves_nothing(tmp_path: Path, striped_run: Any) -> None:
    def broken(labels: Any, num_frames: int, seeds: Any) -> list[Any]:
        raise RunError("the weights are damaged")

    striped_run.generate_latents = broken
    with pytest.raises(RunError, match="weights are damaged"):
        render(_board(tmp_path, [{"length_s": 1}]), striped_run, tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())
    assert "ahead" not in {thread.name for thread in threading.enumerate()}


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        render(_board(tmp_path, [{"length_s": 1}]), None, tmp_path / "film.mp4")


def test_an_ending_that_is_no_film(tmp_path: Path, striped_run: Any) -> None:
    with pytest.raises(UsageError):
        render(_board(tmp_path, [{"length_s": 1}]), striped_run, tmp_path / "film.txt")
    assert not striped_run.asked


def test_single_pictures(tmp_path: Path, striped_run: Any) -> None:
    result = render(_board(tmp_path, [{"length_s": 0.2}]), striped_run, tmp_path / "frames" / "%05d.png")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{i:05d}.png" for i in range(5)]
    assert result.record == tmp_path / "frames.json" and result.record.is_file()


@pytest.mark.parametrize(
    ("size", "canvas"),
    [((64, 64), (512, 512)), ((64, 112), (512, 896)), ((128, 72), (768, 432)), ((512, 1024), (960, 1920))],
)
def test_the_canvas_has_the_models_shape(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    made = canvas_for(size, Fraction(12))
    assert (made.height, made.width, made.rate) == (*canvas, Fraction(12))


def test_shots_are_made_side_by_side_and_a_long_one_is_streamed(tmp_path: Path, striped_run: Any) -> None:
    """Of a film of many shots only a few are in memory, and of a long one only a part."""
    limit = 30 * 32 * 32 * 3
    lengths = [0.5] * 6 + [2.0, 0.5]
    shots = [{"length_s": length, "seed": i} for i, length in enumerate(lengths)]
    streamed: list[int] = []
    plain_stream = striped_run.generate_stream

    def stream(label: str | None = None, num_frames: int = 33, seed: int = 0) -> Iterator[Frames]:
        streamed.append(seed)
        return iter(plain_stream(label, num_frames, seed))

    striped_run.generate_stream = stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_SHOT_BYTES", limit)
        result = render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4")
    assert result.num_frames == 138
    assert striped_run.sketched == 7 and streamed == [6]


def test_shots_of_many_chapters_are_made_in_order(tmp_path: Path, striped_run: Any) -> None:
    labels = ["red", "green", "blue"] * 3
    wanted = [batches.Wanted(i, label, i, 20 + i % 4) for i, label in enumerate(labels)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHAPTER", 2)
        made = list(batches.make_shots(striped_run, wanted))
    assert [number for number, _ in made] == list(range(9))
    for (number, frames), shot in zip(made, wanted, strict=True):
        assert np.array_equal(frames, np.concatenate(list(striped_run._frames(shot.label, shot.count, number))))


def test_the_same_frames_side_by_side_and_alone(tmp_path: Path, striped_run: Any) -> None:
    shots = [{"length_s": 0.4 + 0.1 * i, "seed": 3 * i, "label": "red"} for i in range(5)]
    together = _frames(render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_SHOT_BYTES", 0)
        alone = _frames(render(_board(tmp_path, shots), striped_run, tmp_path / "film.mp4"))
    assert np.array_equal(together, alone)


def test_a_storyboard_file_is_named_in_its_problems(tmp_path: Path, striped_run: Any) -> None:
    path = save_storyboard(_board(tmp_path, [{"length_s": 1, "label": "rde"}]), tmp_path / "film.toml")
    with pytest.raises(ConfigError, match=r"film\.toml: shot 1"):
        render(path, striped_run, tmp_path / "film.mp4")
