"""The pictures of a film, one after the other: shots, transitions, effects, and the film's start and end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from autoreel.clip import Frames
from autoreel.errors import RunError
from autoreel.film.batches import Wanted, is_short_enough
from autoreel.film.cache import ShotCache
from autoreel.film.filters import Span, make_filters
from autoreel.film.layout import Layout, Placed
from autoreel.film.sources import FilmRun, Pace, open_source, skipped
from autoreel.film.storyboard import Storyboard
from autoreel.film.transitions import mix, to_color


@dataclass
class Composer:
    """Puts the shots together: each is opened when it is first seen and closed when it is over.

    Args:
        board, layout: what and when.
        run: for shots that need a model.
        cache: of frames made before.
        run_hash: of the run's weights; None keeps nothing in the cache.
        ready: numbers and frames of the shots in `wanted`, as they are made.
    """

    board: Storyboard
    layout: Layout
    run: FilmRun | None
    cache: ShotCache
    run_hash: str | None
    ready: Iterator[tuple[int, Frames]] = field(default_factory=lambda: iter(()))
    _planned: set[int] = field(default_factory=set)
    _open: dict[int, Iterator[Image.Image]] = field(default_factory=dict)

    def wanted(self) -> list[Wanted]:
        """The shots to make in groups, in order: new footage that is not in the cache and fits in memory."""
        shots = []
        for placed in self.layout.placed if self.run is not None else ():
            shot = placed.shot
            if self.run is None or shot.verb != "generate":
                continue
            count = skipped(shot, self.run.rate) + Pace.of(placed, self.run.rate, self.layout.rate).num_source
            if is_short_enough(count, self.run.size) and not self.cache.holds(self._what_makes(placed), count):
                shots.append(Wanted(placed.number, shot.label, shot.seed or 0, count))
        self._planned = {shot.number for shot in shots}
        return shots

    def frames(self) -> Generator[Image.Image, None, None]:
        """Every frame of the film, without its titles."""
        placed = self.layout.placed
        current = 0
        try:
            for frame in range(self.layout.num_frames):
                while current + 1 < len(placed) and frame >= _ends(placed, current):
                    _close(self._open.pop(current))
                    current += 1
                yield self._edges(self._picture(current, frame), frame)
        finally:
            for pictures in self._open.values():
                _close(pictures)
            self._open.clear()

    def _picture(self, current: int, frame: int) -> Image.Image:
        """What is seen: one shot, or the way from it to the next."""
        placed = self.layout.placed
        following = placed[current + 1] if current + 1 < len(placed) else None
        if following is None or following.into is None or frame < _begins(following):
            return self._next(current)
        into, first = following.into, _begins(following)
        progress = (frame - first + 1) / (following.into_frames + 1)
        if not following.pre and not placed[current].post:  # a dip: one shot at a time
            index = current if frame < following.first else current + 1
            picture = self._next(index)
            return mix(into.kind, picture, picture, progress, into.color)
        return mix(into.kind, self._next(current), self._next(current + 1), progress, into.color)

    def _next(self, index: int) -> Image.Image:
        if index not in self._open:
            self._open[index] = self._shot(self.layout.placed[index])
        return next(self._open[index])

    def _shot(self, placed: Placed) -> Iterator[Image.Image]:
        canvas = self.board.canvas
        span = Span(placed.num_frames, (canvas.height, canvas.width), (placed.shot.seed or 0) + placed.number)
        apply = make_filters(placed.shot.effects, span)

        def cached(count: int, make: Callable[[], Iterator[Frames]]) -> Iterator[Frames]:
            if placed.number in self._planned:
                return self.cache.frames(self._what_makes(placed), count, lambda: iter([self._await(placed.number)]))
            return self.cache.frames(self._what_makes(placed), count, make)

        for number, picture in enumerate(open_source(placed, canvas, self.run, cached)):
            yield apply(picture, number)

    def _await(self, number: int) -> Frames:
        """The frames of a shot that is made ahead; those before it have been used, or were not needed after all."""
        for ready, frames in self.ready:
            if ready == number:
                return frames
        raise RunError(f"shot {number} was not made")

    def _what_makes(self, placed: Placed) -> dict[str, Any] | None:
        """Everything that decides the model's frames of a shot; None when it cannot be told."""
        shot = placed.shot
        if self.run_hash is None:
            return None
        source = None
        if shot.source is not None:
            found = Path(shot.source).stat()
            source = [shot.source, found.st_size, found.st_mtime_ns]
        return {"run": self.run_hash, "verb": shot.verb, "label": shot.label, "seed": shot.seed or 0,
                "source": source, "in_s": shot.in_s, "out_s": shot.out_s}  # fmt: skip

    def _edges(self, picture: Image.Image, frame: int) -> Image.Image:
        """Out of a colour at the start, into one at the end."""
        rate, last = self.layout.rate, self.layout.num_frames
        for fade, gone in ((self.board.opening, frame + 1), (self.board.ending, last - frame - 1)):
            if fade is not None:
                length = max(1.0, fade.length_s * float(rate))
                picture = to_color(picture, fade.color, 1.0 - gone / length)
        return picture


def _begins(placed: Placed) -> int:
    """The first frame of the transition into a shot."""
    return placed.first - placed.into_frames // 2


def _ends(placed: tuple[Placed, ...], index: int) -> int:
    """The first frame that shows nothing of a shot any more."""
    following = placed[index + 1]
    return _begins(following) + following.into_frames if following.into is not None else following.first


def _close(pictures: Any) -> None:
    close = getattr(pictures, "close", None)
    if close is not None:
        close()
