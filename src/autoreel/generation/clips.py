"""Generated clips on their way to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from autoreel.clip import Frames
from autoreel.errors import UsageError, translate_os_error
from autoreel.media.encode import VideoWriter

NOTICE = {"comment": "AI-generated: every picture in it was made by a model with autoreel."}


def write_clip(
    path: Path, chunks: Iterator[Frames], *, size: tuple[int, int], rate: Fraction, num_frames: int,
    report: Callable[[float, str], None],
) -> None:
    """Write frames to a file while they are made.

    Args:
        path: its ending chooses the format.
        chunks: uint8 (n, H, W, 3).
        size: (height, width) in pixels.
        rate: frames per second.
        num_frames: how many will come, for the progress.
        report: told the share that is done, in [0, 1], and the same in words.

    Raises:
        OutputError: it cannot be written; nothing stands under its name then.
    """
    make_parent(path)
    done = 0
    with VideoWriter(path, size=size, rate=rate, metadata=NOTICE) as writer:
        for chunk in chunks:
            writer.write(chunk)
            done += len(chunk)
            report(min(1.0, done / num_frames), f"{done} of {num_frames} frames")


def make_parent(path: Path) -> None:
    """Make the folder that a file goes into.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, path) from error


def numbered(path: Path, number: int) -> Path:
    """`clip.mp4` and 3 to `clip-3.mp4`; pictures in a folder for each clip: `clip/%05d.png` to `clip-3/%05d.png`."""
    if "%" in path.name:
        return path.parent.with_name(f"{path.parent.name or 'clip'}-{number}") / path.name
    return path.with_stem(f"{path.stem}-{number}")


def count_frames(length_s: float, rate: Fraction) -> int:
    """How many frames a length has at a rate.

    Raises:
        UsageError: less than one.
    """
    frames = round(Fraction(length_s) * rate)
    if frames < 1:
        raise UsageError(f"{length_s:g} s is shorter than one frame at {float(rate):g} frames per second")
    return frames
