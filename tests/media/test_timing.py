"""Resampling in time, on paper."""

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from autoreel.media.timing import Resampler


def resampled(times: list[Fraction], rate: int, last: Fraction) -> list[tuple[Fraction, int]]:
    resampler: Resampler[int] = Resampler(Fraction(rate))
    shown: list[tuple[Fraction, int]] = []
    for index, time_s in enumerate(times):
        shown += resampler.push(time_s, index)
    return shown + list(resampler.finish(last))


def test_uneven_times_on_an_even_grid() -> None:
    times = [Fraction(t, 10) for t in (0, 3, 4, 8)]
    assert [i for _, i in resampled(times, 10, Fraction(2, 10))] == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]


def test_twice_the_rate_shows_every_picture_twice() -> None:
    assert [i for _, i in resampled([Fraction(i, 25) for i in range(4)], 50, Fraction(1, 25))] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]


def test_half_the_rate_shows_every_second_picture() -> None:
    shown = resampled([Fraction(i, 50) for i in range(50)], 25, Fraction(1, 50))
    assert len(shown) == 25
    assert all(b - a == 2 for (_, a), (_, b) in zip(shown[2:], shown[3:], strict=False))


def test_times_rounded_to_milliseconds_lose_and_double_nothing() -> None:
    times = [Fraction(round(1000 * i / 30), 1000) for i in range(300)]
    assert [i for _, i in resampled(times, 30, Fraction(33, 1000))] == list(range(300))


def test_the_grid_starts_at_the_first_picture() -> None:
    shown = resampled([Fraction(7, 3), Fraction(8, 3)], 3, Fraction(1, 3))
    assert [t for t, _ in shown] == [Fraction(7, 3), Fraction(8, 3)]


def test_one_picture_is_shown_once_however_short() -> None:
    assert resampled([Fraction(5)], 10, Fraction(1, 1000)) == [(Fraction(5), 0)]


@settings(max_examples=40)
@given(st.lists(st.fractions(0, 2), min_size=1, max_size=8), st.integers(1, 60))
def test_the_length_is_kept(steps: list[Fraction], rate: int) -> None:
    times = [sum(steps[:i], Fraction(0)) for i in range(len(steps))]
    shown = resampled(times, rate, steps[-1])
    assert len(shown) == max(1, math.floor(sum(steps) * rate + Fraction(1, 2)))
    assert [t for t, _ in shown] == [Fraction(i, rate) for i in range(len(shown))]
