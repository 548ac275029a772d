"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from autoreel.durations import parse_duration_s
from autoreel.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60), ("1m", 60), ("1m30s", 90), ("1h", 3600), ("2.5s", 2.5), ("500ms", 0.5), ("90", 90), ("1:30", 90),
        ("1:02:03.5", 3723.5), (" 1 M ", 60), ("0:05", 5),
    ],
)  # fmt: skip
def test_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5s", "0", "0s", "5 parsecs", "1:2:3:4", "nan", "1e3", "s", "1:", "9" * 30]
)
def test_what_is_not_a_length(text: str) -> None:
    with pytest.raises(UsageError, match="write 60s, 1m30s or 1:30"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["0", "0s", "0:00", "0m0s"])
def test_a_time_may_be_the_very_first(text: str) -> None:
    assert parse_duration_s(text, may_be_zero=True) == 0.0
    with pytest.raises(UsageError, match="write 60s"):
        parse_duration_s("-1s", may_be_zero=True)
