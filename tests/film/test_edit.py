"""Exported edits hold what the storyboard says: every clip, its place, file and handles; and parse as their formats."""

import importlib
import importlib.util
import json
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree as xml

import numpy as np
import pytest

from autoreel.errors import UsageError
from autoreel.film.document import save_storyboard
from autoreel.film.edit import export
from autoreel.film.storyboard import Storyboard
from autoreel.media.encode import VideoWriter
from autoreel.media.probe import probe


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Three shots, two of which are rendered for the edit, a title, music."""
    with VideoWriter(tmp_path / "clip.mp4", (48, 64), Fraction(25)) as writer:
        writer.write(np.full((75, 48, 64, 3), 90, np.uint8))
    from autoreel.clip import Sound

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
    assert music["kind"] == "Audio" and music["children"][0]["source_range"]["start_time"]["value"] == 10
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
    assert len(music) == 1 and _time(music[0].get("start")) == Fraction(2, 5)


def _time(text: str | None) -> Fraction:
    assert text is not None and text.endswith("s")
    return Fraction(text[:-1])


def test_another_ending_is_none(tmp_path: Path, board: Path, striped_run: Any) -> None:
    with pytest.raises(UsageError, match=r"ends in \.otio or \.fcpxml"):
        export(board, tmp_path / "film.edl", run=striped_run)
