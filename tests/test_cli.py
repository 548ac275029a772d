"""The command line: help, exit codes, one clear line for each error, everything wrong told at once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import autoreel
from autoreel import preflight
from autoreel.cli import COMMANDS, main
from autoreel.config import dump_config, load_config
from autoreel.data.sample import render_sample_footage
from autoreel.errors import FootageError, StoppedError


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


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import inspect

    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    for parameter in inspect.signature(COMMANDS[name]).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert f"--{parameter.name}" in shown
    text = inspect.getdoc(COMMANDS[name]) or ""
    for parameter in inspect.signature(COMMANDS[name]).parameters.values():
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
        (["prepare", "-o", "store"], 2, "give a folder of footage"),
        (["prepare", "absent-folder", "-o", "store"], 3, "no such file or folder"),
        (["train", "--run", "new-run"], 2, "give a folder of footage"),
        (["generate", "absent-run"], 5, "absent-run does not exist"),
        (["generate", "absent-run", "--count", "0"], 2, "--count 0"),
        (["animate", "absent-run", "absent.png"], 4, "absent.png: no such file (the picture)"),
        (["rebuild", "absent-run", "absent.mp4"], 4, "absent.mp4: no such file (the clip)"),
        (["storyboard", "absent-run", "-o", "plan.mp4"], 2, "use .toml"),
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


def test_a_config_tells_all_its_problems(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[codec]\nwidht = 3\n[prior]\ndepth = -1\n", encoding="utf-8")
    assert main(["film", str(clips), "--config", str(config), "-o", str(tmp_path / "film.mp4")]) == 2
    lines = told(capsys)
    assert len(lines) == 2 and all(str(config) in line for line in lines)
    assert "did you mean 'widths'?" in lines[0] and "prior.depth" in lines[1]


def test_every_preset_survives_its_file(tmp_path: Path) -> None:
    from autoreel.config import PRESETS

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
        (MemoryError(), 1, "not enough memory"),
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
    from autoreel.commands import Notes

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
