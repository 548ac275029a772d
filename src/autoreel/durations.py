"""Lengths of time as people write them."""

from __future__ import annotations

import re

from autoreel.errors import UsageError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"\d+(?:\.\d+)?"
_PARTS = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h))+")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")


def parse_duration_s(text: str, *, may_be_zero: bool = False) -> float:
    """Read "60s", "1m", "1m30s", "1:30", "1:02:03.5" or "90" (seconds).

    Args:
        text: as a person writes it.
        may_be_zero: it is a time to begin at, not a length.

    Returns:
        Seconds, above zero, or zero where that may be.

    Raises:
        UsageError: it cannot be read, or is zero.
    """
    plain = text.strip().lower().replace(" ", "")
    clock = _CLOCK.fullmatch(plain)
    if clock:
        hours, minutes, seconds = clock.groups()
        total = 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)
    elif _PARTS.fullmatch(plain):
        found = re.findall(rf"({_NUMBER})(ms|s|m|h)", plain)
        total = sum(float(number) * _UNITS_S[unit] for number, unit in found)
    elif re.fullmatch(_NUMBER, plain):
        total = float(plain)
    else:
        raise UsageError(f"length {text!r} is not understood; write 60s, 1m30s or 1:30")
    if not 0 <= total < 1e7 or (total == 0 and not may_be_zero):
        raise UsageError(f"length {text!r} is not possible; write 60s, 1m30s or 1:30")
    return total
