"""How a film is delivered: previews, parts that equal the whole, captions, other codecs and formats."""

import json
import os
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Sound
from autoreel.errors import ConfigError, MediaError, OutputError, UsageError
from autoreel.film.delivery import Delivery
from autoreel.film.layout import lay_out
from autoreel.film.overlays import Overlays
from autoreel.film.renderer import FilmResult, render, small_canvas
from autoreel.film.storyboard import Canvas, Captions, Storyboard
from autoreel.film.verify import DISAGREES, FOUND, verify
from autoreel.media import encoders, manifest
from autoreel.media.decode import read_clip, read_sound
from autoreel.media.encode import VideoWriter
from autoreel.media.manifest import Signing
from autoreel.media.titles import BUNDLED_FONTS
from autoreel.media.yuv420 import as_rgb

SRT = "1\n00:00:00,400 --> 00:00:01,000\nsaid\n\n2\n00:00:01,600 --> 00:00:02,400\nand said again\n"


def _board(folder: Path, **more: Any) -> Storyboard:
    shots = [
        {"length_s": 1.0, "label": "red"},
        {"length_s": 1.0, "label": "green", "transition": {"kind": "between", "length_s": 0.48}},
        {"length_s": 1.0, "label": "blue", "effects": [{"name": "grain"}],
         "transition": {"kind": "fade", "length_s": 0.4}},
    ]  # fmt: skip
    canvas = {"width": 64, "height": 48, "rate": 25}
    return Storyboard.model_validate({"run": str(folder / "run"), "canvas": canvas, "shots": shots, **more})


def _frames(result: FilmResult) -> NDArray[np.int64]:
    return read_clip(result.path).frames.astype(np.int64)


@pytest.mark.parametrize(("from_s", "to_s"), [(0.0, 0.4), (0.48, 1.0), (0.9, 2.5), (1.2, None), (2.0, 2.04)])
def test_a_part_equals_that_part_of_the_whole(
    tmp_path: Path, striped_run: Any, from_s: float, to_s: float | None
) -> None:
    board = _board(tmp_path, ending={"length_s": 0.5})
    best = Delivery(quality="best")
    whole = _frames(render(board, striped_run, tmp_path / "whole.mp4", delivery=best, watermark=False))
    delivery = Delivery(quality="best", from_s=from_s, to_s=to_s)
    part = _frames(render(board, striped_run, tmp_path / "part.mp4", delivery=delivery, watermark=False))
    first, last = round(from_s * 25), round((to_s or 3.0) * 25)
    assert len(part) == last - first
    assert np.abs(part - whole[first:last]).mean(axis=(1, 2, 3)).max() < 3


@pytest.mark.parametrize(
    "how",
    [
        Delivery(quality="best"), Delivery(codec="h265"), Delivery(from_s=0.5, to_s=1.48), Delivery(preview=True),
        Delivery(codec="h265", quality="draft", from_s=1.2),
    ],
    ids=lambda how: "-".join(f"{key}" for key, value in vars(how).items() if value not in (None, False, "auto")),
)  # fmt: skip
def test_a_record_makes_the_same_file_again(tmp_path: Path, striped_run: Any, how: Delivery) -> None:
    board = _board(tmp_path, titles=[{"text": "T", "length_s": 2.0}], ending={"length_s": 0.5})
    made = render(board, striped_run, tmp_path / "film.mp4", delivery=how)
    again = render(made.record, striped_run, tmp_path / "again.mp4")
    assert again.path.read_bytes() == made.path.read_bytes()
    records = [json.loads(result.record.read_text()) for result in (made, again)]
    for record in records:
        del record["film"], record["rendered_in_s"]
    assert records[0] == records[1]
    plain = render(board, striped_run, tmp_path / "plain.mp4")
    assert plain.path.read_bytes() != made.path.read_bytes()


def test_what_is_asked_for_goes_before_what_is_recorded(tmp_path: Path, striped_run: Any) -> None:
    before = Delivery(codec="h265", quality="best", hardware=True, from_s=1.0, to_s=2.0)
    mp4, webm = Path("film.mp4"), Path("film.webm")
    assert Delivery().instead_of(before, mp4) == before
    assert Delivery(codec="av1", quality="good").instead_of(before, mp4) == replace(before, codec="av1", quality="good")
    assert Delivery().instead_of(before, webm).codec == "auto", "it holds no H.265"
    part = Delivery(from_s=1.5).instead_of(before, mp4)
    assert (part.from_s, part.to_s) == (1.5, None), "another part, not what both have in common"
    look = Delivery(preview=True).instead_of(before, mp4)
    assert (look.codec, look.own_quality, look.hardware, look.from_s) == ("auto", "draft", False, 1.0)
    assert Delivery().instead_of(Delivery(preview=True, quality="draft"), mp4).preview
    made = render(_board(tmp_path), striped_run, tmp_path / "film.mp4", delivery=Delivery(quality="draft", to_s=1.0))
    record = json.loads(made.record.read_text())
    assert record["delivery"] == {
        "codec": "h264", "quality": "draft", "hardware": False, "preview": False, "to_s": 1.0
    }  # fmt: skip
    del record["delivery"]
    made.record.write_text(json.dumps(record))
    assert render(made.record, striped_run, tmp_path / "again.mp4").num_frames == 75, "from before it was noted"
    record["delivery"] = {"codec": "h266", "qualty": "best", "from_s": -1}
    made.record.write_text(json.dumps(record))
    with pytest.raises(ConfigError) as caught:
        render(made.record, striped_run, tmp_path / "again.mp4")
    said = "\n".join(caught.value.problems)
    assert "did you mean 'quality'?" in said and "'codec'" in said and "'from_s'" in said
    record["delivery"] = 3
    made.record.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="'delivery' is no table"):
        render(made.record, striped_run, tmp_path / "again.mp4")


def test_the_record_of_a_part_tells_of_that_part(tmp_path: Path, striped_run: Any) -> None:
    own = tmp_path / "own.mp4"
    with VideoWriter(own, (48, 64), Fraction(25)) as writer:
        writer.write(np.full((50, 48, 64, 3), 90, np.uint8))
    shots = [
        {"length_s": 1.0, "label": "red", "seed": 1},
        {"verb": "material", "source": str(own), "length_s": 1.0},
        {"length_s": 1.0, "label": "blue", "seed": 3, "transition": {"kind": "fade", "length_s": 0.4}},
    ]
    board = _board(tmp_path).model_copy(update={"shots": Storyboard.model_validate({"shots": shots, "run": "r"}).shots})
    made = render(board, striped_run, tmp_path / "film.part.mp4", delivery=Delivery(from_s=1.4, to_s=2.6))
    record = json.loads(made.record.read_text())
    assert (record["num_frames"], record["duration_s"], record["part_s"]) == (30, 1.2, [1.4, 2.6])
    assert [(span["start_s"], span["end_s"], span["kinds"]) for span in record["timeline"]] == [
        (0.0, 0.4, ["original"]), (0.4, 0.8, ["generated", "original"]), (0.8, 1.2, ["generated"]),
    ]  # fmt: skip
    spans = [(span["shot"], span["start_s"], span["end_s"]) for span in record["spans"]]
    assert spans == [(2, 0.0, 0.8), (3, 0.4, 1.2)]
    assert verify(made.path).exit_code == FOUND
    own_part = render(board, striped_run, tmp_path / "own.part.mp4", delivery=Delivery(from_s=1.0, to_s=1.6))
    assert not json.loads(own_part.record.read_text())["ai_generated"]
    found = verify(own_part.path)
    assert found.notice is not None and found.notice.startswith("Edited with autoreel")


def test_a_part_is_signed_as_what_it_is(tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []

    def signed(source: Path, target: Path, **told: Any) -> None:
        said.append(told)
        target.write_bytes(source.read_bytes() + b"signed")

    monkeypatch.setattr(manifest, "sign", signed)
    film = tmp_path / "film.mp4"
    how = Delivery(from_s=2.4)
    render(_board(tmp_path), striped_run, film, delivery=how, signing=Signing(tmp_path / "a", tmp_path / "b"))
    assert film.read_bytes().endswith(b"signed")
    assert (said[0]["title"], said[0]["kind"]) == ("film.mp4", "generated")
    assert said[0]["details"]["timeline"] == [{"start_s": 0.0, "end_s": 0.6, "kinds": ["generated"]}]
    assert verify(film).record.is_of_this_file  # type: ignore[union-attr]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.json", "film.mp4"]


@pytest.mark.parametrize("there", [True, False])
def test_a_film_that_cannot_be_signed_gets_no_name(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    film = tmp_path / "film.mp4"
    if there:
        render(_board(tmp_path), striped_run, film)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def refuses(source: Path, target: Path, **told: Any) -> None:
        target.write_bytes(source.read_bytes()[:100])
        assert film.is_file() == there
        raise OutputError("cannot write film.mp4: signing it failed")

    monkeypatch.setattr(manifest, "sign", refuses)
    with pytest.raises(OutputError, match="signing it failed"):
        render(_board(tmp_path, opening={}), striped_run, film, signing=Signing(tmp_path / "a", tmp_path / "b"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_new_film_is_never_taken_for_that_of_the_old_record(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record follows the film with nothing in between; a crash there leaves a film that does not agree."""
    film, named = tmp_path / "film.mp4", list[str]()
    render(_board(tmp_path), striped_run, film)
    old, replace_file = film.read_bytes(), os.replace

    def crashes(source: Any, target: Any) -> None:
        named.append(Path(target).name)
        if Path(target).suffix == ".json":
            raise KeyboardInterrupt
        assert (tmp_path / ".film.json.part.json").read_text().startswith("{"), "the record is ready before"
        replace_file(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crashes)
        render(_board(tmp_path, opening={}), striped_run, film)
    assert named[-2:] == ["film.mp4", "film.json"] and film.read_bytes() != old
    found = verify(film)
    assert found.exit_code == DISAGREES
    assert "this is not the file that film.json was written for" in found.disagreements[0]


def test_a_part_makes_only_the_shots_that_are_seen(tmp_path: Path, striped_run: Any) -> None:
    render(_board(tmp_path), striped_run, tmp_path / "part.mp4", delivery=Delivery(from_s=2.4))
    assert striped_run.painted == 1


@pytest.mark.parametrize(("from_s", "to_s"), [(3.0, None), (1.0, 1.0), (2.0, 1.0), (-1.0, None)])
def test_what_is_no_part(tmp_path: Path, striped_run: Any, from_s: float, to_s: float | None) -> None:
    with pytest.raises(UsageError, match="is no part of a film of 3 s"):
        render(_board(tmp_path), striped_run, tmp_path / "part.mp4", delivery=Delivery(from_s=from_s, to_s=to_s))


def test_a_preview_is_small_and_shares_the_kept_shots(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoreel.film.provenance.hash_of_run", lambda board: "hash")
    board = _board(tmp_path).model_copy(update={"canvas": Canvas(width=640, height=480, rate=Fraction(25))})
    film = tmp_path / "film.mp4"
    preview = render(
        board, striped_run, tmp_path / "film.preview.mp4", delivery=Delivery(preview=True, shots_of=film)
    )  # fmt: skip
    assert _frames(preview).shape == (75, 288, 384, 3)
    result = render(board, striped_run, film)
    assert result.num_kept == 3, "the shots; the painted way is of another size"
    assert small_canvas(Canvas(width=1080, height=1920)).height == 384


def test_captions_are_burnt_in_or_a_track(tmp_path: Path, striped_run: Any) -> None:
    (tmp_path / "said.srt").write_text(SRT)
    plain = _frames(render(_board(tmp_path), striped_run, tmp_path / "plain.mp4", watermark=False))
    captions = {"file": str(tmp_path / "said.srt"), "size": 0.2}
    burnt = _frames(render(_board(tmp_path, captions=captions), striped_run, tmp_path / "b.mp4", watermark=False))
    changed = np.abs(burnt - plain).max(axis=(1, 2, 3)) > 100
    assert changed[10:25].all() and changed[40:60].all()
    assert not changed[:9].any() and not changed[27:39].any() and not changed[62:].any()
    board = _board(tmp_path, captions={**captions, "mode": "track"})
    result = render(board, striped_run, tmp_path / "t.mp4", delivery=Delivery(from_s=1.0))
    with av.open(str(result.path)) as container:
        (stream,) = container.streams.subtitles
        texts = [bytes(packet)[2:] for packet in container.demux(stream) if packet.size > 2]
    assert texts == [b"and said again"]


def test_captions_that_a_track_cannot_hold_are_told_before_anything_is_made(tmp_path: Path, striped_run: Any) -> None:
    (tmp_path / "said.srt").write_text("".join(f"{n}\n00:00:00,1 --> 00:00:02,0\nsaid\n\n" for n in range(9)))
    board = _board(tmp_path, captions={"file": str(tmp_path / "said.srt"), "mode": "track"})
    with pytest.raises(MediaError, match=r"9 captions are shown together at 0.1 s"):
        render(board, striped_run, tmp_path / "t.mp4")
    assert striped_run.asked == []


def test_captions_of_several_scripts_and_of_a_long_film(tmp_path: Path) -> None:
    lines = ["你好", "السلام", "♪ 你好 ♪", *["many letters " * 20] * 30]
    (tmp_path / "said.srt").write_text(
        "\n".join(f"{n}\n00:00:{n:02d},000 --> 00:00:{n:02d},900\n{line}\n" for n, line in enumerate(lines))
    )
    own = resources.files("autoreel.media") / "fonts" / BUNDLED_FONTS[0]
    (tmp_path / "own.ttf").write_bytes(own.read_bytes())
    how = {"file": str(tmp_path / "said.srt"), "size": 0.2}
    shots = [{"verb": "card", "length_s": 40.0}]
    board = Storyboard.model_validate({"canvas": {"width": 64, "height": 48}, "captions": how, "shots": shots})
    layout = lay_out(board)
    overlays = Overlays(board, layout, "board")
    for frame in (10, 30, 60):
        assert np.asarray(as_rgb(overlays.over(Image.new("RGB", (64, 48)), frame))).max() > 200
    (tmp_path / "said.srt").write_text("\n".join((tmp_path / "said.srt").read_text().split("\n")[12:]))
    own_font = Captions.model_validate({**how, "font": str(tmp_path / "own.ttf")})
    overlays = Overlays(board.model_copy(update={"captions": own_font}), layout, "board")
    assert len(overlays.captions) == 30, "7,800 letters, of which few are different"


def test_captions_with_mistakes_are_told(tmp_path: Path, striped_run: Any) -> None:
    (tmp_path / "said.srt").write_text("nothing")
    captions = {"file": str(tmp_path / "said.srt")}
    with pytest.raises(ConfigError, match=r"\[captions\]: .*line 1 is 'nothing'"):
        render(_board(tmp_path, captions=captions), striped_run, tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("name", "codec"), [("f.mov", "prores"), ("f.mkv", "h265"), ("f.webm", "av1"), ("f.gif", "auto")]
)
def test_other_codecs_and_formats(tmp_path: Path, striped_run: Any, name: str, codec: Any) -> None:
    result = render(_board(tmp_path), striped_run, tmp_path / name, delivery=Delivery(codec=codec))
    assert result.num_frames == 75
    assert len(_frames(result)) == 75


def test_a_gif_of_many_frames_a_second_keeps_what_can_be_shown(tmp_path: Path) -> None:
    values = {"canvas": {"width": 32, "height": 32, "rate": 120}, "shots": [{"verb": "card", "length_s": 0.5}]}
    said: list[str] = []
    result = render(Storyboard.model_validate(values), None, tmp_path / "film.gif", report=said.append)
    assert result.num_frames == 60 and len(_frames(result)) == 20
    assert "gif: 40 frames a second of the film's 120 are kept" in said


@pytest.mark.parametrize(("name", "why"), [("film.mp4", "h264_nvenc"), ("film.gif", "gif is encoded on no")])
def test_without_a_graphics_chip_it_is_said(
    tmp_path: Path, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "works", lambda name, pixel_format: False)
    shots = [{"verb": "card", "length_s": 0.4}]
    board, said = Storyboard.model_validate({"canvas": {"width": 32, "height": 32}, "shots": shots}), list[str]()
    render(board, None, tmp_path / name, report=said.append, delivery=Delivery(hardware=True))
    assert said[0].startswith("hardware: ") and why in said[0] and said[0].endswith("the processor does it")


def test_a_long_film_keeps_picture_and_sound_together(tmp_path: Path) -> None:
    """A flash and a click every two seconds, at a rate that no sample rate is a multiple of."""
    rate, rate_hz, count = Fraction(30000, 1001), 48_000, 20
    frame_s = float(1 / rate)
    samples = np.zeros((count * 2 * rate_hz, 2), np.float32)
    shots: list[dict[str, Any]] = []
    for number in range(count):
        first = round((number * 2 + 1) * rate)  # the frame that is white
        begin = round(float(first / rate) * rate_hz)
        samples[begin : begin + 400] = 0.9
        shots += [{"verb": "card", "length_s": 1.0}, {"verb": "card", "length_s": frame_s, "color": "white"},
                  {"verb": "card", "length_s": 1.0 - frame_s}]  # fmt: skip
    song = tmp_path / "clicks.mkv"
    with VideoWriter(song, (32, 32), Fraction(1), sound=Sound(samples, rate_hz)) as writer:
        writer.write(np.zeros((count * 2, 32, 32, 3), np.uint8))
    board = Storyboard.model_validate({
        "canvas": {"width": 32, "height": 32, "rate": "30000/1001"}, "shots": shots,
        "music": {"file": str(song), "fade_in_s": 0, "fade_out_s": 0},
    })  # fmt: skip
    result = render(board, None, tmp_path / "film.mp4")
    assert result.num_frames == round(count * 2 * rate)
    clip = read_clip(result.path)
    assert clip.pts_s is not None
    lit = clip.pts_s[clip.frames.mean(axis=(1, 2, 3)) > 128]
    heard = np.abs(read_sound(result.path).samples[:, 0]) > 0.1
    loud = np.flatnonzero(heard) / rate_hz
    clicks = loud[np.concatenate([[True], np.diff(loud) > 0.5])]
    assert len(lit) == len(clicks) == count
    assert np.abs(lit - clicks).max() < frame_s
