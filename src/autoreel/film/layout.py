"""Where every shot lies on the film's timeline, in whole frames.

The lengths of the shots add up to the film: a transition is centred on the cut and changes no length. For a
crossfade both shots are shown at once, so the earlier one is made a little longer and the later one starts earlier:

    shot 1   |=============body=============|--post--|
    shot 2                          |--pre--|=============body=============|
                                    |<- transition ->|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from autoreel.errors import ConfigError
from autoreel.film.storyboard import Shot, Storyboard, Transition

# These show one shot at a time, so they need no frames beyond the cut.
WITHOUT_OVERLAP = ("cut", "dip")


@dataclass(frozen=True)
class Placed:
    """A shot on the timeline.

    Args:
        shot: as in the storyboard.
        number: counted from 1.
        first: the film's frame at which its body starts.
        body: frames from its cut to the next.
        pre, post: frames shown before and after, within the transitions.
        into: the transition into it; None for a cut.
        into_frames: how many frames that transition takes, half of them (rounded down) before `first`.
    """

    shot: Shot
    number: int
    first: int
    body: int
    pre: int
    post: int
    into: Transition | None
    into_frames: int

    @property
    def num_frames(self) -> int:
        """All frames that must be made."""
        return self.pre + self.body + self.post

    @property
    def start(self) -> int:
        """The film's frame at which its first made frame is shown."""
        return self.first - self.pre


@dataclass(frozen=True)
class Layout:
    """A film's timeline: `num_frames` at `rate` per second."""

    rate: Fraction
    num_frames: int
    placed: tuple[Placed, ...]


def lay_out(storyboard: Storyboard, beats_s: Sequence[float] = ()) -> Layout:
    """Give every shot its frames.

    Args:
        storyboard: a valid one.
        beats_s: the times of the music's beats, ascending; needed when a shot's length is in beats.

    Returns:
        The timeline; its frames are the summed lengths times the rate, rounded.

    Raises:
        ConfigError: a shot shorter than a frame, a transition with no room, too few beats.
    """
    rate = storyboard.canvas.rate
    problems: list[str] = []
    cuts = [round(at * rate) for at in _cut_times(storyboard, beats_s, problems)]
    shots = storyboard.shots
    spans = [_transition_frames(shot, rate) for shot in shots]
    halves = [(n // 2, n - n // 2) for n in spans] + [(0, 0)]  # before and after the cut into each shot
    placed: list[Placed] = []
    for i, shot in enumerate(shots if not problems else ()):
        body = cuts[i + 1] - cuts[i]
        if body < 1:
            problems.append(f"shot {i + 1}: is shorter than one frame; make it at least {float(1 / rate):.3g} s long")
            continue
        room_s = float(body / rate)
        if halves[i][1] + halves[i + 1][0] > body:
            where = [j + 1 for j, n in ((i, halves[i][1]), (i + 1, halves[i + 1][0])) if n]
            problems.append(
                f"shot {i + 1}: lasts {room_s:.2f} s, too short for the transition into shot "
                f"{' and the one into shot '.join(map(str, where))}; shorten the transition or lengthen the shot"
            )
        into = shot.transition if spans[i] else None
        following = shots[i + 1].transition if i + 1 < len(shots) else None
        placed.append(Placed(
            shot=shot, number=i + 1, first=cuts[i], body=body,
            pre=halves[i][0] if into and into.kind not in WITHOUT_OVERLAP else 0,
            post=halves[i + 1][1] if following and following.kind not in WITHOUT_OVERLAP else 0,
            into=into, into_frames=spans[i],
        ))
    if problems:
        raise ConfigError(problems, "storyboard")
    return Layout(rate, cuts[-1], tuple(placed))


def _transition_frames(shot: Shot, rate: Fraction) -> int:
    if shot.transition is None or shot.transition.kind == "cut":
        return 0
    return round(Fraction(str(shot.transition.length_s)) * rate)


def _cut_times(storyboard: Storyboard, beats_s: Sequence[float], problems: list[str]) -> list[Fraction]:
    """Zero, then the end of every shot, in exact seconds."""
    times = [Fraction(0)]
    for i, shot in enumerate(storyboard.shots):
        if shot.length_s is not None:
            times.append(times[-1] + Fraction(str(shot.length_s)))
            continue
        end = _after_beats(times[-1], shot.beats or 1, storyboard.tempo_bpm, beats_s)
        if end is None:
            problems.append(f"shot {i + 1}: {shot.beats} beats from {float(times[-1]):.2f} s reach past the music's "
                            "last beat; give 'length_s', or 'tempo_bpm' for an even count")
            end = times[-1] + 1
        times.append(end)
    return times


def _after_beats(start: Fraction, count: int, tempo_bpm: float | None, beats_s: Sequence[float]) -> Fraction | None:
    if tempo_bpm is not None:
        return start + count * 60 / Fraction(str(tempo_bpm))
    # A cut that lies on a beat counts from it, and rounding must not make it count that beat again.
    later = [beat for beat in beats_s if beat > float(start) + 0.05]
    return Fraction(str(round(later[count - 1], 6))) if len(later) >= count else None
