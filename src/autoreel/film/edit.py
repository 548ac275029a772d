"""The edit of a film for editing programs: OpenTimelineIO (.otio), Final Cut Pro (.fcpxml), and the clips of it.

    film.otio            clips with their places in the film and in their files, crossfades, sounds, titles
    film.media/          shot-01.mp4 and so on: what the model made, what has effects; other material stays where it is
                         dip-02.mp4, way-03.mp4, opening.mp4, ending.mp4: what neither format has a word for, painted
                         music.wav, voice-01.wav, shot-02.wav: what is heard, as it is heard; captions.srt
                         edit.json: which of these sounds and captions an edit wrote, which the next may replace

A clip's file is longer than what the cut shows of it where a transition needs it to be, or where something painted lies
over it:

    shot-02.mp4   |--pre--|=======body=======|--post--|
"""

from __future__ import annotations

import json
import math
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from autoreel.bounded import read_bounded
from autoreel.config import MAX_CONFIG_BYTES
from autoreel.errors import OutputError, UsageError
from autoreel.film import provenance
from autoreel.film.cutlist import Edit, Media, Piece, Text, plain_text, side_by_side
from autoreel.film.delivery import Delivery
from autoreel.film.document import load_storyboard
from autoreel.film.fcpxml import to_fcpxml
from autoreel.film.layout import Layout, Placed, lay_out
from autoreel.film.made import FilmRun
from autoreel.film.otio import to_otio
from autoreel.film.overlays import Overlays
from autoreel.film.preflight import check_lengths, check_sources, inputs_of
from autoreel.film.renderer import beats_of, open_run, render
from autoreel.film.soundtrack import CHANNELS, RATE_HZ, Stem, stems
from autoreel.film.storyboard import LATENT_TRANSITIONS, Shot, Storyboard, Upscale, needs_run
from autoreel.media.captions import Caption, write_captions
from autoreel.media.probe import probe
from autoreel.runs import atomic_path, atomic_write_text

ENDINGS = (".otio", ".fcpxml")
CAPTIONS = "captions.srt"
NOTED = "edit.json"
ROLES = {"music": "music", "voice": "dialogue", "clip": "effects"}
Report = Callable[[str], None]


@dataclass(frozen=True)
class Painted:
    """A part of the film that becomes a clip as it is seen: frames from `begin` to before `end`."""

    name: str
    begin: int
    end: int


def export(
    storyboard: Path, out: Path, *, run: FilmRun | None = None, device: str = "auto", watermark: bool = True,
    upscale: Upscale | None = None, report: Report | None = None,
) -> Path:  # fmt: skip
    """Write the edit of a film, a clip for every shot that is not plain material, and a file for every sound.

    Args:
        storyboard: of the film.
        out: ends in .otio or .fcpxml; the clips go into a folder `NAME.media` beside it.
        run: for shots that need a model; None opens the one the storyboard names.
        device: that it is opened on.
        watermark: mark what the model made; of a film whose record is given it is marked as that was.
        upscale: how what a model made is enlarged; None as the storyboard says.
        report: told in single lines how far it is.

    Returns:
        `out`.

    Raises:
        UsageError: another ending.
        ConfigError, MediaError: as `render`, for the whole film before its first clip.
        OutputError: as `render`; or something that the film is made of, or that no edit wrote, lies in the folder.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"{out}: an edit ends in {' or '.join(ENDINGS)}")
    board = load_storyboard(storyboard)
    if storyboard.suffix.lower() == ".json":
        watermark = watermark and provenance.is_marked(storyboard)
    if upscale is not None:
        board = board.model_copy(update={"canvas": board.canvas.model_copy(update={"upscale": upscale})})
    if run is None and any(needs_run(shot) for shot in board.shots):
        run = open_run(Path(str(board.run)), device)
    if run is not None and board.canvas.upscale == "learned":
        run.enlarge_stream(iter(()))  # what is wrong with it is said before anything is made
    files = check_sources(board, run, str(storyboard))
    layout = lay_out(board, beats_of(board))
    overlays = Overlays(board, layout, str(storyboard))
    check_lengths(board, layout, run, files, planar=True, where=str(storyboard))
    folder = out.with_suffix(".media")
    for path in inputs_of(board):
        if path.resolve().is_relative_to(folder.resolve()):
            reason = f"{path}, which the film is made of, lies in it and could be replaced"
            raise OutputError(f"cannot write {folder}: {reason}; choose another name for the edit, or move that file")
    for line in overlays.notes:
        _tell(report, line)
    _claim(folder, board)
    delivery = Delivery(quality="best", shots_of=storyboard.with_suffix(".mp4"))

    def write(part: Storyboard, name: str, begin: int, end: int) -> Media:
        file = folder / f"{name}.mp4"
        from_s, to_s = (float(frame / layout.rate) for frame in (begin, end))
        render(part, run, file, watermark=watermark, delivery=replace(delivery, from_s=from_s, to_s=to_s))
        return Media(file, end - begin, (board.canvas.height, board.canvas.width), layout.rate)

    spans = painted(board, layout)
    pictures = []
    for placed in layout.placed:
        _tell(report, f"edit: shot {placed.number} of {len(layout.placed)}")
        piece = _left(_piece(placed, layout, board, write), spans)
        pictures += [piece] if piece is not None else []
    silent = _silent(board, layout)
    for span in spans:
        _tell(report, f"edit: {span.name}")
        media = write(silent, span.name, span.begin, span.end)
        pictures.append(Piece(span.name, media, span.begin, media.length))
    _tell(report, "edit: sound")
    edit = Edit(
        plain_text(out.stem), (board.canvas.height, board.canvas.width), layout,
        tuple(sorted(pictures, key=lambda piece: piece.begin)), _sounds(board, layout, folder),
        _texts(board, layout, overlays.captions),
    )  # fmt: skip
    if overlays.captions:
        write_captions(folder / CAPTIONS, overlays.captions)
    atomic_write_text(out, to_otio(edit) if out.suffix.lower() == ".otio" else to_fcpxml(edit))
    return out


def painted(board: Storyboard, layout: Layout) -> list[Painted]:
    """What is painted, by time: the film's start and end, dips, and the ways of a model; one for what overlaps.

    What would be seen of a crossfade in it and beside it is painted whole.
    """
    rate, last = layout.rate, layout.num_frames
    wanted, fades = list[Painted](), list[Painted]()
    for placed in layout.placed:
        if placed.into is not None:
            begin = placed.first - placed.into_frames // 2
            name = "dip" if placed.into.kind == "dip" else "way"
            is_painted = placed.into.kind in ("dip", *LATENT_TRANSITIONS)
            span = Painted(f"{name}-{placed.number:02d}", begin, begin + placed.into_frames)
            (wanted if is_painted else fades).append(span)
    for name, edge in (("opening", board.opening), ("ending", board.ending)):
        if edge is not None:
            length = min(last, max(1, round(Fraction(str(edge.length_s)) * rate)))
            wanted.append(Painted(name, 0, length) if name == "opening" else Painted(name, last - length, last))
    spans: list[Painted] = []
    for span in sorted(wanted, key=lambda one: one.begin):
        for fade in fades:
            if fade.begin < span.end and span.begin < fade.end:
                span = replace(span, begin=min(span.begin, fade.begin), end=max(span.end, fade.end))
        if spans and span.begin < spans[-1].end:
            before = spans.pop()
            span = replace(before, begin=min(before.begin, span.begin), end=max(before.end, span.end))
        spans.append(span)
    return spans


def _left(piece: Piece, spans: list[Painted]) -> Piece | None:
    """What of a clip is not painted over; None when nothing is. Its file keeps the rest as handles."""
    begin, end = piece.begin, piece.begin + piece.length
    for span in spans:
        if span.begin <= begin < span.end:
            begin = span.end
        elif begin < span.begin < end:
            end = span.begin
    if begin >= end:
        return None
    into = (piece.into, piece.into_length) if begin == piece.begin else (None, 0)
    return replace(
        piece, begin=begin, length=end - begin, media_begin=piece.media_begin + begin - piece.begin,
        into=into[0], into_length=into[1],
    )  # fmt: skip


def _piece(
    placed: Placed, layout: Layout, board: Storyboard, write: Callable[[Storyboard, str, int, int], Media]
) -> Piece:
    shot, rate = placed.shot, layout.rate
    name = plain_text(f"{placed.number:02d} {shot.label or shot.verb}")
    into = placed.into.kind if placed.into is not None else None
    if shot.verb == "material" and not shot.effects:
        file, info = Path(str(shot.source)), probe(Path(str(shot.source)))
        begin = round(Fraction(str(shot.in_s or 0.0)) * rate) + placed.pre
        length = max(round(Fraction(info.duration_s or 0.0) * rate), begin + placed.body)
        media = Media(file, length, (info.height, info.width), info.rate, info.has_sound)
        fills = board.canvas.fit == "crop"
        return Piece(name, media, placed.first, placed.body, begin, into, placed.into_frames, fills)
    before = placed.number - 1
    media = write(_alone(placed, layout, board), f"shot-{placed.number:02d}", before, before + placed.num_frames)
    return Piece(name, media, placed.first, placed.body, placed.pre, into, placed.into_frames)


def _alone(placed: Placed, layout: Layout, board: Storyboard) -> Storyboard:
    """A film with one shot as long as it is seen, its transitions included; cards of a frame keep its number.

    By that and its seed its effects are made: grain and shaking stay those of the film.
    """
    alone = {"length_s": float(placed.num_frames / layout.rate), "beats": None, "transition": None, "volume_db": None}
    card = Shot(verb="card", length_s=float(1 / layout.rate))
    shots = (*[card] * (placed.number - 1), placed.shot.model_copy(update=alone))
    return Storyboard(run=board.run, canvas=board.canvas, shots=shots)


def _silent(board: Storyboard, layout: Layout) -> Storyboard:
    """The film without sound and texts, its shots as long as the music made them."""
    shots = tuple(
        placed.shot.model_copy(
            update={"length_s": float(placed.body / layout.rate), "beats": None, "volume_db": None}
        )
        for placed in layout.placed
    )
    return Storyboard(run=board.run, canvas=board.canvas, opening=board.opening, ending=board.ending, shots=shots)


def _claim(folder: Path, board: Storyboard) -> None:
    """Make the folder, and note in it which sounds and captions will be an edit's own.

    Clips have records beside them, which tell that they may be replaced.

    Raises:
        OutputError: a file of such a name is there, and no earlier edit wrote it; or the folder cannot be made.
    """
    heard = [("music", 1)] if board.music is not None else []
    heard += [("voice", number) for number in range(1, len(board.voices) + 1)]
    heard += [("clip", number) for number, shot in enumerate(board.shots, start=1) if shot.volume_db is not None]
    names = [NOTED, *(f"{_sound_name(*one)}.wav" for one in heard), *([CAPTIONS] if board.captions is not None else [])]
    own = _noted(folder / NOTED)
    for name in names:
        if name not in own and (folder / name).exists():
            reason = "a file of that name is there, and no edit wrote it; choose another name for the edit, or move it"
            raise OutputError(f"cannot write {folder / name}: {reason}")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / NOTED, json.dumps({"written": sorted({*own, *names})}, indent=1) + "\n")


def _noted(path: Path) -> set[str]:
    """The names that earlier edits noted; none where there is no such note."""
    try:
        noted = json.loads(read_bounded(path, MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return set()
    names = noted.get("written") if isinstance(noted, dict) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _sound_name(kind: str, number: int) -> str:
    return "music" if kind == "music" else f"{'shot' if kind == 'clip' else kind}-{number:02d}"


def _sounds(board: Storyboard, layout: Layout, folder: Path) -> tuple[tuple[str, tuple[Piece, ...]], ...]:
    """Music, voices and clips that are heard, each as a file of its own, on tracks."""
    pieces: dict[str, list[Piece]] = {}
    for stem in stems(board, layout):
        file = _sound_name(stem.kind, stem.number)
        media = _write_wave(stem, layout, folder / f"{file}.wav")
        piece = Piece(file, media, stem.first, media.length, role=ROLES[stem.kind])
        pieces.setdefault(stem.kind, []).append(piece)
    return tuple(
        (kind if number == 1 else f"{kind} {number}", tuple(track))
        for kind, found in pieces.items()
        for number, track in enumerate(side_by_side(found, lambda one: (one.begin, one.length)), start=1)
    )


def _write_wave(stem: Stem, layout: Layout, file: Path) -> Media:
    """A stem as 16-bit samples, filled up to whole frames of the film."""
    def place(frame: int) -> int:
        return round(frame / layout.rate * RATE_HZ)

    count = 0
    with atomic_path(file) as part, wave.open(str(part), "wb") as written:
        written.setparams((CHANNELS, 2, RATE_HZ, 0, "NONE", "not compressed"))
        for block in stem.sound.blocks:
            written.writeframes(np.rint(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
            count += len(block)
        length = 1
        while place(stem.first + length) - place(stem.first) < count:
            length += 1
        written.writeframes(bytes(2 * CHANNELS * (place(stem.first + length) - place(stem.first) - count)))
    return Media(file, length, has_sound=True)


def _texts(board: Storyboard, layout: Layout, captions: tuple[Caption, ...]) -> tuple[Text, ...]:
    """Titles and captions, as far as they are seen."""
    def found() -> Iterator[Text]:
        for title in board.titles:
            yield text("title", title.text, title.start_s, title.length_s, title.place, title.size, title.color)
        for caption in captions:
            how = board.captions
            assert how is not None  # or there were none
            length_s = caption.end_s - caption.start_s
            said = text("caption", caption.text, caption.start_s, length_s, how.place, how.size, how.color)
            yield replace(said, is_burnt=how.mode == "burnt")

    def text(kind: str, said: str, start_s: float, length_s: float, place: str, size: float, color: str) -> Text:
        begin, end = (math.ceil(Fraction(str(at_s)) * layout.rate) for at_s in (start_s, round(start_s + length_s, 6)))
        return Text(kind, plain_text(said), begin, min(end, layout.num_frames) - begin, place, size, color)

    return tuple(one for one in found() if one.length > 0 and one.text.strip())


def _tell(report: Report | None, line: str) -> None:
    if report is not None:
        report(line)
