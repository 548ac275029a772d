"""The pictures of a film, one after the other: shots, transitions, effects, and the film's start and end."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoreel.clip import Frames
from autoreel.errors import RunError
from autoreel.film import provenance
from autoreel.film.batches import Wanted, is_short_enough
from autoreel.film.cache import ShotCache
from autoreel.film.effects import TIMING_EFFECTS, Effect
from autoreel.film.filters import Span, make_filters, make_planar_filters, stays_planar
from autoreel.film.layout import Layout, Placed
from autoreel.film.made import FilmRun
from autoreel.film.pace import Pace
from autoreel.film.painted import Way, gathered, paint
from autoreel.film.sources import Fitter, open_source, skipped
from autoreel.film.storyboard import LATENT_TRANSITIONS, Storyboard
from autoreel.film.transitions import fade, mix, to_color
from autoreel.media.yuv420 import Picture, as_planar, as_rgb


class _Shown:
    """A shot while it is seen: its pictures as they come, and its effects."""

    def __init__(
        self, pictures: Iterator[Picture], apply: Callable[[Picture, int], Picture], has_effects: bool
    ) -> None:
        self._pictures, self._apply, self.has_effects = pictures, apply, has_effects
        self.number = 0  # of pictures taken

    def next(self) -> Picture:
        """The next picture with its effects."""
        picture = next(self._pictures)
        self.number += 1
        return self.dressed(picture, self.number - 1)

    def raw(self, count: int) -> Iterator[Picture]:
        """The next `count` pictures without effects."""
        for picture in itertools.islice(self._pictures, count):
            self.number += 1
            yield picture

    def dressed(self, picture: Picture, number: int) -> Picture:
        """A picture with the effects of the shot's frame of that number."""
        return self._apply(picture, number) if self.has_effects else picture

    def close(self) -> None:
        """Let go of what the pictures come from."""
        close = getattr(self._pictures, "close", None)
        if close is not None:
            close()


@dataclass
class Composer:
    """Puts the shots together: each is opened when it is first seen and closed when it is over.

    Args:
        board, layout: what and when.
        run: for shots that need a model.
        cache: of frames made before.
        run_hash: of the run's weights; None keeps nothing in the cache.
        first, last: the part of the film that is wanted, in frames; to its end when None.
        ready: numbers and frames of the shots in `wanted`, as they are made.
        planar: pictures without effects are laid out for encoders that halve the colour (`yuv420.py`).
    """

    board: Storyboard
    layout: Layout
    run: FilmRun | None
    cache: ShotCache
    run_hash: str | None
    first: int = 0
    last: int | None = None
    ready: Iterator[tuple[int, Frames]] = field(default_factory=lambda: iter(()))
    planar: bool = False
    _planned: set[int] = field(default_factory=set)
    _open: dict[int, _Shown] = field(default_factory=dict)
    _ways: dict[int, Way] = field(default_factory=dict)
    _frame: int = 0  # that is being made

    def wanted(self) -> list[Wanted]:
        """The shots to make in groups, in order: new footage that is not in the cache and fits in memory."""
        shots = []
        for placed in self.layout.placed if self.run is not None else ():
            shot = placed.shot
            if self.run is None or shot.verb != "generate" or not self._is_seen(placed):
                continue
            count = skipped(shot, self.run.rate) + Pace.of(placed, self.run.rate, self.layout.rate).num_source
            if is_short_enough(count, self.run.size) and not self.cache.holds(self._what_makes(placed), count):
                shots.append(Wanted(placed.number, shot.label, shot.seed or 0, count))
        self._planned = {shot.number for shot in shots}
        return shots

    def frames(self) -> Generator[Picture, None, None]:
        """Every frame of the film, or of the part that is wanted, without its titles."""
        placed = self.layout.placed
        current = 0
        begin, last = self._begin(), self._last()
        try:
            for frame in range(begin, last):
                self._frame = frame
                while current + 1 < len(placed) and frame >= _ends(placed, current):
                    if current in self._open:  # not those that are over before the part begins
                        self._open.pop(current).close()
                    self._ways.pop(current, None)
                    current += 1
                picture = self._picture(current, frame)
                if frame >= self.first:
                    yield self._edges(picture, frame)
        finally:
            for shown in self._open.values():
                shown.close()
            self._open.clear()

    def _last(self) -> int:
        return self.layout.num_frames if self.last is None else self.last

    def _begin(self) -> int:
        """Where to begin so that a transition which is under way at the first frame is made from its start."""
        for placed in self.layout.placed:
            if placed.into is not None and _begins(placed) <= self.first < _begins(placed) + placed.into_frames:
                return _begins(placed)
        return self.first

    def _is_seen(self, placed: Placed) -> bool:
        return placed.start < self._last() and placed.start + placed.num_frames > self._begin()

    def _picture(self, current: int, frame: int) -> Picture:
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
        if into.kind in LATENT_TRANSITIONS:
            return self._painted(current, following, frame - first, progress)
        return mix(into.kind, self._next(current), self._next(current + 1), progress, into.color)

    def _painted(self, current: int, following: Placed, index: int, progress: float) -> Picture:
        """A frame of a way that the model paints, with the effects of both shots."""
        before, after = self._shown(current), self._shown(current + 1)
        way = self._ways.get(current)
        if way is None:
            way = self._ways[current] = self._way(self.layout.placed[current], following, before, after)
        picture = way.picture(index)
        count = following.into_frames
        if not before.has_effects and not after.has_effects:
            return picture
        numbers = before.number - count + index, after.number - count + index
        return fade(before.dressed(picture, numbers[0]), after.dressed(picture, numbers[1]), progress)

    def _way(self, before: Placed, following: Placed, start: _Shown, end: _Shown) -> Way:
        run, into, count = self.run, following.into, following.into_frames
        if run is None or into is None:
            raise RunError(f"shot {following.number}: its transition needs a trained run")
        step = run.rate / self.layout.rate
        firsts, lasts, real = gathered(start.raw(count), end.raw(count), count, step, run.size)
        what = None
        if self.run_hash is not None:
            shots = [[self._what_makes(p), p.num_frames, p.shot.model_dump(mode="json")] for p in (before, following)]
            canvas = self.board.canvas.model_dump(mode="json")
            what = {**self._maker, "way": into.kind, "frames": count, "canvas": canvas, "shots": shots,
                    "planar": self.planar}  # fmt: skip
            enlarged_by = provenance.upscaler_hash(self.board)  # what the model is given has been enlarged
            what |= {} if enlarged_by is None else {"upscaler": enlarged_by}
        label, seed = following.shot.label, following.shot.seed or 0
        made = self.cache.frames(
            what, len(firsts), lambda: iter([paint(into.kind, run, firsts, lasts, label, seed)])
        )  # fmt: skip
        return Way(np.concatenate(list(self._enlarged(made))), step, real, count)

    def _next(self, index: int) -> Picture:
        return self._shown(index).next()

    def _shown(self, index: int) -> _Shown:
        if index not in self._open:
            placed = self.layout.placed[index]
            self._open[index] = self._shot(placed)
            for _ in self._open[index].raw(max(0, self._frame - placed.start)):
                pass  # a part that begins within a shot: what comes before is not shown
        return self._open[index]

    def _shot(self, placed: Placed) -> _Shown:
        canvas = self.board.canvas
        seed = (placed.shot.seed or 0) + placed.number
        span = Span(placed.num_frames, (canvas.height, canvas.width), seed, self.layout.rate)

        def cached(count: int, make: Callable[[], Iterator[Frames]]) -> Iterator[Frames]:
            if placed.number in self._planned:
                return self.cache.frames(self._what_makes(placed), count, lambda: iter([self._await(placed.number)]))
            return self.cache.frames(self._what_makes(placed), count, make)

        effects = placed.shot.effects
        planar = self.planar and stays_planar(effects)
        pictures = open_source(placed, canvas, self.run, cached, self._enlarged, planar)
        is_changed = any(effect.name not in TIMING_EFFECTS for effect in effects)
        return _Shown(pictures, _dresser(effects, span, planar), is_changed)

    def _enlarged(self, frames: Iterator[Frames]) -> Iterator[Frames]:
        """Frames of the model nearer to the canvas's size, where it has learned that; the cache keeps them as made."""
        canvas, run = self.board.canvas, self.run
        if canvas.upscale != "learned" or run is None or Fitter(canvas).scaled_size(*run.size) <= run.size:
            return frames
        return run.enlarge_stream(frames)

    def _await(self, number: int) -> Frames:
        """The frames of a shot that is made ahead; those before it have been used, or were not needed after all."""
        for ready, frames in self.ready:
            if ready == number:
                return frames
        raise RunError(f"shot {number} was not made")

    @functools.cached_property
    def _maker(self) -> dict[str, Any]:
        """The model, and what its sums are rounded by: another device or version of torch gives other pictures."""
        found = provenance.versions()
        return {"run": self.run_hash, "computed_on": self.run.computed_on if self.run is not None else None,
                "versions": [found["autoreel"], found["torch"]]}  # fmt: skip

    def _what_makes(self, placed: Placed) -> dict[str, Any] | None:
        """Everything that decides the model's frames of a shot; None when it cannot be told."""
        shot = placed.shot
        if self.run_hash is None:
            return None
        given = []
        for name in (shot.source, shot.to):
            found = Path(name).stat() if name is not None else None
            given.append([name, found.st_size, found.st_mtime_ns] if found is not None else None)
        return {**self._maker, "verb": shot.verb, "label": shot.label, "seed": shot.seed or 0, "given": given,
                "in_s": shot.in_s, "out_s": shot.out_s, "to_in_s": shot.to_in_s, "strength": shot.strength,
                "way_s": shot.way_s, "factor": shot.factor}  # fmt: skip

    def _edges(self, picture: Picture, frame: int) -> Picture:
        """Out of a colour at the start, into one at the end."""
        rate, last = self.layout.rate, self.layout.num_frames
        for edge, gone in ((self.board.opening, frame + 1), (self.board.ending, last - frame - 1)):
            if edge is not None:
                length = max(1.0, edge.length_s * float(rate))
                picture = to_color(picture, edge.color, 1.0 - gone / length)
        return picture


def _dresser(effects: tuple[Effect, ...], span: Span, planar: bool) -> Callable[[Picture, int], Picture]:
    """The effects of a shot; what comes in another layout is brought to theirs."""
    if planar:
        dress = make_planar_filters(effects, span)
        return lambda picture, number: dress(as_planar(picture), number)
    apply = make_filters(effects, span)
    return lambda picture, number: apply(as_rgb(picture), number)


def _begins(placed: Placed) -> int:
    """The first frame of the transition into a shot."""
    return placed.first - placed.into_frames // 2


def _ends(placed: tuple[Placed, ...], index: int) -> int:
    """The first frame that shows nothing of a shot any more."""
    following = placed[index + 1]
    return _begins(following) + following.into_frames if following.into is not None else following.first
