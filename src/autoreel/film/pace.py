"""Which moment of its source each frame of a shot shows: rates, and the effects on time.

    film's frames   0 1 2 3 4 5 6 7 8
    speed 0.5       0 0 1 1 2 2 3 3 4
    ramp 1 to 2     0 1 2 3 5 6 8 9 11
    freeze          0 1 2 2 2 2 3 4 5
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from autoreel.film.effects import FreezeEffect, RampEffect, ReverseEffect, SmoothEffect, SpeedEffect
from autoreel.film.layout import Placed

TimeEffect = SpeedEffect | RampEffect | FreezeEffect


@dataclass(frozen=True)
class Pace:
    """How a shot goes through its source.

    Args:
        num_frames: of the shot, at the film's rate.
        scale: source frames for one film frame, before the effects: source rate / film rate.
        warps: the effects on time, in order.
        is_reversed: the last first.
        is_smooth: between two frames of the source, one on the way is made (motion.py).
        film_rate: frames per second.
    """

    num_frames: int
    scale: Fraction
    warps: tuple[TimeEffect, ...] = ()
    is_reversed: bool = False
    is_smooth: bool = False
    film_rate: Fraction = Fraction(25)

    @classmethod
    def of(cls, placed: Placed, source_rate: Fraction, film_rate: Fraction) -> Pace:
        """The pace of a shot with its effects on time."""
        effects = placed.shot.effects
        return cls(
            placed.num_frames, source_rate / film_rate,
            tuple(effect for effect in effects if isinstance(effect, SpeedEffect | RampEffect | FreezeEffect)),
            any(isinstance(effect, ReverseEffect) for effect in effects),
            any(isinstance(effect, SmoothEffect) for effect in effects), film_rate,
        )  # fmt: skip

    @property
    def speed(self) -> Fraction | None:
        """How many times faster, where that is the same throughout."""
        speed = Fraction(1)
        for warp in self.warps:
            if not isinstance(warp, SpeedEffect):
                return None
            speed *= Fraction(str(warp.factor))
        return speed

    def place(self, frame: int) -> Fraction:
        """Where in the source film frame `frame` lies, in source frames; it never goes back."""
        at = Fraction(frame)
        for warp in self.warps:
            at = self._warped(warp, at)
        return at * self.scale

    def _warped(self, warp: TimeEffect, at: Fraction) -> Fraction:
        if isinstance(warp, SpeedEffect):
            return at * Fraction(str(warp.factor))
        if isinstance(warp, RampEffect):
            start, end = Fraction(str(warp.start)), Fraction(str(warp.end))
            return at * (start + (end - start) * at / (2 * max(1, self.num_frames - 1)))
        begin, length = (Fraction(str(value)) * self.film_rate for value in (warp.at_s, warp.length_s))
        return at if at < begin else max(begin, at - length)

    @property
    def num_source(self) -> int:
        """Source frames needed."""
        last = self.place(self.num_frames - 1)
        return math.floor(last) + 1 + (self.is_smooth and last.denominator > 1)
