"""Lines of progress on the error stream."""

from __future__ import annotations

import re
import sys


class Notes:
    """Lines of progress on the error stream; standard output is for results.

    On a terminal a count that goes up ("film: 8 of 150 frames") stays in its line.
    """

    def __init__(self) -> None:
        self._is_open = False

    def __call__(self, line: str) -> None:
        """Show one line."""
        counts = sys.stderr.isatty() and re.match(r"[\w ]+: \d+ of \d+", line) is not None
        start = "\r\x1b[K" if counts and self._is_open else "\n" if self._is_open else ""
        print(f"{start}{line}", end="" if counts else "\n", file=sys.stderr, flush=True)
        self._is_open = counts

    def end(self) -> None:
        """Leave a line that stays."""
        if self._is_open:
            print(file=sys.stderr, flush=True)
            self._is_open = False


note = Notes()
