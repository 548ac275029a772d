"""Pictures at uneven times become pictures at a constant rate. Exact: times are rationals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


def _nearest(value: Fraction) -> int:
    """Halves go up. `round` sends them to the even number, which makes half the rate stutter."""
    return math.floor(value + Fraction(1, 2))


class Resampler(Generic[ItemT]):
    """Each picture is shown from the grid point nearest to its own time until the next one's.

        given   |a   |b|c        |d   |        (d lasts as long as it says)
        grid    .   .   .   .   .   .   .
        shown   a   b   c   c   c   d

    The nearest grid point, not the next: containers round times (to 1 ms in Matroska), and rounding must not double one
    picture and lose another. Of several pictures at one grid point the last is shown.

    Args:
        rate: pictures per second of the grid.
    """

    def __init__(self, rate: Fraction) -> None:
        self.rate = rate
        self._start: Fraction | None = None
        self._held: tuple[int, ItemT] | None = None
        self._last = Fraction(0)

    def push(self, time_s: Fraction, item: ItemT) -> Iterator[tuple[Fraction, ItemT]]:
        """Take the next picture; give what is complete by now as (time, picture)."""
        if self._start is None:
            self._start = time_s
        self._last = time_s - self._start
        index = _nearest(self._last * self.rate)
        held, self._held = self._held, (index, item)
        if held is not None:
            yield from self._shown(held, index)

    def finish(self, duration_s: Fraction) -> Iterator[tuple[Fraction, ItemT]]:
        """The last picture, for as long as it lasts; left out where rounding leaves it no place, but one is given."""
        held, self._held = self._held, None
        if held is not None:
            yield from self._shown(held, max(1, _nearest((self._last + duration_s) * self.rate)))

    def _shown(self, held: tuple[int, ItemT], until: int) -> Iterator[tuple[Fraction, ItemT]]:
        assert self._start is not None
        for index in range(held[0], until):
            yield self._start + index / self.rate, held[1]
