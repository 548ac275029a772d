"""Text from a file nobody has looked at: bounded in size and in depth before anything is built from it.

A megabyte of `a.a.a.a` is a table 500,000 deep and needs gigabytes to be read; a device never ends.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

MAX_DEPTH = 32  # tables and lists inside each other; ours have 4

# What a TOML text is made of. Each piece is taken whole, so that nothing is looked at from every place in it again, and
# each can be read in one way only: the time grows with the length of the text and no faster.
_KEY = r"""(?:[\w-]++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*"|'[^'\n]*+')"""
_STEP = rf"[ \t]*+\.[ \t]*+{_KEY}"
_PIECES = (
    r"#[^\n]*+",
    r'"""[^"\\]*+(?:(?:\\[\s\S]|"(?!""))[^"\\]*+)*"{0,5}',
    r"'''[^']*+(?:'(?!'')[^']*+)*'{0,5}",
    rf"(?P<deep>{_KEY}(?:{_STEP}){{{MAX_DEPTH}}})",
    rf"{_KEY}(?:{_STEP})*",
    r"[\"'][^\n]*+",  # a string that does not end
)
_PIECE = re.compile("|".join(_PIECES))


def read_bounded(path: Path, max_bytes: int) -> str:
    """The text of a plain file.

    Args:
        path: of the file.
        max_bytes: it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, not a plain file, or not UTF-8.
    """
    content = read_bounded_bytes(path, max_bytes)
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8 (byte {error.start})") from None


def read_bounded_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a plain file; see `read_bounded`."""
    # A pipe or a device could wait for ever; what a file says of its size is not believed either.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "it is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("not a plain file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes >> 20} MiB")
    return content


def has_deep_keys(text: str) -> bool:
    """Whether a TOML text names tables in more than MAX_DEPTH steps, which is dear to read."""
    return any(piece["deep"] for piece in _PIECE.finditer(text))


def is_deep(values: Any) -> bool:
    """Whether tables and lists stand inside each other more than MAX_DEPTH times."""
    level = [values]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return False
    return True
