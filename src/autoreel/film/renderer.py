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

from autoreel.film import provenance
from autoreel.film.ahead import ahead
from autoreel.film.batches import make_shots
from autoreel.film.beats import Beats, track_beats
from autoreel.film.cache import ShotCache
from autoreel.film.composer import Composer
from autoreel.film.delivery import Delivery, recorded
from autoreel.film.document import beside, load_storyboard, read_record
from autoreel.film.layout import lay_out
from autoreel.film.made import FilmRun
from autoreel.film.overlays import Overlays
from autoreel.film.preflight import check_lengths, check_places, check_sources, inputs_of
from autoreel.film.soundtrack import soundtrack
from autoreel.film.storyboard import Canvas, Storyboard, needs_run
from autoreel.film.takes import Takes
from autoreel.media.decode import read_sound
from autoreel.media.encode import VideoWriter
from autoreel.media.limits import FILM
from autoreel.media.manifest import Signing, sealing
from autoreel.media.sound import fit
from autoreel.media.watermark import Watermark, run_id
from autoreel.media.yuv420 import Picture, as_planar, as_rgb
from autoreel.runs import atomic_path

T = TypeVar("T")
Report = Callable[[str], None]
BEAT_RATE_HZ = 22_050
REPORT_EVERY_S = 2.0
FRAMES_AHEAD = 24  # composed before the encoder asks for them
PREVIEW_PX = 384
SHOTS_AHEAD = 1  # made, or in the making, while another is composed: more of them are memory and no speed


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
    signing: Signing | None = None,
    delivery: Delivery | None = None,
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
        signing: the signature that its C2PA manifest gets; None makes no manifest.
        delivery: how the file is written, and whether it is all of the film; None for the usual, and what it leaves
            open for a film whose record is given is as that was written.

    Returns:
        What was made. The film has exactly its length times its rate frames.

    Raises:
        ConfigError: the storyboard, or what it names, has problems, files too short among them; all of them.
        MediaError: material that turns out to be damaged, or to end before it said.
        OutputError: the film cannot be written; nothing stands under its name then. Or it would replace something that
            it is made of, or its record a file that is none.
    """
    started_s = time.monotonic()
    where = str(storyboard) if isinstance(storyboard, Path) else "storyboard"
    board = load_storyboard(storyboard) if isinstance(storyboard, Path) else storyboard
    run_hash, upscaler = provenance.hash_of_run(board), provenance.upscaler_hash(board)
    delivery = delivery or Delivery()
    made_before = storyboard if isinstance(storyboard, Path) and storyboard.suffix.lower() == ".json" else None
    if made_before is not None:
        watermark = watermark and provenance.is_marked(made_before)
        delivery = delivery.instead_of(recorded(read_record(made_before), where), out)
    if run is None and any(needs_run(shot) for shot in board.shots):
        run = open_run(Path(str(board.run)), device)
    if delivery.upscale is not None:
        changed = board.canvas.model_copy(update={"upscale": delivery.upscale})
        board = board.model_copy(update={"canvas": changed})
    if run is not None and board.canvas.upscale == "learned":
        run.enlarge_stream(iter(()))  # what is wrong with it is said before anything is made
    if delivery.preview:
        board = board.model_copy(update={"canvas": small_canvas(board.canvas)})
    files = check_sources(board, run, where)
    check_places(board, out)
    layout = lay_out(board, beats_of(board))
    first, last = delivery.frames_of(layout)
    titles = Overlays(board, layout, where)
    cache = ShotCache(beside(delivery.shots_of or out, ".shots") if keep_shots else None)
    canvas = board.canvas
    size = (canvas.height, canvas.width)
    # What cannot be written is said before anything is made.
    track = titles.track(first, last)
    trial = VideoWriter(out, size, canvas.rate, codec=delivery.codec, hardware=delivery.hardware, captions=track)
    planar, without_chip = trial.takes_planar, trial.without_chip()
    check_lengths(board, layout, run, files, planar, where)
    inputs = provenance.digests(inputs_of(board), report)
    computed_on = run.computed_on if run is not None else None
    if made_before is not None and report is not None:
        for line in provenance.differences(
            made_before, run_hash=run_hash, upscaler=upscaler, inputs=inputs, computed_on=computed_on
        ):
            report(line)
    if without_chip is not None and report is not None:
        report(f"hardware: {without_chip}; the processor does it")
    if trial.written_rate != canvas.rate and report is not None:
        report(f"gif: {float(trial.written_rate):g} frames a second of the film's {float(canvas.rate):g} are kept")
    if report is not None:
        for line in titles.notes:
            report(line)
    composer = Composer(board, layout, run, cache, run_hash, first, last, planar=planar)
    wanted = composer.wanted()
    part, record = range(first, last), beside(out, ".json")
    kinds = {path: file.kinds for path, file in files.items()}
    seen = provenance.kinds_seen(layout, part, kinds)
    kind, details = provenance.kind_of_film(seen), provenance.statement(layout, part, seen, run_hash)
    stop, notes = threading.Event(), list[str]()
    with ExitStack() as stack:
        if run is not None and wanted:
            composer.ready = stack.enter_context(ahead(make_shots(run, wanted, takes, stop), SHOTS_AHEAD, stop))
        # A GIF has no sound: nothing is mixed for it.
        is_heard = out.suffix.lower() != ".gif"
        sound = soundtrack(board, layout, first=first, last=last, told=notes.append) if is_heard else None
        told = stack.enter_context(atomic_path(record))  # gets its name right after the film, which ends before it
        writer = stack.enter_context(VideoWriter(
            out, size, canvas.rate, quality=delivery.own_quality, codec=delivery.codec, hardware=delivery.hardware,
            sound=sound, metadata=provenance.metadata(board, kind), captions=track,
            seal=sealing(signing, out, kind=kind, details=details),
        ))  # fmt: skip
        frames = composer.frames() if run is None else _on_all_cores(composer.frames())
        pictures = stack.enter_context(ahead(frames, FRAMES_AHEAD, stop))
        progress = _Progress(last - first, report)
        marker = Watermark(size, canvas.rate, run_id(run_hash))
        for number, picture, shown in zip(part, pictures, provenance.of_each_frame(seen), strict=True):
            is_marked = watermark and provenance.shows_model(shown)
            _write(titles.over(picture, number), writer, planar, marker if is_marked else None, number)
            progress.told(number + 1 - first)
        # All that can be done before is: between the film's name and its record's lies nothing that takes time.
        sha256 = provenance.digest(writer.complete())
        wall_s = time.monotonic() - started_s
        values = provenance.record(
            board, layout, part=part, seen=seen, files=kinds, inputs=inputs, film=out.name, sha256=sha256, path=record,
            run_hash=run_hash, computed_on=computed_on, wall_s=wall_s, is_marked=watermark,
            delivery=delivery.as_record(writer.codec),
        )  # fmt: skip
        provenance.write_record(values, told)
    if report is not None:
        for line in notes:
            report(line)
    is_whole = (first, last) == (0, layout.num_frames)
    if is_whole and not delivery.preview and delivery.shots_of in (None, out):
        cache.remove_unused()
    return FilmResult(
        out, record, last - first, float((last - first) / layout.rate), wall_s, cache.num_made, cache.num_kept
    )


def _write(picture: Picture, writer: VideoWriter, planar: bool, marker: Watermark | None, number: int) -> None:
    """A finished picture into the file, with its mark."""
    if planar:
        ready = as_planar(picture)
        writer.write(ready if marker is None else marker.mark_planar(ready, number))
        return
    frame = np.asarray(as_rgb(picture), dtype=np.uint8)
    writer.write(frame if marker is None else marker.mark(frame, number))


def small_canvas(canvas: Canvas) -> Canvas:
    """The canvas of a preview: of the same shape, its longer side no longer than PREVIEW_PX."""
    scale = min(1.0, PREVIEW_PX / max(canvas.width, canvas.height))
    width, height = (max(16, 2 * round(side * scale / 2)) for side in (canvas.width, canvas.height))
    return canvas.model_copy(update={"width": width, "height": height})


def open_run(path: Path, device: str) -> FilmRun:
    """Open the run that a storyboard names."""
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
    sound = read_sound(music, BEAT_RATE_HZ, channels=1, start_s=start_s, end_s=start_s + length_s, limits=FILM)
    return track_beats(fit(sound, length_s, 0.0, 0.0))


def beats_of(board: Storyboard) -> list[float]:
    """The beats of a film's music, in seconds; only a storyboard that counts in beats needs them."""
    if board.music is None or board.tempo_bpm is not None or all(shot.beats is None for shot in board.shots):
        return []
    # How long the film is, is not known yet: a beat lasts at most 1.5 s, the longest the tracker knows.
    most_s = sum(shot.length_s if shot.length_s is not None else 1.5 * (shot.beats or 1) for shot in board.shots)
    beats = read_beats(Path(board.music.file), board.music.start_s, most_s)
    return [float(at) for at in beats.times_s]


class _Progress:
    """Tells how far a rendering is and how long it still takes, reckoned from its first frame on."""

    def __init__(self, num_frames: int, report: Report | None) -> None:
        self._num_frames, self._report = num_frames, report
        self._first_s = self._told_s = 0.0

    def told(self, done: int) -> None:
        """Report when it is time to."""
        now_s = time.monotonic()
        if done == 1:  # before it, the first shots were made: that says nothing of the others
            self._first_s = self._told_s = now_s
        if self._report is None or (now_s - self._told_s < REPORT_EVERY_S and done < self._num_frames):
            return
        self._told_s = now_s
        left_s = (now_s - self._first_s) / max(1, done - 1) * (self._num_frames - done)
        self._report(f"film: {done} of {self._num_frames} frames, {left_s:.0f} s left")
