"""The frames of a shot that a model makes: one function for each verb, all at the model's size and rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.config import Config
from autoreel.errors import MediaError
from autoreel.film.layout import Placed
from autoreel.film.storyboard import Shot
from autoreel.media.decode import decode, first_frame
from autoreel.media.limits import FILM

CONTEXT_S = 2.0  # of a clip that a shot continues
SEEN_S = 0.75  # of the clips that a shot leads from and to
HELD_S = 0.1  # a source may end this much early; its last frame is held
MAX_LOOP_S = 60.0


class FilmRun(Protocol):
    """What a film asks of a trained run; `generation.run.Run` is one."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def rate(self) -> Fraction: ...
    @property
    def config(self) -> Config: ...
    @property
    def computed_on(self) -> str: ...

    def generate_stream(self, label: str | None = None, num_frames: int = 33, seed: int = 0) -> Iterator[Frames]: ...
    def generate_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int]
    ) -> list[NDArray[np.float32]]: ...
    def decode(self, latents: NDArray[np.float32], num_frames: int | None = None) -> Frames: ...
    def continue_stream(
        self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Iterator[Frames]: ...
    def animate_stream(
        self, picture: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Iterator[Frames]: ...
    def rebuild_stream(self, frames: Iterator[Frames]) -> Iterator[Frames]: ...
    def between(
        self, start: Frames, end: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Frames: ...
    def loop(self, frames: Frames, num_frames: int, label: str | None = None, seed: int = 0) -> Frames: ...
    def vary(
        self, frames: Frames, strength: float = 0.6, label: str | None = None, seed: int = 0
    ) -> Frames: ...
    def morph(self, start: Frames, end: Frames, num_frames: int = 33) -> Frames: ...
    def slow_stream(self, frames: Iterator[Frames], factor: float = 2.0) -> Iterator[Frames]: ...
    def enlarge_stream(self, frames: Iterable[Frames]) -> Iterator[Frames]: ...


def make(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """`count` frames by the model; what it is given is fitted as its footage was.

    Raises:
        MediaError: a source cannot be read, or ends before its part of the shot does.
    """
    return _VERBS[placed.shot.verb](placed, run, count)


def too_short(number: int, source: str, missing_s: float) -> MediaError:
    """A source ends before the shot does."""
    return MediaError(
        f"shot {number}: {source} ends {missing_s:.2f} s before the shot does; "
        "shorten the shot or its transition, or move its in_s and out_s"
    )


def _generated(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    shot = placed.shot
    return run.generate_stream(label=shot.label, num_frames=count, seed=shot.seed or 0)


def _animated(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    shot = placed.shot
    fit, at_s = run.config.data.fit, shot.in_s or 0.0
    picture = first_frame(Path(str(shot.source)), size=run.size, fit=fit, at_s=at_s, limits=FILM)
    return run.animate_stream(picture, num_frames=count, label=shot.label, seed=shot.seed or 0)


def _rebuilt(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    shot = placed.shot
    chunks = _chunks(str(shot.source), run, shot.in_s or 0.0, shot.out_s, count)
    return _held(run.rebuild_stream(chunks), count, placed.number, run.rate, str(shot.source))


def _continued(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """What comes after the clip; the clip itself is not shown."""
    shot, source = placed.shot, str(placed.shot.source)
    context = _last(source, run, shot.in_s or 0.0, shot.out_s, CONTEXT_S)
    made = run.continue_stream(context, num_frames=count, label=shot.label, seed=shot.seed or 0)
    return without(made, len(context))


def _between(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """The way from the end of one clip to the beginning of another; neither is shown."""
    shot = placed.shot
    start = _last(str(shot.source), run, shot.in_s or 0.0, shot.out_s, SEEN_S)
    wanted = max(1, round(SEEN_S * run.rate))
    end = np.concatenate(list(_chunks(str(shot.to), run, shot.to_in_s or 0.0, None, wanted)) or [start[:0]])[:wanted]
    if not len(end):
        raise MediaError(f"{shot.to}: has no frames from to_in_s on to lead to")
    made = run.between(start, end, count, label=shot.label, seed=shot.seed or 0)
    spare = (len(made) - len(start) - len(end) - count) // 2  # what is made is rounded up to whole groups
    return iter([made[len(start) + spare : len(start) + spare + count]])


def _looped(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """The clip and a way back to its beginning, again and again."""
    shot = placed.shot
    end_s = min(shot.out_s or math.inf, (shot.in_s or 0.0) + MAX_LOOP_S)
    clip = _whole(str(shot.source), run, shot.in_s or 0.0, end_s, count)
    once = run.loop(clip, max(1, round((shot.way_s or 1.0) * run.rate)), label=shot.label, seed=shot.seed or 0)
    for start in itertools.count(0, len(once)):
        if start >= count:
            return
        yield once[: count - start]


def _varied(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    shot, source = placed.shot, str(placed.shot.source)
    strength = 0.6 if shot.strength is None else shot.strength
    clip = _exactly(source, run, shot.in_s or 0.0, shot.out_s, count, placed.number)
    return iter([run.vary(clip, strength, label=shot.label, seed=shot.seed or 0)])


def _morphed(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """Two clips run side by side while the latents walk from the first to the second."""
    shot = placed.shot
    clips = []
    for source, in_s, out_s in ((shot.source, shot.in_s, shot.out_s), (shot.to, shot.to_in_s, None)):
        clips.append(_exactly(str(source), run, in_s or 0.0, out_s, count, placed.number))
    return iter([run.morph(clips[0], clips[1], count)])


def _slowed(placed: Placed, run: FilmRun, count: int) -> Iterator[Frames]:
    """The latents of its pictures, resampled in time: what lies between two is painted, not repeated."""
    shot, source = placed.shot, str(placed.shot.source)
    needed = num_slowed(shot, count)
    chunks = _chunks(source, run, shot.in_s or 0.0, shot.out_s, needed)
    return run.slow_stream(_held(chunks, needed, placed.number, run.rate, source), 1 / _slowness(shot))


def num_slowed(shot: Shot, count: int) -> int:
    """How many frames of its clip a shot in slow motion needs to show `count`."""
    return math.ceil((count - 1) * _slowness(shot) + 1e-6) + 1


def _slowness(shot: Shot) -> float:
    return shot.factor or 0.5


_VERBS: dict[str, Callable[[Placed, FilmRun, int], Iterator[Frames]]] = {
    "generate": _generated,
    "continue": _continued,
    "animate": _animated,
    "between": _between,
    "loop": _looped,
    "vary": _varied,
    "morph": _morphed,
    "slow": _slowed,
    "rebuild": _rebuilt,
}


def _chunks(source: str, run: FilmRun, start_s: float, out_s: float | None, count: int) -> Iterator[Frames]:
    """The frames of a source from a time on, at least `count` where it has them."""
    last_s = min(out_s or math.inf, start_s + float((count + 1) / run.rate))
    fit = run.config.data.fit
    for chunk in decode(
        Path(source), size=run.size, fit=fit, rate=run.rate, start_s=start_s, end_s=last_s, limits=FILM
    ):
        yield chunk.frames


def _whole(source: str, run: FilmRun, start_s: float, out_s: float | None, count: int) -> Frames:
    """Up to `count` frames of a source."""
    frames = list(_chunks(source, run, start_s, out_s, count))
    if not frames:
        raise MediaError(f"{source}: has no frames between in_s and out_s")
    return np.concatenate(frames)[:count]


def _exactly(source: str, run: FilmRun, start_s: float, out_s: float | None, count: int, number: int) -> Frames:
    """`count` frames of a source, the last one held where it ends a little early."""
    chunks = _chunks(source, run, start_s, out_s, count)
    return np.concatenate(list(_held(chunks, count, number, run.rate, source)))


def _last(source: str, run: FilmRun, start_s: float, out_s: float | None, length_s: float) -> Frames:
    """The last frames of a clip."""
    keep = max(1, round(length_s * run.rate))
    kept = np.zeros((0, *run.size, 3), np.uint8)
    fit = run.config.data.fit
    for chunk in decode(Path(source), size=run.size, fit=fit, rate=run.rate, start_s=start_s, end_s=out_s, limits=FILM):
        kept = np.concatenate([kept, chunk.frames])[-keep:]
    if not len(kept):
        raise MediaError(f"{source}: has no frames between in_s and out_s to go on from")
    return kept


def _held(chunks: Iterator[Frames], count: int, number: int, rate: Fraction, source: str) -> Iterator[Frames]:
    """The frames, the last one held where they end a little early."""
    left, last = count, None
    for chunk in chunks:
        if len(chunk):
            yield chunk[:left]
            left, last = left - len(chunk), chunk[-1:]
        if left <= 0:
            return
    missing_s = float(left / rate)
    if last is None or missing_s > HELD_S:
        raise too_short(number, source, missing_s)
    yield np.repeat(last, left, axis=0)


def without(chunks: Iterator[Frames], skip: int) -> Iterator[Frames]:
    """The frames after the first `skip`."""
    for chunk in chunks:
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
