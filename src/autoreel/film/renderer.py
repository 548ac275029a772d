"""A storyboard becomes a film: frame after frame, in memory that does not grow with its length.

    thread 1    the model makes shots      --shots-->      thread 2    effects, transitions
                                                              |
    film.mp4    <--encoder--    this thread: titles    <---frames
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from autoreel.errors import ConfigError
from autoreel.film import provenance
from autoreel.film.ahead import ahead
from autoreel.film.batches import make_shots
from autoreel.film.beats import Beats, track_beats
from autoreel.film.cache import ShotCache
from autoreel.film.composer import Composer
from autoreel.film.document import beside, load_storyboard
from autoreel.film.layout import Layout, lay_out
from autoreel.film.made import FilmRun
from autoreel.film.preflight import check_places, check_sources
from autoreel.film.soundtrack import soundtrack
from autoreel.film.storyboard import Storyboard, Title, needs_run
from autoreel.film.takes import Takes
from autoreel.media.decode import read_sound
from autoreel.media.encode import VideoWriter
from autoreel.media.sound import fit
from autoreel.media.titles import TitleLayer, overlay, render_title
from autoreel.media.watermark import Watermark, run_id

T = TypeVar("T")
Report = Callable[[str], None]
BEAT_RATE_HZ = 22_050
REPORT_EVERY_S = 2.0
FRAMES_AHEAD = 24  # composed before the encoder asks for them
SHOTS_AHEAD = 4  # made, at the model's size, before they are composed


@dataclass(frozen=True)
class FilmResult:
    """A finished film.

    Args:
        path: its file.
        record: the JSON file that tells how it was made.
        num_frames, duration_s: its length.
        wall_s: how long it took.
        num_made, num_kept: shots made by the model now, and taken from an earlier rendering.
    """

    path: Path
    record: Path
    num_frames: int
    duration_s: float
    wall_s: float
    num_made: int
    num_kept: int


def render(
    storyboard: Storyboard | Path,
    run: FilmRun | None,
    out: Path,
    *,
    report: Report | None = None,
    keep_shots: bool = True,
    device: str = "auto",
    takes: Takes | None = None,
    watermark: bool = True,
) -> FilmResult:
    """Render a film.

    Args:
        storyboard: it, or the file it stands in.
        run: the trained run; None opens the one the storyboard names, when it needs one.
        out: the film's file; its ending chooses the format.
        report: told in one line, about every two seconds, how far it is.
        keep_shots: keep the model's frames in a hidden folder beside the film, for the next rendering.
        device: that a run is opened on, "auto", "cpu" or "cuda".
        takes: new footage that was sketched with this run and need only be painted.
        watermark: mark the frames in which something is seen that a model made; a film whose record is given is marked
            as it was.

    Returns:
        What was made. The film has exactly its length times its rate frames.

    Raises:
        ConfigError: the storyboard, or what it names, has problems; all of them.
        MediaError: material that cannot be read or ends too early.
        OutputError: the film cannot be written; nothing stands under its name then. Or it would replace something that
            it is made of, or its record a file that is none.
    """
    started_s = time.monotonic()
    where = str(storyboard) if isinstance(storyboard, Path) else "storyboard"
    board = load_storyboard(storyboard) if isinstance(storyboard, Path) else storyboard
    run_hash = provenance.hash_of_run(board)
    if isinstance(storyboard, Path) and storyboard.suffix.lower() == ".json":
        watermark = watermark and provenance.is_marked(storyboard)
        if report is not None:
            for line in provenance.differences(storyboard, run_hash):
                report(line)
    if run is None and any(needs_run(shot) for shot in board.shots):
        run = _open_run(Path(str(board.run)), device)
    check_sources(board, run, where)
    check_places(board, out)
    layout = lay_out(board, _beats_s(board))
    titles = _Titles(board, layout, where)
    cache = ShotCache(beside(out, ".shots") if keep_shots else None)
    canvas = board.canvas
    size = (canvas.height, canvas.width)
    VideoWriter(out, size, canvas.rate)  # an ending that is no film is said before anything is made
    composer = Composer(board, layout, run, cache, run_hash)
    wanted = composer.wanted()
    stop = threading.Event()
    with ExitStack() as stack:
        if run is not None and wanted:
            composer.ready = stack.enter_context(ahead(make_shots(run, wanted, takes), SHOTS_AHEAD, stop))
        sound = soundtrack(board, layout)
        writer = stack.enter_context(
            VideoWriter(out, size, canvas.rate, sound=sound, metadata=provenance.metadata(board))
        )
        frames = composer.frames() if run is None else _on_all_cores(composer.frames())
        pictures = stack.enter_context(ahead(frames, FRAMES_AHEAD, stop))
        progress = _Progress(layout.num_frames, report)
        marker = Watermark(size, canvas.rate, run_id(run_hash))
        for number, (picture, is_made) in enumerate(zip(pictures, provenance.shows_model(layout), strict=True)):
            frame = np.asarray(titles.over(picture, number), dtype=np.uint8)
            writer.write(marker.mark(frame, number)[None] if is_made and watermark else frame[None])
            progress.told(number + 1)
    cache.remove_unused()
    wall_s = time.monotonic() - started_s
    record = beside(out, ".json")
    provenance.write_record(
        provenance.record(board, layout, film=out, path=record, run_hash=run_hash, wall_s=wall_s, is_marked=watermark),
        record,
    )
    return FilmResult(
        out, record, layout.num_frames, float(layout.num_frames / layout.rate), wall_s, cache.num_made, cache.num_kept
    )


def _open_run(path: Path, device: str) -> FilmRun:
    from autoreel.generation.run import Run

    return Run.open(path, device)


def _on_all_cores(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Say how many cores this thread computes with; else it would take over what another has set at that moment."""
    import torch

    from autoreel.models.compute import computing_cores

    torch.set_num_threads(computing_cores())
    yield from items


def read_beats(music: Path, start_s: float, length_s: float) -> Beats:
    """The beats of a piece of music as it lies under a film of `length_s` seconds, from the film's start on.

    Raises:
        MediaError: it cannot be read.
    """
    sound = read_sound(music, sample_rate_hz=BEAT_RATE_HZ, channels=1, start_s=start_s, end_s=start_s + length_s)
    return track_beats(fit(sound, length_s, 0.0, 0.0))


def _beats_s(board: Storyboard) -> list[float]:
    """Only a storyboard that counts in beats needs them."""
    if board.music is None or board.tempo_bpm is not None or all(shot.beats is None for shot in board.shots):
        return []
    # How long the film is, is not known yet: a beat lasts at most 1.5 s, the longest the tracker knows.
    most_s = sum(shot.length_s if shot.length_s is not None else 1.5 * (shot.beats or 1) for shot in board.shots)
    beats = read_beats(Path(board.music.file), board.music.start_s, most_s)
    return [float(at) for at in beats.times_s]


class _Titles:
    """The titles of a film, each set once, before anything is rendered, so that a wrong one is known at once."""

    def __init__(self, board: Storyboard, layout: Layout, where: str) -> None:
        self._rate = float(layout.rate)
        self._set: list[tuple[Title, TitleLayer]] = []
        size = (board.canvas.height, board.canvas.width)
        problems = []
        for number, title in enumerate(board.titles, start=1):
            if title.start_s * self._rate >= layout.num_frames:
                problems.append(f"title {number}: starts at {title.start_s:g} s, after the film's end")
                continue
            font = Path(title.font) if title.font is not None else None
            try:
                layer = render_title(title.text, size=size, scale=title.size, place=title.place,
                                     color=title.color, font=font)  # fmt: skip
            except ValueError as error:
                problems.append(f"title {number}: {error}")
                continue
            self._set.append((title, layer))
        if problems:
            raise ConfigError(problems, where)

    def over(self, picture: Image.Image, frame: int) -> Image.Image:
        """The picture with the titles that are shown at this frame."""
        at_s = frame / self._rate
        for title, layer in self._set:
            gone_s, left_s = at_s - title.start_s, title.start_s + title.length_s - at_s
            if gone_s >= 0 and left_s > 0:
                edge_s = min(gone_s + 1 / self._rate, left_s)
                picture = overlay(picture, layer, min(1.0, edge_s / title.fade_s) if title.fade_s else 1.0)
        return picture


class _Progress:
    """Tells how far a rendering is and how long it still takes."""

    def __init__(self, num_frames: int, report: Report | None) -> None:
        self._num_frames, self._report = num_frames, report
        self._started_s = self._told_s = time.monotonic()

    def told(self, done: int) -> None:
        """Report when it is time to."""
        now_s = time.monotonic()
        if self._report is None or (now_s - self._told_s < REPORT_EVERY_S and done < self._num_frames):
            return
        self._told_s = now_s
        left_s = (now_s - self._started_s) / done * (self._num_frames - done)
        self._report(f"film: {done} of {self._num_frames} frames, {left_s:.0f} s left")
