"""The command line: help, exit codes, one clear line for each error, everything wrong told at once."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoreel
from autoreel import preflight
from autoreel.cli import COMMANDS, main
from autoreel.clip import Sound
from autoreel.config import PRESETS, dump_config, load_config
from autoreel.data.sample import render_sample_footage
from autoreel.errors import FootageError, StoppedError
from autoreel.media.encode import VideoWriter
from autoreel.runs import atomic_path

LONG = "a" * 300  # a name that no disk takes


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clip."""
    folder = tmp_path_factory.mktemp("clips")
    render_sample_footage(folder, kinds=("romance",), clips_per_kind=1, clip_s=0.4, size=(32, 32))
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("autoreel: ")]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f" {name} " in shown


def test_a_folder_that_was_removed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["doctor"]) == 2
    assert told(capsys) == [
        "autoreel: error: the folder you are in has been removed; go to another one with cd, and say it again"
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import inspect

    assert main([name, "--help"]) == 0
    shown, text = capsys.readouterr().out, inspect.getdoc(COMMANDS[name]) or ""
    for parameter in inspect.signature(COMMANDS[name]).parameters.values():
        if dataclasses.is_dataclass(parameter.default):  # options that several commands share
            shared = [field.name for field in dataclasses.fields(parameter.default)]
            assert all(f"--{option.replace('_', '-')}" in shown for option in shared)
            assert all(f"{option}: " in str(parameter.default.__doc__) for option in shared)
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            # `from_` is --from, a word of Python, `own_size` is --own-size, and `changes` is --set, a builtin
            option = {"changes": "set"}.get(parameter.name, parameter.name.rstrip("_").replace("_", "-"))
            assert f"--{option}" in shown
        assert f"{parameter.name}: " in text, f"{name} does not explain {parameter.name}"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == autoreel.__version__


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["flim"], 2, 'Did you mean "film"?'),
        (["film", "--legnth", "60s"], 2, "--length"),
        (["film"], 2, "give a folder of footage, or --sample"),
        (["film", "absent-folder"], 3, "absent-folder: no such file or folder"),
        (["film", "absent.toml"], 2, "absent.toml: no such file"),
        (["film", "--sample", "--length", "soon"], 2, "length 'soon' is not understood; write 60s, 1m30s or 1:30"),
        (["film", "--sample", "--budget", "some"], 2, "budget 'some' is not understood"),
        (["film", "--sample", "--preset", "tinny"], 2, "unknown preset 'tinny', did you mean 'tiny'?"),
        (["film", "--sample", "--music", "absent.mp3"], 4, "absent.mp3: no such file (music)"),
        (["film", "--sample", "-o", "film.avi"], 2, "the name's ending chooses the format; use .mp4"),
        (["film", "--sample", "--kind", "romanse"], 2, "unknown kind of film 'romanse', did you mean 'romance'?"),
        (["film", "--sample", "--fit", "squeeze"], 2, "letterbox"),
        (["film", "--sample", "--title", ""], 2, "the title is empty"),
        (["film", "--sample", "--title", " \t"], 2, "the title is empty"),
        (["film", "--sample", "--title", "ส"], 2, "no letter for ส"),
        (["film", "--sample", "--title", "\udcff"], 2, "cannot be shown"),
        (["film", "--sample", "--title", "x" * 1001], 2, "the title has 1001 letters; it can have 1000"),
        (["film", "--sample", "--length", "0.05s"], 2, "give a length from half a second to 4 hours"),
        (["film", "--sample", "--length", "13h"], 2, "give a length from half a second to 4 hours"),
        (["film", "--sample", "--fps", "0"], 2, "--fps 0 is not possible"),
        (["film", "--sample", "--seed", "-1"], 2, "--seed -1 is not possible"),
        (["film", "--sample", "--from", "starter"], 2, "what the codec starts from is --start starter"),
        (["film", "--sample", "--from", "70s"], 2, "--from 70s to its end is no part of a film of 60 s"),
        (["film", "--sample", "--from", "9s", "--to", "8s"], 2, "--from 9s to --to 8s is no part of a film of 60 s"),
        (["film", "--sample", "--to", "soon"], 2, "'soon' is not understood"),
        (["film", "--sample", "--family", "gan"], 2, "--family gan: no film is made of it, it has neither an encoder"),
        (["film", "--sample", "--encoder", "prores"], 2, ".mp4 files hold h264 or h265 or av1, not prores"),
        (["film", "absent.toml", "--out", "f.mp4"], 2, "absent.toml: no such file"),
        (["generate", "absent-run", "-o", "%05d.png"], 2, "write frames/%05d.png"),
        (["generate", "absent-run", "-o", "frames/picture.png"], 2, "write frames/%05d.png"),
        (["storyboard", "absent-run", "--length", "20h"], 2, "give a length from half a second to 4 hours"),
        (["storyboard", "absent-run", "--title", ""], 2, "the title is empty"),
        (["prepare", "-o", "store"], 2, "give a folder of footage"),
        (["prepare", "absent-folder", "-o", "store"], 3, "no such file or folder"),
        (["train", "--run", "new-run"], 2, "give a folder of footage"),
        (["generate", "absent-run"], 5, "absent-run does not exist"),
        (["generate", "absent-run", "--count", "0"], 2, "--count 0"),
        (["animate", "absent-run", "absent.png"], 4, "absent.png: no such file (the picture)"),
        (["rebuild", "absent-run", "absent.mp4"], 4, "absent.mp4: no such file (the clip)"),
        (["storyboard", "absent-run", "-o", "plan.mp4"], 2, "use .toml"),
        (["film", LONG], 3, f"cannot read {LONG}: File name too long; give another one"),
        (["film", "--sample", "--music", LONG], 4, f"cannot read {LONG}: File name too long; give another one (music)"),
        (["film", "--sample", "--start", LONG], 5, f"cannot read {LONG}: File name too long"),
        (["film", "--sample", "-o", f"{LONG}.mp4"], 6, "cannot write"),
        (["prepare", LONG, "-o", "store"], 3, f"cannot read {LONG}"),
        (["train", LONG, "--run", "new-run"], 3, f"cannot read {LONG}"),
        (["compare", LONG, "-o", "new"], 3, f"cannot read {LONG}"),
        (["verify", LONG], 4, f"cannot read {LONG}"),
        (["rebuild", "absent-run", LONG], 4, f"cannot read {LONG}"),
        (["doctor", "--budget", "never"], 2, "budget 'never' is not understood"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    lines = told(capsys)
    assert len(lines) == 1 and words in lines[0]
    assert list(tmp_path.iterdir()) == [], "nothing is written before everything is checked"


def test_everything_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "film.avi"
    arguments = ["film", "absent-1", "absent-2", "--length", "x", "--budget", "y", "--preset", "z"]
    assert main([*arguments, "--music", "absent.mp3", "-o", str(out)]) == 2
    lines = told(capsys)
    expected = "length 'x'", "budget 'y'", "absent-1", "absent-2", "preset 'z'", "absent.mp3", ".mp4", "not a folder"
    assert len(lines) == len(expected)
    for words in expected:
        assert any(words in line for line in lines), words


def test_a_folder_without_video_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no video here")
    assert main(["prepare", str(tmp_path), "-o", str(tmp_path / "store")]) == 3
    assert "no video in it" in told(capsys)[0]


def test_music_without_sound_is_told(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = clips / "romance" / "romance-0.mp4"
    assert main(["film", str(clips), "--music", str(silent), "-o", str(tmp_path / "film.mp4")]) == 4
    assert "no sound in it" in told(capsys)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [(["prepare", "-o", "s", "--fps", "-3"], "--fps -3 is"), (["train", "--run", "r", "--seed", "-1"], "--seed -1 is")],
)
def test_impossible_numbers_are_told(
    options: list[str], words: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([options[0], str(clips), *options[1:]]) == 2
    assert words in told(capsys)[0] and not list(tmp_path.iterdir())


def test_damaged_music_is_told_before_anything_is_done(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "song.mp4"
    at = np.arange(12 * 48_000) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 220 * at) * np.random.default_rng(0).random(len(at))).astype(np.float32)
    with VideoWriter(song, (16, 16), 1, sound=Sound(np.stack([tone, tone], axis=1), 48_000)) as writer:
        writer.write(np.zeros((12, 16, 16, 3), np.uint8))
    out = tmp_path / "film.mp4"
    whole = song.read_bytes()
    half = len(whole) // 2
    song.write_bytes(whole[:half] + bytes(half // 2) + whole[half + half // 2 :])
    assert main(["film", str(clips), "--music", str(song), "--length", "12s", "-o", str(out)]) == 4
    assert "song.mp4" in told(capsys)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["song.mp4"]


def test_a_file_that_is_no_video_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no video here")
    (tmp_path / "film.toml").write_text("")
    given = [str(tmp_path / name) for name in ("notes.txt", "film.toml")]
    assert main(["film", *given, "-o", str(tmp_path / "f.mp4")]) == 3
    lines = told(capsys)
    assert "notes.txt: its name is none of a video or picture" in lines[0]
    assert "a storyboard is rendered by itself" in lines[1]


def test_nothing_that_is_read_is_replaced(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clips" / "romance-0.mp4"
    shutil.copytree(clips / "romance", clip.parent)
    before = clip.read_bytes()
    board = tmp_path / "film.toml"
    board.write_text(f"[[shots]]\nverb = 'material'\nsource = '{clip}'\nlength_s = 0.2\n")
    for command in (
        ["rebuild", str(tmp_path / "run"), str(clip)],
        ["continue", str(tmp_path / "run"), str(clip)],
        ["film", str(clip)],
        ["film", str(clip.parent)],
        ["film", str(board)],
    ):
        assert main([*command, "-o", str(clip)]) == 6, command
        (line,) = told(capsys)
        assert "which is read; choose another name" in line
    assert clip.read_bytes() == before
    assert not list(tmp_path.glob("**/*.run"))


def test_a_file_of_others_beside_the_film_is_not_replaced(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.json").write_text("[1, 2]")
    assert main(["film", str(clips), "-o", str(tmp_path / "photo.mp4")]) == 6
    assert "photo.json: a file of that name is there and is not the record of a film" in told(capsys)[0]
    assert (tmp_path / "photo.json").read_text() == "[1, 2]"


def test_options_beside_a_storyboard_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "film.toml"
    board.write_text("[[shots]]\nverb = 'card'\nlength_s = 0.2\n")
    options = ["--length", "9s", "--music", "a.mp3", "--seed", "0", "--kind", "ad", "--sample"]
    options += ["--start", "starter", "--family", "ae"]
    assert main(["film", str(board), *options]) == 2
    (line,) = told(capsys)
    assert "--music, --length, --kind, --seed, --family, --start, --sample: not beside a storyboard" in line
    assert main(["film", str(board), "--device", "cpu"]) == 0
    assert (tmp_path / "film.mp4").is_file()


def test_an_edit_takes_the_options_it_can_and_refuses_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoreel.film import edit

    board, out = tmp_path / "film.toml", tmp_path / "film.otio"
    board.write_text("[[shots]]\nverb = 'card'\nlength_s = 0.2\n")
    options = ["--from", "0.1s", "--to", "0.2s", "--preview", "--quality", "draft", "--encoder", "av1", "--hardware"]
    options += ["--sign-cert", "a.pem", "--sign-key", "b.pem", "--no-watermark"]
    assert main(["film", str(board), "-o", str(out), *options]) == 2
    (line,) = told(capsys)
    refused = "--preview, --from, --to, --encoder, --quality, --hardware, --sign-cert, --sign-key"
    assert f"{refused}: not beside an edit" in line
    assert not out.exists()
    asked: dict[str, object] = {}
    monkeypatch.setattr(edit, "export", lambda *args, **how: asked.update(how) or out)
    assert main(["film", str(board), "-o", str(out), "--no-watermark", "--upscale", "learned"]) == 0
    assert asked["watermark"] is False and asked["upscale"] == "learned"
    capsys.readouterr()


def test_a_film_is_rendered_again_in_its_own_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "film.toml"
    board.write_text("[[shots]]\nverb = 'card'\nlength_s = 0.2\n")
    film = tmp_path / "film.mkv"
    assert main(["film", str(board), "-o", str(film)]) == 0
    for given in (board, tmp_path / "film.json"):
        film.unlink()
        film.touch()
        assert main(["film", str(given)]) == 0
        assert film.stat().st_size > 0
    assert not (tmp_path / "film.mp4").exists()
    capsys.readouterr()


def test_what_is_no_whole_film_does_not_take_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "film.toml"
    board.write_text("[[shots]]\nverb = 'card'\nlength_s = 0.4\n")
    assert main(["film", str(board), "-o", str(tmp_path / "film.mkv")]) == 0
    before = [(tmp_path / name).read_bytes() for name in ("film.mkv", "film.json")]
    for options, name in (
        (["--from", "0.2s"], "film.part.mkv"), (["--from", "0s", "--to", "0.2s"], "film.part.mkv"),
        (["--to", "0.2s"], "film.part.mkv"), (["--preview"], "film.preview.mp4"),
        (["--preview", "--from", "0.2s"], "film.preview.mp4"),
    ):  # fmt: skip
        capsys.readouterr()
        assert main(["film", str(board), *options]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / name)
        assert (tmp_path / name).with_suffix(".json").is_file()
    part = (tmp_path / "film.part.mkv").read_bytes()
    assert main(["film", str(tmp_path / "film.part.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "film.part.mkv")
    assert (tmp_path / "film.part.mkv").read_bytes() == part
    assert [(tmp_path / name).read_bytes() for name in ("film.mkv", "film.json")] == before
    assert main(["film", str(board), "--to", "0.2s", "-o", str(tmp_path / "film.mkv")]) == 0
    assert (tmp_path / "film.mkv").read_bytes() != before[0], "whoever names the film means it"


def test_mistakes_in_an_edited_storyboard_are_told_before_training(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.toml").write_text("[[shots]]\nlenght_s = 1\n")
    assert main(["film", str(clips), "-o", str(tmp_path / "film.mp4")]) == 2
    assert any("did you mean 'length_s'?" in line for line in told(capsys))
    (tmp_path / "film.toml").write_text("run = 'other.run'\n[[shots]]\nlength_s = 1\n")
    assert main(["film", str(clips), "-o", str(tmp_path / "film.mp4")]) == 5
    assert "other.run, which is not there" in told(capsys)[0]
    assert not (tmp_path / "film.run").exists()


def test_every_option_of_a_film_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is left out, and what would render the film tells what it was asked for."""
    from autoreel.film import commission
    from autoreel.generation.run import Run
    from autoreel.runs import RunFolder
    from autoreel.training import train
    from autoreel.training.begin import Wishes

    wishes: list[Wishes] = []
    asked: list[dict[str, Any]] = []

    def begun(path: Path, wished: Wishes, *others: object, **more: object) -> RunFolder:
        wishes.append(wished)
        return RunFolder.create(path, PRESETS["tiny"])

    def made(run: object, run_path: Path, out: Path, **options: object) -> None:
        asked.append({**options, "out": out})
        raise StoppedError("enough")

    monkeypatch.setattr(commission, "open_run", begun)
    monkeypatch.setattr(commission, "make_film", made)
    monkeypatch.setattr(commission, "_make_sample", lambda *given: ((), None))
    monkeypatch.setattr(commission, "prepare_into", lambda *given, **more: None)
    monkeypatch.setattr(train, "begin", lambda *given: None)
    monkeypatch.setattr(train, "train", lambda *given, **more: None)
    monkeypatch.setattr(Run, "open", lambda *given, **more: None)
    monkeypatch.chdir(tmp_path)
    options = ["--family", "ae", "--backbone", "transformer", "--start", "scratch", "--no-watermark", "--preview"]
    options += ["--from", "1s", "--to", "1:30", "--length", "2m"]
    options += ["--encoder", "h265", "--quality", "best", "--hardware"]
    assert main(["film", "--sample", *options]) == 130
    assert main(["film", "--sample", "--run", "b", "--discriminator", "fc", "-o", "look.mov", "--preview"]) == 130
    assert main(["film", "--sample", "--run", "c", "--to", "5s"]) == 130
    (one, other, part) = asked
    assert (wishes[0].family, wishes[0].backbone, wishes[0].start) == ("ae", "transformer", "scratch")
    assert not one["watermark"] and other["watermark"]
    assert (one["out"].name, str(one["rendered"])) == ("film.mp4", "film.preview.mp4")
    how = one["delivery"]
    assert (how.from_s, how.to_s, how.preview, how.hardware, how.shots_of) == (1, 90, True, True, one["out"])
    assert (how.codec, how.quality) == ("h265", "best")
    assert wishes[1].discriminator == "fc" and other["out"] == other["rendered"] == Path("look.mov")
    assert (str(part["out"]), str(part["rendered"])) == ("film.mp4", "film.part.mp4"), "a part takes no film's place"


def test_no_film_is_made_of_a_gan_whoever_asks_for_it(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from autoreel.config import with_parts
    from autoreel.runs import RunFolder

    gan = with_parts(PRESETS["tiny"], {"codec": {"family": "gan"}}, "test")
    (tmp_path / "gan.toml").write_text(dump_config(gan), encoding="utf-8")
    out = ["-o", str(tmp_path / "film.mp4")]
    assert main(["film", str(clips), "--config", str(tmp_path / "gan.toml"), *out]) == 2
    assert "gan.toml asks for family gan: no film is made of it" in told(capsys)[0]
    RunFolder.create(tmp_path / "film.run", gan)
    assert main(["film", str(clips), *out]) == 2
    assert "film.run is of family gan: no film is made of it" in told(capsys)[0]


def test_a_config_tells_all_its_problems(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[codec]\nwidht = 3\n[prior]\ndepth = -1\n", encoding="utf-8")
    assert main(["film", str(clips), "--config", str(config), "-o", str(tmp_path / "film.mp4")]) == 2
    lines = told(capsys)
    assert len(lines) == 2 and all(str(config) in line for line in lines)
    assert "did you mean 'widths'?" in lines[0] and "prior.depth" in lines[1]


def test_every_preset_survives_its_file(tmp_path: Path) -> None:
    for name, config in PRESETS.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(dump_config(config), encoding="utf-8")
        assert load_config(path) == config


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command goes on"),
        (StoppedError("stopped at step 7; the same command goes on"), 130, "stopped at step 7"),
        (OSError(errno.ENOSPC, "No space left on device", "film.mp4"), 6, "cannot write film.mp4: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "clip.mp4"), 1, "cannot read clip.mp4: there is no such file"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "not enough memory; use a smaller preset"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "not enough memory"),
        (RuntimeError("two\nlines"), 1, "RuntimeError: two lines (this is a bug in autoreel; --debug shows where)"),
    ],
)
def test_whatever_goes_wrong_later_is_one_line_too(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*sources: object) -> list[FootageError]:
        raise error

    monkeypatch.setattr(preflight, "check_footage", fail)
    assert main(["film", "anything"]) == code
    shown = capsys.readouterr().err
    assert words in shown and len(shown.splitlines()) == 1
    assert main(["film", "anything", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_end_is_a_clean_stop(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def half_done(path: Path, out: Path) -> None:
        with atomic_path(tmp_path / "film.mp4") as part:
            part.write_text("half")
            os.kill(os.getpid(), number)
            time.sleep(10)

    monkeypatch.setattr(preflight, "check_storyboard", half_done)
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under `nohup`
    try:
        assert main(["film", "film.toml"]) == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_what_goes_on_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(path: Path, endings: object, inputs: object = ()) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preflight, "check_output", stop)
    assert main(["generate", "run"]) == 130
    assert capsys.readouterr().err == "stopped; nothing half done is left\n"


def test_what_follows_two_dashes_is_no_switch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "-o", "store", "--", "--debug"]) == 3
    assert "--debug: no such file or folder" in told(capsys)[0]


def test_the_jail_is_given_up_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    from autoreel.media import jail

    asked: list[bool] = []
    monkeypatch.setattr(jail, "unsafe_no_jail", lambda: asked.append(True))
    main(["film", "absent-folder"])
    assert not asked
    main(["film", "absent-folder", "--unsafe-no-jail"])
    assert asked


def test_doctor_looks_at_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick"]) == 0
    shown = capsys.readouterr().out
    for words in ("torch", "matrix units", "GB free", "jail", "encoders H.264", "GPU"):
        assert words in shown
    assert all(line[:7] in ("ok     ", "note   ", "MISSING") for line in shown.splitlines())


def test_a_count_stays_in_its_line_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from autoreel.commands.notes import Notes

    lines = ("film: 1 of 9 frames, 8 s left", "film: 9 of 9 frames, 0 s left", "ready")
    note = Notes()
    for line in lines:
        note(line)
    assert capsys.readouterr().err.splitlines() == list(lines), "in a file every line stands by itself"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for line in lines:
        note(line)
    assert capsys.readouterr().err == f"{lines[0]}\r\x1b[K{lines[1]}\n{lines[2]}\n"
    note(lines[0])
    note.end()
    note.end()
    assert capsys.readouterr().err == f"{lines[0]}\n"


def test_steps_beside_a_budget_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--run", "new-run", "--steps", "9", "--budget", "1m"]) == 2
    assert any("--steps and --budget both say how long to train" in line for line in told(capsys))
    assert not (tmp_path / "new-run").exists()
