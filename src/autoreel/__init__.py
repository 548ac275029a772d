"""autoreel: learns from a person's own footage and makes new video from it.

`import autoreel` is light: torch and everything heavy is imported at first use.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoreel.generation.run import Run

try:
    __version__ = version("autoreel")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(path: str | Path, device: str = "auto") -> Run:
    """Open a run folder for encoding, decoding and generating.

    Args:
        path: a folder that `autoreel train` or `autoreel film` made.
        device: "auto", "cpu" or "cuda".

    Raises:
        RunError: absent, damaged, of another version, or not trained yet.
    """
    from autoreel.generation.run import Run

    return Run.open(Path(path), device=device)
