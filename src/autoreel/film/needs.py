"""What each shot needs of its files: pictures from a time on, as many as it shows; known before any is decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from autoreel.errors import MediaError
from autoreel.film.effects import InsetEffect, SplitEffect
from autoreel.film.filters import stays_planar
from autoreel.film.layout import Layout, Placed
from autoreel.film.made import HELD_S, FilmRun, num_slowed, too_short
from autoreel.film.material import Material
from autoreel.film.pace import Pace
from autoreel.film.sources import MAX_REVERSED_BYTES, bytes_reversed, pace_of_material, too_long_backwards
from autoreel.film.storyboard import Storyboard
from autoreel.media.captions import read_captions
from autoreel.media.decode import decode, first_frame, sound_blocks
from autoreel.media.limits import FILM

BELIEVED_S = 1.0  # before its end as a file tells it, which may be that of its sound
CHECK_RATE_HZ = 8000  # a sound is only asked whether it is there


@dataclass(frozen=True)
class Need:
    """Pictures that a shot takes from a file.

    Args:
        number: of the shot.
        path: of the file.
        start_s: where in the file they begin.
        out_s: where they end at the latest; None for the file's end.
        count: how many.
        rate: per second.
    """

    number: int
    path: str
    start_s: float
    out_s: float | None = None
    count: int = 1
    rate: Fraction = Fraction(25)

    @property
    def num_needed(self) -> int:
        """How many must be there: what ends a little early is held."""
        return max(1, self.count - math.floor(HELD_S * self.rate))

    @property
    def last_s(self) -> float:
        """The time of the last one that must be there."""
        return self.start_s + float((self.num_needed - 1) / self.rate)

    def missing_s(self, end_s: float) -> float:
        """How much of it lies after a time."""
        return self.start_s + float(self.count / self.rate) - end_s


def problems_of_lengths(
    storyboard: Storyboard, layout: Layout, run: FilmRun | None, files: Mapping[str, Material]
) -> list[str]:  # fmt: skip
    """Every file that is too short for what is shown and heard of it.

    What a file says of its length is believed where that is enough; where it is not, the last pictures are decoded.

    Args:
        storyboard, layout: what and when.
        run: the trained run; None leaves out the shots that need one.
        files: what each file is; one that is missing here has been told of.
    """
    needs = [need for placed in layout.placed for need in _needs_of(placed, storyboard, layout.rate, run, files)]
    problems = [text for need in needs if need.path in files
                for text in _problem_of(need, files[need.path].info.duration_s)]  # fmt: skip
    return problems + _problems_of_sound(storyboard, files) + _problems_of_ends(storyboard, layout)


def problems_backwards(
    storyboard: Storyboard, layout: Layout, run: FilmRun | None, files: Mapping[str, Material], planar: bool
) -> list[str]:  # fmt: skip
    """Every shot that is too long to run backwards.

    Args:
        storyboard, layout, run, files: as of `problems_of_lengths`.
        planar: pictures are laid out as encoders take them, which is half the memory.
    """
    problems = []
    for placed in layout.placed:
        file, is_planar = files.get(str(placed.shot.source)), planar and stays_planar(placed.shot.effects)
        held = bytes_reversed(placed, storyboard.canvas, run, file.info if file is not None else None, is_planar)
        if held > MAX_REVERSED_BYTES:
            problems.append(too_long_backwards(placed.number))
    return problems


def _needs_of(
    placed: Placed, storyboard: Storyboard, rate: Fraction, run: FilmRun | None, files: Mapping[str, Material]
) -> Iterator[Need]:  # fmt: skip
    shot, number = placed.shot, placed.number
    source, start_s = str(shot.source), shot.in_s or 0.0
    if shot.verb == "material" and source in files:
        pace, source_rate = pace_of_material(placed, storyboard.canvas, files[source].info.rate)
        yield Need(number, source, start_s, shot.out_s, pace.num_source, source_rate)
    if shot.verb in ("still", "animate"):
        yield Need(number, source, start_s)
    if shot.verb in ("continue", "between", "loop"):  # as much as there is, but not nothing
        yield Need(number, source, start_s, shot.out_s)
    if shot.verb == "between":
        yield Need(number, str(shot.to), shot.to_in_s or 0.0)
    if shot.verb in ("vary", "morph", "rebuild", "slow") and run is not None:
        count = Pace.of(placed, run.rate, rate).num_source
        count = num_slowed(shot, count) if shot.verb == "slow" else count
        yield Need(number, source, start_s, shot.out_s, count, run.rate)
        if shot.verb == "morph":
            yield Need(number, str(shot.to), shot.to_in_s or 0.0, None, count, run.rate)
    for effect in shot.effects:
        if isinstance(effect, InsetEffect | SplitEffect):
            yield Need(number, effect.file, effect.in_s)


def _problem_of(need: Need, duration_s: float | None) -> list[str]:
    if need.out_s is not None and need.last_s >= need.out_s:
        return [str(too_short(need.number, need.path, need.missing_s(need.out_s)))]
    # The first picture was seen when the file was looked at.
    if duration_s is None or need.last_s == 0 or need.last_s < duration_s - BELIEVED_S:
        return []
    try:
        if need.count == 1:
            first_frame(Path(need.path), at_s=need.last_s, limits=FILM)
            return []
        end_s = _end_s(need)
    except MediaError as error:
        if need.count == 1 or duration_s > need.last_s:
            return [f"shot {need.number}: {error}; choose a time before that"]
        end_s = duration_s
    return [str(too_short(need.number, need.path, need.missing_s(end_s)))] if end_s <= need.last_s else []


def _end_s(need: Need) -> float:
    """When the pictures of a file end, as far as it is asked: the last ones that are needed are decoded."""
    back = min(need.num_needed - 1, math.floor(BELIEVED_S * need.rate))
    begin_s = need.last_s - float(back / need.rate)
    after_s = need.last_s + float(1 / need.rate)
    chunks = decode(Path(need.path), size=(16, 16), rate=need.rate, start_s=begin_s, end_s=after_s, limits=FILM)
    given = sum(len(chunk.frames) for chunk in chunks)
    return after_s if given > back else begin_s + float(given / need.rate)


def _problems_of_sound(storyboard: Storyboard, files: Mapping[str, Material]) -> list[str]:
    """Sounds that begin where their file has none."""
    heard = [("[music]", "start_s", storyboard.music.file, storyboard.music.start_s)] if storyboard.music else []
    heard += [(f"voice {n}", "in_s", voice.file, voice.in_s) for n, voice in enumerate(storyboard.voices, start=1)]
    heard += [(f"shot {n}", "in_s", str(shot.source), shot.in_s or 0.0)
              for n, shot in enumerate(storyboard.shots, start=1) if shot.volume_db is not None]  # fmt: skip
    problems = []
    for name, key, path, start_s in heard:
        duration_s = files[path].info.duration_s if path in files else None
        if duration_s is not None and start_s >= duration_s and not _sounds_from(path, start_s):
            problems.append(f"{name}: '{key}' is {start_s:g}, and {path} has no sound from there on; it lasts "
                            f"{duration_s:.2f} s")  # fmt: skip
    return problems


def _problems_of_ends(storyboard: Storyboard, layout: Layout) -> list[str]:
    """What begins when the film is over. (Titles, and some captions of many, are told of where they are set.)"""
    length_s = float(layout.num_frames / layout.rate)
    end, remedy = f"after the film's end at {length_s:g} s", "or make the film longer"
    problems = [f"voice {number}: starts at {voice.start_s:g} s, {end}; start it earlier, {remedy}"
                for number, voice in enumerate(storyboard.voices, start=1) if voice.start_s >= length_s]  # fmt: skip
    try:
        captions = read_captions(Path(storyboard.captions.file)) if storyboard.captions is not None else []
    except (ValueError, OSError):  # told where they are set
        captions = []
    if captions and captions[0].start_s >= length_s:
        first_s = captions[0].start_s
        problems.append(f"[captions]: all start {end}, the first at {first_s:g} s; name those of this film, {remedy}")
    return problems


def _sounds_from(path: str, start_s: float) -> bool:
    try:
        return any(len(block) for block in sound_blocks(Path(path), CHECK_RATE_HZ, 1, start_s, None, FILM))
    except MediaError:
        return False
