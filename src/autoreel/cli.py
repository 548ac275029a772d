"""autoreel learns from your own footage and makes new video from it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cyclopts

from autoreel import __version__

app = cyclopts.App(name="autoreel", version=__version__, help=__doc__)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    app(sys.argv[1:] if tokens is None else tokens)
    return 0
