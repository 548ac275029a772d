"""The commands in a row, as a person types them: what one writes, the next one reads. Real decoding and encoding."""

from __future__ import annotations

import functools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models.peers import saved

import autoreel
from autoreel.cli import main
from autoreel.config import (
    PRESETS,
    CodecConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    PriorConfig,
    TrainingConfig,
    dump_config,
)
from autoreel.data.sample import render_sample_footage, write_sample_music
from autoreel.data.store import FootageStore
from autoreel.errors import RunError
from autoreel.film.batches import Wanted, make_shots
from autoreel.generation.run import Options, Run
from autoreel.generation.verbs import Maker
from autoreel.media.decode import decode, first_frame, read_clip, read_sound
from autoreel.media.probe import probe
from autoreel.runs import RunFolder

SMALLEST = Config(
    preset="tiny",
    data=DataConfig(height=32, width=32, validation_share=0.2, test_share=0.0),
    codec=CodecConfig(latent_channels=4, widths=(16, 16, 16), encoder_depths=(0, 1, 1), decoder_depths=(1, 1, 0)),
    discriminator=DiscriminatorConfig(width=8),
    prior=PriorConfig(width=32, depth=1, heads=1, window=3, steps=2),
    training=TrainingConfig(codec_batch=2, codec_frames=5, prior_batch=2, adversary_start=0.5, threads=1),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with footage of two labels, one broken file, music and a config."""
    folder = tmp_path_factory.mktemp("chain")
    render_sample_footage(
        folder / "footage", kinds=("ad", "romance"), clips_per_kind=3, clip_s=1.2, size=(64, 64)
    )
    (folder / "footage" / "ad" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    write_sample_music(folder / "song.wav", length_s=8.0)
    (folder / "small.toml").write_text(dump_config(SMALLEST), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def film(place: Path) -> Path:
    """The film that the one command makes."""
    out = place / "out" / "film.mp4"
    code = main([
        "film", str(place / "footage"), "--music", str(place / "song.wav"), "--length", "5s", "--budget", "6 steps",
        "--config", str(place / "small.toml"), "--title", "Two words", "--seed", "3", "-o", str(out), "--debug",
    ])  # fmt: skip
    assert code == 0
    return out


@pytest.fixture(scope="module")
def run(film: Path) -> Path:
    """The run folder that the film left."""
    return film.with_suffix(".run")


def test_the_film_is_what_was_asked_for(film: Path) -> None:
    info = probe(film)
    assert info.codec == "h264" and info.has_sound
    clip = read_clip(film)
    rate = clip.rate
    assert len(clip.frames) == 5 * rate, "exact to the frame"
    assert clip.frames.shape[1] == clip.frames.shape[2] and clip.frames.shape[1] % 2 == 0
    assert abs(read_sound(film).duration_s - 5.0) <= 1 / rate
    middle = clip.frames[len(clip.frames) // 4 : -len(clip.frames) // 4]
    assert middle.std() > 8, "something is to be seen"


def test_the_record_says_that_it_is_generated(film: Path) -> None:
    record = json.loads(film.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["ai_generated"] is True
    assert record["storyboard"]["shots"]


def test_one_broken_file_is_left_out_with_a_reason(run: Path) -> None:
    store = FootageStore.open(run / "footage")
    assert store.labels == ("ad", "romance") and store.size == (32, 32)
    rejects = [json.loads(line) for line in (run / "footage" / "rejects.jsonl").read_text().splitlines()]
    assert [Path(row["file"]).name for row in rejects] == ["broken.mp4"]
    assert rejects[0]["reason"]


def test_the_same_command_has_nothing_left_to_train(
    film: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (film.with_suffix(".run") / "codec.safetensors").read_bytes()
    again = [
        "film", str(place / "footage"), "--music", str(place / "song.wav"), "--length", "5s", "--budget", "6 steps",
        "-o", str(film),
    ]  # fmt: skip
    before = read_clip(film).frames
    assert main([*again, "--title", "Two words", "--seed", "3"]) == 0
    told = capsys.readouterr().err
    assert "already trained" in told and "already prepared" in told
    assert (film.with_suffix(".run") / "codec.safetensors").read_bytes() == weights
    np.testing.assert_array_equal(read_clip(film).frames, before)


def test_the_storyboard_can_be_edited_and_rendered_again(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = film.with_suffix(".toml")
    text = board.read_text(encoding="utf-8")
    edited = film.with_name("edited.toml")
    edited.write_text(text.replace("Two words", "Other words"), encoding="utf-8")
    assert main(["film", str(edited)]) == 0
    assert capsys.readouterr().out.strip() == str(film.with_name("edited.mp4"))
    assert len(read_clip(film.with_name("edited.mp4")).frames) == len(read_clip(film).frames)


def test_the_same_command_renders_what_was_edited(film: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = film.with_suffix(".toml")
    text = board.read_text(encoding="utf-8")
    edited = text + '\n[[shots]]\nverb = "card"\nlength_s = 0.4\n'
    board.write_text(edited, encoding="utf-8")
    command = ["film", str(place / "footage"), "--length", "5s", "--budget", "6 steps", "-o", str(film)]
    assert main(command) == 0
    line = "film.toml was edited and is rendered as it stands (5.40 s, song.wav), not with --length 5s"
    assert line in capsys.readouterr().err
    assert len(read_clip(film).frames) == 135 and board.read_text(encoding="utf-8") == edited
    board.write_text(text, encoding="utf-8")
    assert main(["film", str(board)]) == 0  # for the tests that follow: the film as it was
    assert len(read_clip(film).frames) == 125


def test_one_model_makes_several_films(film: Path, run: Path, place: Path) -> None:
    """Another seed is another film and not another training; left out, it is that of the training."""
    command = ["film", str(place / "footage"), "--length", "1s", "--budget", "6 steps", "--run", str(run)]
    seeds = {}
    for name, options in (("left-out", []), ("three", ["--seed", "3"]), ("four", ["--seed", "4"])):
        out = place / "several" / f"{name}.mp4"
        assert main([*command, *options, "-o", str(out)]) == 0
        seeds[name] = re.findall(r"^seed = (\d+)$", out.with_suffix(".toml").read_text(), re.MULTILINE)
    assert seeds["left-out"] == seeds["three"] != seeds["four"]
    assert autoreel.load(run).config.training.seed == 3


def test_a_picture_is_rebuilt(run: Path, place: Path) -> None:
    picture = place / "picture.png"
    Image.new("RGB", (40, 30), "#3366cc").save(picture)
    out = place / "picture-again.mp4"
    assert main(["rebuild", str(run), str(picture), "-o", str(out)]) == 0
    assert len(read_clip(out).frames) == 1


def test_shots_made_side_by_side_are_those_made_alone(run: Path) -> None:
    """Up to rounding: matrix products of several clips at once may be added up in another order."""
    opened = autoreel.load(run, device="cpu")
    wanted = [Wanted(number, label, 7 * number, 9 + number) for number, label in enumerate((None, "ad", "romance"), 1)]
    for shot, (number, frames) in zip(wanted, make_shots(opened, wanted, {}), strict=True):
        alone = opened.generate(shot.label, shot.count, shot.seed)
        assert number == shot.number and frames.shape == alone.shape
        apart = np.abs(frames.astype(int) - alone)
        assert apart.mean() < 0.5 and apart.max() <= 16, (apart.mean(), apart.max())


def test_step_by_step_gives_a_run_as_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run = place / "store", place / "runs" / "steps"
    assert main(["prepare", str(place / "footage"), "-o", str(store), "--preset", "tiny", "--fps", "12.5"]) == 0
    assert capsys.readouterr().out.strip() == str(store)
    assert FootageStore.open(store).rate == Fraction(25, 2)
    as_prepared = SMALLEST.model_copy(update={"data": PRESETS["tiny"].data})
    (place / "large.toml").write_text(dump_config(as_prepared), encoding="utf-8")
    common = ["train", str(store), "--run", str(run), "--config", str(place / "large.toml")]
    assert main([*common, "--steps", "2", "--stage", "codec"]) == 0
    with pytest.raises(RunError, match="prior is not trained"):
        autoreel.load(run).generate(num_frames=5)
    assert main([*common, "--steps", "2", "--stage", "prior"]) == 0
    assert autoreel.load(run).generate(num_frames=5).shape == (5, 64, 64, 3)


def test_a_run_generates_clips_of_a_label(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "clips" / "ad.mp4"
    arguments = ["generate", str(run), "--label", "ad", "--length", "0.8s", "--seed", "5", "-o", str(out)]
    assert main([*arguments, "--count", "2"]) == 0
    first, second = (Path(line) for line in capsys.readouterr().out.split())
    assert [first.name, second.name] == ["ad-0.mp4", "ad-1.mp4"]
    assert len(read_clip(first).frames) == 20
    opened = autoreel.load(run)
    whole = opened.generate(label="ad", num_frames=20, seed=5)
    assert whole.shape == (20, 32, 32, 3) and whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - read_clip(first).frames).mean() < 12, "the file shows what the API gives"
    assert "generated" in "".join(str(value) for value in file_tags(first).values()).lower()


def test_clips_go_on_move_and_come_back(run: Path, place: Path) -> None:
    clip = place / "footage" / "romance" / "romance-0.mp4"
    outs = {name: place / f"{name}.mp4" for name in ("continued", "animated", "rebuilt")}
    assert main(["continue", str(run), str(clip), "--length", "0.4s", "-o", str(outs["continued"])]) == 0
    assert main(["animate", str(run), str(clip), "--length", "0.4s", "-o", str(outs["animated"])]) == 0
    assert main(["rebuild", str(run), str(clip), "-o", str(outs["rebuilt"])]) == 0
    lengths = {name: len(read_clip(path).frames) for name, path in outs.items()}
    assert lengths == {"continued": 30 + 10, "animated": 10, "rebuilt": 30}


def test_every_verb_of_two_ends_makes_its_takes(run: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip, picture = place / "footage" / "romance" / "romance-0.mp4", place / "verbs" / "%02d.png"
    assert main(["slow", str(run), str(clip), "--factor", "1.5", "-o", str(picture)]) == 0
    assert len(list(picture.parent.glob("*.png"))) == 1 + int(29 * 1.5)
    assert json.loads((place / "verbs.drift.json").read_text())["made"]["factor"] == "1.5"
    still, out = str(sorted(picture.parent.glob("*.png"))[0]), str(place / "verb.mp4")
    short = ["--length", "0.32s", "-o", out]
    for arguments, expected in (
        (["between", str(run), str(clip), still, "--count", "2", *short], 30 + 8 + 4),
        (["loop", str(run), str(clip), "--count", "2", *short], 30 + 8),
        (["vary", str(run), str(clip), "--strength", "0.5", "--count", "2", "--seed", "4", *short], 8),
        (["morph", str(run), str(clip), still, *short], 8),
    ):
        capfd.readouterr()
        assert main(arguments) == 0
        told = capfd.readouterr()
        paths = [Path(line) for line in told.out.split()]
        assert [len(read_clip(path).frames) for path in paths] == [expected] * (1 if arguments[0] == "morph" else 2)
    assert (kept := json.loads((place / "verb-1.drift.json").read_text()))["made"]["seed"] == 5
    assert kept["level"] is not None and kept["made"]["verb"] == "vary"
    assert json.loads((place / "verb.drift.json").read_text())["made"]["verb"] == "morph"
    assert main(["generate", str(run), "--sampler", "gaussian", *short]) == 0
    assert json.loads((place / "verb.drift.json").read_text())["made"]["sampler"] == "gaussian"


def test_as_much_of_a_clip_is_taken_as_is_asked_for(run: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip, out = place / "footage" / "romance" / "romance-0.mp4", place / "part.mp4"
    for verb, more, expected in (("rebuild", [], 8), ("slow", ["--factor", "2"], 15), ("vary", [], 8)):
        assert main([verb, str(run), str(clip), "--length", "0.32s", *more, "-o", str(out)]) == 0
        assert len(read_clip(out).frames) == expected
        kept = json.loads((place / "part.drift.json").read_text())
        assert kept["made"]["verb"] == verb and kept["seconds"] == 1 and kept["level"] is not None
        assert "part.mp4: beside the footage" in capfd.readouterr().err


def test_the_solver_is_chosen(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, takes = [], Run.takes

    def noted(self: Run, labels: Sequence[str | None], seeds: Sequence[int], options: Options) -> Maker:
        asked.append(options.solver)
        return takes(self, labels, seeds, options)

    monkeypatch.setattr(Run, "takes", noted)
    out = place / "solved.mp4"
    assert main(["generate", str(run), "--length", "0.2s", "--solver", "heun", "-o", str(out)]) == 0
    assert asked == ["heun"]
    made = json.loads((place / "solved.drift.json").read_text())["made"]
    assert (made["solver"], made["sampler"]) == ("heun", "prior") and made["steps"] and made["guidance"]
    assert main(["generate", str(run), "--guidance", "nan", "--steps", "0", "-o", str(out)]) == 2
    assert main(["generate", str(run), "--sampler", "normal", "--label", "ad", "-o", str(out)]) == 2
    assert main(["generate", str(run), "--solver", "hein", "-o", str(out)]) == 2


def test_endings_choose_the_format(run: Path, place: Path) -> None:
    gif, pictures = place / "clip.gif", place / "pictures"
    assert main(["generate", str(run), "--length", "0.2s", "-o", str(gif)]) == 0
    assert sum(len(chunk.frames) for chunk in decode(gif)) == 5
    assert main(["generate", str(run), "--length", "0.2s", "-o", str(pictures / "%05d.png")]) == 0
    assert len(sorted(pictures.glob("*.png"))) == 5
    assert first_frame(sorted(pictures.glob("*.png"))[0]).shape == (32, 32, 3)


def test_a_storyboard_is_written_for_a_run(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = place / "boards" / "plan.toml"
    assert main(["storyboard", str(run), "--length", "4s", "--kind", "romance", "-o", str(board)]) == 0
    assert capsys.readouterr().out.strip() == str(board)
    assert main(["film", str(board), "-o", str(place / "plan.webm")]) == 0
    assert re.match("vp8|vp9", str(probe(place / "plan.webm").codec))


def test_wrong_words_to_a_run_are_one_line(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    footage = str(place / "footage")
    for arguments, code, words in (
        (["generate", str(run), "--label", "adverb", "-o", str(place / "x.mp4")], 2, "did you mean 'ad'?"),
        (["generate", str(run), "--length", "0.001s", "-o", str(place / "x.mp4")], 2, "shorter than one frame"),
        (["train", footage, "--run", str(run), "--fit", "letterbox", "--steps", "6"], 2, "was begun with --fit crop"),
        (["train", str(place / "footage" / "ad"), "--run", str(run), "--steps", "6"], 5, "other footage"),
    ):
        assert main(arguments) == code
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("autoreel: ")]
        assert len(told) == 1 and words in told[0]
    assert not (place / "x.mp4").exists()


def test_the_python_page_runs_as_it_stands(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "python.md"
    code = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = film.with_name("page.py")
    script.write_text("\n".join(code), encoding="utf-8")
    monkeypatch.chdir(film.parent)
    names = runpy.run_path(str(script))
    assert names["moving"].shape == (9, 32, 32, 3)
    assert film.with_name("clip.mp4").exists()


def test_without_footage_the_program_makes_its_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = functools.partial(render_sample_footage, clips_per_kind=1, clip_s=1.0, size=(64, 64))
    monkeypatch.setattr("autoreel.data.sample.render_sample_footage", fewer)
    out = place / "sample.mp4"
    command = ["film", "--sample", "--length", "3s", "--budget", "2 steps", "--config", str(place / "small.toml")]
    assert main([*command, "-o", str(out)]) == 0
    assert autoreel.load(place / "sample.run").labels == ("ad", "romance", "travel")
    assert probe(out).has_sound, "with music of its own"
    assert len(read_clip(out).frames) == 75


def test_ctrl_c_saves_and_the_same_command_goes_on(place: Path) -> None:
    run = place / "runs" / "stopped"
    command = [
        sys.executable, "-m", "autoreel", "train", str(place / "footage"), "--run", str(run), "--stage", "codec",
        "--config", str(place / "small.toml"), "--steps",
    ]  # fmt: skip
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    process = subprocess.Popen([*command, "100000"], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("codec "):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    told = [line for line in rest.splitlines() if line.startswith("autoreel: ")]
    assert len(told) == 1 and "the same command goes on" in told[0]
    again = subprocess.run([*command, "2"], capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr
    assert (run / "codec.safetensors").exists()


def test_a_film_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "film.toml").write_text("[[shots]]\nverb = 'card'\nlength_s = 3600\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "autoreel", "film", "film.toml"], stderr=subprocess.PIPE, text=True, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline().startswith("film: ")
    assert any(path.name.endswith(".part.mp4") for path in tmp_path.iterdir()), "it is being written"
    process.terminate()
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 143
    assert rest.splitlines()[-1] == "stopped; the same command goes on from what is saved"
    assert [path.name for path in tmp_path.iterdir()] == ["film.toml"]


def file_tags(path: Path) -> dict[str, str]:
    """The metadata of a file of our own."""
    import av

    with av.open(str(path)) as container:
        return dict(container.metadata)


@pytest.mark.filterwarnings("ignore")  # those of the library
def test_a_film_is_made_on_a_codec_that_others_trained(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers", reason="the extra `pretrained` is not installed")
    codec = saved("wan", tmp_path)
    monkeypatch.chdir(tmp_path)
    code = main([
        "film", str(place / "footage"), "--length", "3s", "--budget", "3 steps", "--config", str(place / "small.toml"),
        "--codec", f"diffusers:{codec.name}", "-o", "film.mp4", "--debug",
    ])  # fmt: skip
    assert code == 0
    pretrained = RunFolder.open(tmp_path / "film.run").config.pretrained
    assert pretrained is not None and pretrained.source == f"diffusers:{codec}"
    assert len(read_clip(tmp_path / "film.mp4").frames) > 60
    monkeypatch.chdir("/")
    assert main(["generate", str(tmp_path / "film.run"), "--length", "1s", "-o", str(tmp_path / "clip.mp4")]) == 0
