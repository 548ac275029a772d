"""The edit of a film for editing programs: OpenTimelineIO (.otio), Final Cut Pro (.fcpxml), and the clips of it.

    film.otio            clips with their places in the film and in their files, transitions, sound, titles as markers
    film.media/          shot-01.mp4 and so on: what the model made, what has effects; other material stays where it is

A clip's file is longer than what the cut shows of it where a transition needs it to be:

    shot-02.mp4   |--pre--|=======body=======|--post--|
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from autoreel.errors import UsageError
from autoreel.film.delivery import Delivery
from autoreel.film.document import load_storyboard
from autoreel.film.layout import Layout, Placed, lay_out
from autoreel.film.made import FilmRun
from autoreel.film.renderer import beats_of, open_run, render
from autoreel.film.storyboard import Shot, Storyboard, needs_run
from autoreel.media.probe import probe
from autoreel.runs import atomic_write_text

ENDINGS = (".otio", ".fcpxml")
BASIC_TITLE = ".../Titles.localized/Bumper:Opener.localized/Basic Title.localized/Basic Title.moti"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """A clip of the edit; times in the film's frames.

    Args:
        name: for people.
        file: its media.
        begin: where in the film it begins.
        length: how long it is shown.
        media_begin: where in its file that is.
        media_length: of the file.
        into, into_length: the kind of transition into it, and how long that is; half of it lies before `begin`.
        has_video, has_sound: what the file holds.
    """

    name: str
    file: Path
    begin: int
    length: int
    media_begin: int
    media_length: int
    into: str | None = None
    into_length: int = 0
    has_video: bool = True
    has_sound: bool = False


@dataclass(frozen=True)
class Edit:
    """A whole film as an editing program sees it."""

    name: str
    size: tuple[int, int]
    layout: Layout
    pictures: tuple[Piece, ...]
    sounds: tuple[Piece, ...]
    titles: tuple[tuple[str, int, int], ...]  # text, first frame, frames


def export(
    storyboard: Path, out: Path, *, run: FilmRun | None = None, device: str = "auto", report: Report | None = None
) -> Path:
    """Write the edit of a film, and a clip for every shot that is not plain material.

    Args:
        storyboard: of the film.
        out: ends in .otio or .fcpxml; the clips go into a folder `NAME.media` beside it.
        run: for shots that need a model; None opens the one the storyboard names.
        device: that it is opened on.
        report: told in single lines how far it is.

    Returns:
        `out`.

    Raises:
        UsageError: another ending.
        ConfigError, MediaError, OutputError: as `render`.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"{out}: an edit ends in {' or '.join(ENDINGS)}")
    board = load_storyboard(storyboard)
    if run is None and any(needs_run(shot) for shot in board.shots):
        run = open_run(Path(str(board.run)), device)
    layout = lay_out(board, beats_of(board))
    folder = out.with_suffix(".media")
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for placed in layout.placed:
        if report is not None:
            report(f"edit: shot {placed.number} of {len(layout.placed)}")
        pictures.append(_piece(placed, layout, board, run, folder, storyboard.with_suffix(".mp4")))
    titles = tuple(
        (title.text, round(title.start_s * layout.rate), max(1, round(title.length_s * layout.rate)))
        for title in board.titles
    )
    size = (board.canvas.height, board.canvas.width)
    edit = Edit(out.stem, size, layout, tuple(pictures), _sounds(board, layout), titles)
    text = to_otio(edit) if out.suffix.lower() == ".otio" else to_fcpxml(edit)
    atomic_write_text(out, text)
    return out


def _piece(
    placed: Placed, layout: Layout, board: Storyboard, run: FilmRun | None, folder: Path, film: Path
) -> Piece:
    shot = placed.shot
    name = f"{placed.number:02d} {shot.label or shot.verb}"
    into = placed.into.kind if placed.into is not None else None
    if shot.verb == "material" and not shot.effects:
        file, info = Path(str(shot.source)), probe(Path(str(shot.source)))
        media_begin = round(Fraction(str(shot.in_s or 0.0)) * layout.rate) + placed.pre
        media_length = round(Fraction(info.duration_s or 0.0) * layout.rate)
        return Piece(name, file, placed.first, placed.body, media_begin, max(media_length, media_begin + placed.body),
                     into, placed.into_frames, has_sound=info.has_sound)  # fmt: skip
    file = folder / f"shot-{placed.number:02d}.mp4"
    render(_alone(placed, layout, board), run, file, delivery=Delivery(quality="best", shots_of=film))
    return Piece(name, file, placed.first, placed.body, placed.pre, placed.num_frames, into, placed.into_frames)


def _alone(placed: Placed, layout: Layout, board: Storyboard) -> Storyboard:
    """A film of one shot, as long as it is seen, its transitions included."""
    length_s = float(placed.num_frames / layout.rate)
    alone = {"length_s": length_s, "beats": None, "transition": None, "volume_db": None}
    shot: Shot = placed.shot.model_copy(update=alone)
    return Storyboard(run=board.run, canvas=board.canvas, shots=(shot,))


def _sounds(board: Storyboard, layout: Layout) -> tuple[Piece, ...]:
    rate = layout.rate

    def piece(name: str, file: str, begin_s: float, in_s: float, out_s: float | None) -> Piece:
        whole_s = probe(Path(file)).duration_s or 0.0
        begin, first = round(Fraction(str(begin_s)) * rate), round(Fraction(str(in_s)) * rate)
        last = round(Fraction(str(out_s if out_s is not None else whole_s)) * rate)
        length = max(1, min(last - first, layout.num_frames - begin))
        return Piece(name, Path(file), begin, length, first, max(round(Fraction(whole_s) * rate), first + length),
                     has_video=False, has_sound=True)  # fmt: skip

    pieces = []
    if board.music is not None:
        pieces.append(piece("music", board.music.file, 0.0, board.music.start_s, None))
    pieces += [piece(f"voice {n}", voice.file, voice.start_s, voice.in_s, voice.out_s)
               for n, voice in enumerate(board.voices, start=1)
               if round(Fraction(str(voice.start_s)) * rate) < layout.num_frames]  # fmt: skip
    return tuple(pieces)


# --- OpenTimelineIO: https://opentimelineio.readthedocs.io, schemas Timeline.1 to Marker.2


def to_otio(edit: Edit) -> str:
    """The edit as OpenTimelineIO JSON."""
    rate = float(edit.layout.rate)

    def time(frames: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": float(frames)}

    def span(begin: int, length: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "TimeRange.1", "duration": time(length), "start_time": time(begin)}

    def item(schema: str, name: str, **more: Any) -> dict[str, Any]:
        plain = {"name": name, "metadata": {}, "effects": [], "markers": [], "enabled": True}
        return {"OTIO_SCHEMA": schema, **plain, **more}

    def clip(piece: Piece) -> dict[str, Any]:
        media = {
            "OTIO_SCHEMA": "ExternalReference.1", "name": piece.file.name, "metadata": {},
            "available_image_bounds": None, "available_range": span(0, piece.media_length),
            "target_url": piece.file.absolute().as_uri(),
        }  # fmt: skip
        return item("Clip.2", piece.name, source_range=span(piece.media_begin, piece.length),
                    media_references={"DEFAULT_MEDIA": media}, active_media_reference_key="DEFAULT_MEDIA")  # fmt: skip

    def track(name: str, kind: str, children: Sequence[Any]) -> dict[str, Any]:
        return item("Track.1", name, kind=kind, source_range=None, children=list(children))

    video: list[dict[str, Any]] = []
    for piece in edit.pictures:
        if piece.into is not None:
            before = piece.into_length // 2
            video.append({
                "OTIO_SCHEMA": "Transition.1", "name": piece.into, "metadata": {"autoreel": {"kind": piece.into}},
                "transition_type": "SMPTE_Dissolve" if piece.into in ("fade", "dissolve") else "Custom_Transition",
                "in_offset": time(before), "out_offset": time(piece.into_length - before),
            })  # fmt: skip
        video.append(clip(piece))
    tracks = [track("pictures", "Video", video)]
    for piece in edit.sounds:
        gap = [item("Gap.1", "", source_range=span(0, piece.begin))] if piece.begin else []
        tracks.append(track(piece.name, "Audio", [*gap, clip(piece)]))
    markers = [
        {"OTIO_SCHEMA": "Marker.2", "name": text, "color": "GREEN", "comment": "title", "metadata": {},
         "marked_range": span(begin, length)}
        for text, begin, length in edit.titles
    ]  # fmt: skip
    stack = {**item("Stack.1", "tracks", source_range=None, children=tracks), "markers": markers}
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "name": edit.name, "metadata": {}, "global_start_time": None, "tracks": stack,
    }  # fmt: skip
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"


# --- Final Cut Pro XML 1.9: developer.apple.com/documentation/professional-video-applications/fcpxml-reference


def to_fcpxml(edit: Edit) -> str:
    """The edit as FCPXML, version 1.9."""
    rate = edit.layout.rate
    root = xml.Element("fcpxml", version="1.9")
    resources = xml.SubElement(root, "resources")
    xml.SubElement(resources, "format", id="r1", frameDuration=_seconds(1 / rate), width=str(edit.size[1]),
                   height=str(edit.size[0]))  # fmt: skip
    ids: dict[Path, str] = {}
    for piece in (*edit.pictures, *edit.sounds):
        if piece.file not in ids:
            ids[piece.file] = f"r{len(ids) + 2}"
            asset = xml.SubElement(resources, "asset", id=ids[piece.file], name=piece.file.name, start="0s",
                                   duration=_seconds(piece.media_length / rate))  # fmt: skip
            if piece.has_video:
                asset.set("hasVideo", "1")
                asset.set("format", "r1")
            if piece.has_sound:
                asset.set("hasAudio", "1")
            xml.SubElement(asset, "media-rep", kind="original-media", src=piece.file.absolute().as_uri())
    if edit.titles:
        xml.SubElement(resources, "effect", id="title", name="Basic Title",
                       uid=BASIC_TITLE)  # fmt: skip
    event = xml.SubElement(xml.SubElement(root, "library"), "event", name=edit.name)
    sequence = xml.SubElement(
        xml.SubElement(event, "project", name=edit.name), "sequence", format="r1", tcStart="0s", tcFormat="NDF",
        duration=_seconds(edit.layout.num_frames / rate), audioLayout="stereo", audioRate="48k",
    )  # fmt: skip
    spine = xml.SubElement(sequence, "spine")
    first: xml.Element | None = None
    for piece in edit.pictures:
        if piece.into is not None:
            begin = piece.begin - piece.into_length // 2
            xml.SubElement(spine, "transition", name="Cross Dissolve" if piece.into != "dip" else "Fade To Color",
                           offset=_seconds(begin / rate), duration=_seconds(piece.into_length / rate))  # fmt: skip
        clip = _asset_clip(spine, piece, ids[piece.file], rate, piece.begin)
        first = clip if first is None else first
    assert first is not None  # a film has a shot
    # What lies beside the pictures hangs on the first clip, whose own time starts where its file does.
    base = edit.pictures[0].media_begin
    for number, (text, begin, length) in enumerate(edit.titles, start=1):
        title = xml.SubElement(
            first, "title", ref="title", lane="1", name=text.splitlines()[0][:60] or "title", start="0s",
            offset=_seconds((begin + base) / rate), duration=_seconds(length / rate),
        )  # fmt: skip
        style = xml.SubElement(xml.SubElement(title, "text"), "text-style", ref=f"ts{number}")
        style.text = text
        define = xml.SubElement(title, "text-style-def", id=f"ts{number}")
        xml.SubElement(define, "text-style", font="Helvetica", fontSize="72", fontColor="1 1 1 1", alignment="center")
    for lane, piece in enumerate(edit.sounds, start=1):
        _asset_clip(first, piece, ids[piece.file], rate, piece.begin + base).set("lane", str(-lane))
    xml.indent(root)
    body = xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _asset_clip(parent: xml.Element, piece: Piece, ref: str, rate: Fraction, offset: int) -> xml.Element:
    return xml.SubElement(
        parent, "asset-clip", ref=ref, name=piece.name, offset=_seconds(offset / rate),
        start=_seconds(piece.media_begin / rate), duration=_seconds(piece.length / rate), tcFormat="NDF",
    )  # fmt: skip


def _seconds(time: Fraction) -> str:
    """Rational seconds as FCPXML writes them: 1001/30000s."""
    return f"{time.numerator}s" if time.denominator == 1 else f"{time.numerator}/{time.denominator}s"
