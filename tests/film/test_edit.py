"""Exported edits hold what the storyboard says: every clip, its place, file and handles; and parse as their formats."""

import importlib
import importlib.util
import json
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from tests.film.conftest import StripedRun

from autoreel.clip import Sound
from autoreel.errors import ConfigError, OutputError, RunError, UsageError
from autoreel.film.delivery import Delivery
from autoreel.film.document import load_storyboard, save_storyboard
from autoreel.film.edit import Painted, export, painted
from autoreel.film.layout import lay_out
from autoreel.film.renderer import render
from autoreel.film.soundtrack import soundtrack
from autoreel.film.storyboard import Storyboard
from autoreel.media.captions import Caption, read_captions
from autoreel.media.decode import read_clip
from autoreel.media.encode import VideoWriter
from autoreel.media.probe import probe


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Three shots, two of which are rendered for the edit, a title, music."""
    with VideoWriter(tmp_path / "clip.mp4", (48, 64), Fraction(25)) as writer:
        writer.write(np.full((75, 48, 64, 3), 90, np.uint8))
    sound = Sound(np.full((4 * 48_000, 2), 0.1, np.float32), 48_000)
    with VideoWriter(tmp_path / "song.mkv", (48, 64), Fraction(25), sound=sound) as writer:
        writer.write(np.zeros((100, 48, 64, 3), np.uint8))
    storyboard = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 64, "height": 48, "rate": 25},
        "music": {"file": str(tmp_path / "song.mkv"), "start_s": 0.4},
        "titles": [{"text": "A & B\n<c>", "start_s": 0.2, "length_s": 1.0}],
        "shots": [
            {"length_s": 1.0, "label": "red"},
            {"verb": "material", "source": str(tmp_path / "clip.mp4"), "in_s": 0.4, "length_s": 1.2,
             "transition": {"kind": "fade", "length_s": 0.4}},
            {"length_s": 0.8, "effects": [{"name": "grain"}], "transition": {"kind": "wipe-left", "length_s": 0.2}},
        ],
    })  # fmt: skip
    return save_storyboard(storyboard, tmp_path / "film.toml")


def _file(url: str) -> Path:
    return Path(unquote(urlparse(url).path))


def test_opentimelineio(tmp_path: Path, board: Path, striped_run: Any) -> None:
    timeline = json.loads(export(board, tmp_path / "film.otio", run=striped_run).read_text())
    assert timeline["OTIO_SCHEMA"] == "Timeline.1"
    pictures, music = timeline["tracks"]["children"]
    assert [child["OTIO_SCHEMA"] for child in pictures["children"]] == [
        "Clip.2", "Transition.1", "Clip.2", "Transition.1", "Clip.2"
    ]  # fmt: skip
    clips = pictures["children"][::2]
    assert [clip["source_range"]["duration"]["value"] for clip in clips] == [25, 30, 20]
    assert [clip["source_range"]["start_time"]["value"] for clip in clips] == [0, 15, 2]
    for clip in clips:
        media = clip["media_references"][clip["active_media_reference_key"]]
        shown, there = clip["source_range"], media["available_range"]
        assert probe(_file(media["target_url"])).width == 64
        assert shown["start_time"]["value"] + shown["duration"]["value"] <= there["duration"]["value"]
    first = clips[0]["media_references"]["DEFAULT_MEDIA"]["available_range"]["duration"]["value"]
    assert first == 30, "five more frames for the crossfade that follows"
    fade = pictures["children"][1]
    assert fade["transition_type"] == "SMPTE_Dissolve"
    assert (fade["in_offset"]["value"], fade["out_offset"]["value"]) == (5, 5)
    (song,) = music["children"]
    assert music["kind"] == "Audio" and song["source_range"]["start_time"]["value"] == 0
    assert _file(song["media_references"]["DEFAULT_MEDIA"]["target_url"]) == tmp_path / "film.media" / "music.wav"
    (marker,) = timeline["tracks"]["markers"]
    assert marker["name"] == "A & B\n<c>" and marker["marked_range"]["start_time"]["value"] == 5


def test_opentimelineio_is_read_by_its_own_library(tmp_path: Path, board: Path, striped_run: Any) -> None:
    if importlib.util.find_spec("opentimelineio") is None:
        pytest.skip("opentimelineio is not installed")
    otio = importlib.import_module("opentimelineio")
    timeline = otio.adapters.read_from_file(str(export(board, tmp_path / "film.otio", run=striped_run)))
    assert timeline.duration().to_seconds() == pytest.approx(3.0)
    assert len(timeline.video_tracks()[0].find_clips()) == 3


def test_final_cut_pro(tmp_path: Path, board: Path, striped_run: Any) -> None:
    path = export(board, tmp_path / "film.fcpxml", run=striped_run)
    assert path.read_text().startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>')
    root = xml.fromstring(path.read_text())
    assets = {asset.get("id"): asset for asset in root.iter("asset")}
    spine = next(root.iter("spine"))
    assert [child.tag for child in spine] == ["asset-clip", "transition", "asset-clip", "transition", "asset-clip"]
    at = Fraction(0)
    for clip in spine.findall("asset-clip"):
        offset, start, length = (_time(clip.get(key)) for key in ("offset", "start", "duration"))
        assert offset == at
        asset = assets[clip.get("ref")]
        assert start + length <= _time(asset.get("duration"))
        source = asset.find("media-rep")
        assert source is not None and _file(source.get("src") or "").is_file()
        at += length
    assert at == 3 == _time(next(root.iter("sequence")).get("duration"))
    title = next(root.iter("title"))
    assert "".join(title.itertext()).strip() == "A & B\n<c>" and _time(title.get("offset")) == Fraction(1, 5)
    music = [clip for clip in root.iter("asset-clip") if clip.get("lane") == "-1"]
    assert len(music) == 1 and _time(music[0].get("start")) == 0 and _time(music[0].get("duration")) == 3


def _time(text: str | None) -> Fraction:
    assert text is not None and text.endswith("s")
    return Fraction(text[:-1])


def test_another_ending_is_none(tmp_path: Path, board: Path, striped_run: Any) -> None:
    with pytest.raises(UsageError, match=r"ends in \.otio or \.fcpxml"):
        export(board, tmp_path / "film.edl", run=striped_run)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storyboard and both its edits: material of 30 frames a second, muted and heard; a dip, a way, short music."""
    tmp_path = tmp_path_factory.mktemp("heard")
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * 48_000, 2)).astype(np.float32)
    frames = np.random.default_rng(1).integers(0, 60, (90, 48, 64, 3)).astype(np.uint8)
    frames += np.linspace(0, 180, 90).astype(np.uint8)[:, None, None, None]
    for name, rate, sound in (("clip.mp4", 30, noise), ("song.mkv", 25, noise[: 48_000])):
        with VideoWriter(tmp_path / name, (48, 64), Fraction(rate), sound=Sound(sound, 48_000)) as writer:
            writer.write(frames if name == "clip.mp4" else frames[:25])
    (tmp_path / "said.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nsaid\n")
    clip = {"verb": "material", "source": str(tmp_path / "clip.mp4")}
    storyboard = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 32, "height": 32, "rate": 25, "fit": "letterbox"},
        "opening": {"length_s": 0.2, "color": "#ff0000"}, "ending": {"length_s": 0.2},
        "music": {"file": str(tmp_path / "song.mkv"), "fade_out_s": 1.0, "volume_db": -6},
        "voices": [{"file": str(tmp_path / "song.mkv"), "start_s": 1.01, "out_s": 0.5}],
        "captions": {"file": str(tmp_path / "said.srt")},
        "titles": [
            {"text": "a\ufffeb\nc\uffff", "start_s": 0.2, "length_s": 9.0, "place": "upper", "color": "#ff0000"},
            {"text": "\uffff"},
        ],
        "shots": [
            {**clip, "length_s": 1.0},
            {**clip, "length_s": 1.6, "volume_db": -6, "transition": {"kind": "dip", "length_s": 0.4}},
            {**clip, "length_s": 1.0, "volume_db": 3, "effects": [{"name": "grain"}],
             "transition": {"kind": "fade", "length_s": 0.4}},
            {"verb": "card", "length_s": 1.0, "transition": {"kind": "morph", "length_s": 0.4}},
        ],
    })  # fmt: skip
    board = save_storyboard(storyboard, tmp_path / "film.toml")
    for ending in (".otio", ".fcpxml"):
        export(board, board.with_suffix(ending), run=StripedRun())  # type: ignore[arg-type]
    return board


def _otio(board: Path) -> Any:
    return json.loads(board.with_suffix(".otio").read_text())["tracks"]


def test_sounds_are_files_that_add_up_to_the_film(heard: Path) -> None:
    tracks = _otio(heard)["children"]
    assert [track["name"] for track in tracks] == ["pictures", "music", "voice", "clip", "clip 2"]
    board = load_storyboard(heard)
    layout = lay_out(board)
    sound = soundtrack(board, layout)
    assert sound is not None
    whole = np.concatenate(list(sound.blocks))
    total = np.zeros_like(whole)
    for track in tracks[1:]:
        at = 0
        for child in track["children"]:
            length = round(child["source_range"]["duration"]["value"])
            if child["OTIO_SCHEMA"] == "Clip.2":
                with wave.open(str(_file(child["media_references"]["DEFAULT_MEDIA"]["target_url"]))) as file:
                    assert file.getnframes() == length * 48_000 // 25
                    samples = np.frombuffer(file.readframes(1 << 30), "<i2").reshape(-1, 2) / 32767
                total[at * 1920 : at * 1920 + len(samples)] += samples
            at += length
    assert np.abs(total - whole).max() < 1e-3 and np.abs(whole).max() > 0.1


def test_what_is_not_heard_is_not_exported_audible(heard: Path) -> None:
    root = xml.fromstring(heard.with_suffix(".fcpxml").read_text())
    with_sound = {asset.get("id") for asset in root.iter("asset") if asset.get("hasAudio") and asset.get("hasVideo")}
    clips = [clip for clip in root.iter("asset-clip") if clip.get("ref") in with_sound]
    assert len(clips) == 2 and all(clip.get("srcEnable") == "video" for clip in clips)
    sounds = [clip for clip in root.iter("asset-clip") if clip.get("lane")]
    assert sorted(clip.get("audioRole") or "" for clip in sounds) == ["dialogue", "effects", "effects", "music"]


def test_every_file_has_the_format_of_its_pictures(heard: Path) -> None:
    root = xml.fromstring(heard.with_suffix(".fcpxml").read_text())
    formats = {found.get("id"): (found.get("width"), found.get("frameDuration")) for found in root.iter("format")}
    of_file = {asset.get("name"): formats[asset.get("format")] for asset in root.iter("asset") if asset.get("hasVideo")}
    assert of_file["clip.mp4"] == ("64", "1/30s") and of_file["shot-03.mp4"] == ("32", "1/25s")
    assert next(root.iter("sequence")).get("format") == "r1" and formats["r1"] == ("32", "1/25s")


def test_no_text_keeps_an_edit_from_being_read(heard: Path) -> None:
    root = xml.fromstring(heard.with_suffix(".fcpxml").read_text())
    first, caption = sorted(root.iter("title"), key=lambda title: title.get("lane") or "")
    assert "".join(first.itertext()).strip() == "ab\nc" and "".join(caption.itertext()).strip() == "said"
    assert _time(first.get("duration")) == Fraction(22, 5), "to the end of the film"
    style, position = first.find("text-style-def/text-style"), first.find("param")
    assert style is not None and style.get("fontColor") == "1 0 0 1"
    assert position is not None and position.get("value") == "0 12"
    assert read_captions(heard.parent / "film.media" / "captions.srt") == [Caption(0.5, 1.5, "said")]
    markers = _otio(heard)["markers"]
    assert [(mark["name"], mark["comment"]) for mark in markers] == [("ab\nc", "title"), ("said", "caption")]
    span = markers[1]["marked_range"]
    assert (span["start_time"]["value"], span["duration"]["value"]) == (13, 25), "as the film shows it"


def test_what_no_format_has_is_painted_as_in_the_film(tmp_path: Path, heard: Path, striped_run: Any) -> None:
    pictures = _otio(heard)["children"][0]["children"]
    assert [child["name"] for child in pictures] == [
        "opening", "01 material", "dip-02", "02 material", "fade", "03 material", "way-04", "04 card", "ending"
    ]  # fmt: skip
    clips = [child for child in pictures if child["OTIO_SCHEMA"] == "Clip.2"]
    lengths = [round(clip["source_range"]["duration"]["value"]) for clip in clips]
    assert lengths == [5, 15, 10, 35, 20, 10, 15, 5]
    plain = load_storyboard(heard).model_copy(update={"titles": (), "captions": None})
    render(plain, striped_run, tmp_path / "whole.mp4", watermark=False, delivery=Delivery(quality="best"))
    film, at = read_clip(tmp_path / "whole.mp4").frames.astype(int), 0
    for clip, length in zip(clips, lengths, strict=True):
        first = round(clip["source_range"]["start_time"]["value"])
        file = _file(clip["media_references"]["DEFAULT_MEDIA"]["target_url"])
        if file.name in ("opening.mp4", "dip-02.mp4", "way-04.mp4", "ending.mp4"):
            shown = read_clip(file).frames[first : first + length].astype(int)
            assert np.abs(shown - film[at : at + length]).mean() < 6, file.name
        at += length
    before = clips[1]["source_range"]
    assert before["start_time"]["value"] == 5, "the opening lies over the beginning of the clip, which keeps it"
    assert before["start_time"]["value"] + before["duration"]["value"] + 5 <= 75, "and the dip over its end"


def test_what_is_painted_over_a_fade_holds_all_of_it() -> None:
    shots = [{"verb": "card", "length_s": 1.0}, {"verb": "card", "length_s": 1.0, "transition": {"length_s": 0.4}}]
    board = Storyboard.model_validate({
        "canvas": {"width": 32, "height": 32, "rate": 25}, "shots": shots,
        "opening": {"length_s": 0.9}, "ending": {"length_s": 0.9},
    })  # fmt: skip
    assert painted(board, lay_out(board)) == [Painted("opening", 0, 50)]


@pytest.mark.parametrize("marked", [True, False])
def test_clips_are_marked_as_the_film_is(
    tmp_path: Path, board: Path, striped_run: Any, marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(board, striped_run, tmp_path / "film.mp4", watermark=marked)
    told: list[bool] = []

    def told_of(*args: Any, watermark: bool, **more: Any) -> Any:
        told.append(watermark)
        return render(*args, watermark=watermark, **more)

    monkeypatch.setattr("autoreel.film.edit.render", told_of)
    export(tmp_path / "film.json", tmp_path / "film.otio", run=striped_run)
    export(board, tmp_path / "other.otio", run=striped_run, watermark=False)
    assert told == [marked, marked, False, False]


def test_what_the_film_is_made_of_is_not_replaced(tmp_path: Path, board: Path, striped_run: Any) -> None:
    folder = tmp_path / "film.media"
    folder.mkdir()
    song = (tmp_path / "song.mkv").rename(folder / "music.wav")
    before = song.read_bytes()
    board.write_text(board.read_text().replace("song.mkv", "film.media/music.wav"))
    with pytest.raises(OutputError, match=r"music\.wav, which the film is made of, lies in it"):
        export(board, tmp_path / "film.otio", run=striped_run)
    assert song.read_bytes() == before and export(board, tmp_path / "other.otio", run=striped_run).is_file()


def test_the_whole_film_is_looked_at_before_its_first_clip(tmp_path: Path, board: Path, striped_run: Any) -> None:
    shots = [{"length_s": 1.0, "label": "pink"}, {"verb": "vary", "source": "clip.mp4", "in_s": 1.0, "length_s": 9.0}]
    text = "".join("[[shots]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in shot.items()) for shot in shots)
    board.write_text(f"{board.read_text()}\n{text}")
    with pytest.raises(ConfigError) as caught:
        export(board, tmp_path / "film.otio", run=striped_run)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["shot 4", "shot 5"]
    assert striped_run.asked == [] and not (tmp_path / "film.media").exists()


def test_a_run_that_has_not_learned_to_enlarge_is_told_first(
    tmp_path: Path, board: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(frames: Any) -> Any:
        raise RunError("not learned")

    monkeypatch.setattr(striped_run, "enlarge_stream", refused, raising=False)
    with pytest.raises(RunError, match="not learned"):
        export(board, tmp_path / "film.otio", run=striped_run, upscale="learned")
    assert not (tmp_path / "film.media").exists()


def test_sounds_and_captions_that_no_edit_wrote_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "said.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nsaid\n")
    with VideoWriter(tmp_path / "song.mkv", (16, 16), 25, sound=Sound(np.ones((48_000, 2), np.float32), 48_000)) as one:
        one.write(np.zeros((25, 16, 16, 3), np.uint8))
    heard = {"file": str(tmp_path / "song.mkv")}
    storyboard = Storyboard.model_validate({
        "canvas": {"width": 16, "height": 16}, "music": heard, "voices": [heard],
        "captions": {"file": str(tmp_path / "said.srt")}, "shots": [{"verb": "card", "length_s": 0.5}],
    })  # fmt: skip
    board = save_storyboard(storyboard, tmp_path / "film.toml")
    folder = tmp_path / "film.media"
    folder.mkdir()
    for name in ("music.wav", "voice-01.wav", "captions.srt", "edit.json"):
        (folder / name).write_text("of a person")
        with pytest.raises(OutputError, match=rf"cannot write {folder / name}: a file of that name .* no edit wrote"):
            export(board, tmp_path / "film.otio")
        assert [file.read_text() for file in folder.iterdir()] == ["of a person"]
        (folder / name).unlink()
    for _ in range(2):
        assert export(board, tmp_path / "film.otio").is_file()
        (folder / "voice-01.wav").unlink()
