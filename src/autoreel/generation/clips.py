"""Generated clips on their way to files."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from autoreel import __version__
from autoreel.clip import Frames
from autoreel.errors import OutputError, UsageError, translate_os_error
from autoreel.generation.drift import Meter
from autoreel.media.encode import Seal, VideoWriter
from autoreel.media.watermark import Watermark

# What a file says of itself in its metadata, by what was done; films join several of these (film/provenance.py).
NOTICES = {
    "generate": "AI-generated: every picture in it was made by a model with autoreel.",
    "animate": "AI-generated: a model with autoreel made it move from one given picture.",
    "continue": "AI-generated: a model with autoreel repainted the given clip it begins with and made what follows.",
    "between": "AI-generated: a model with autoreel made what lies between two given clips and repainted both.",
    "loop": "AI-generated: a model with autoreel repainted a given clip and made a way back to its start.",
    "vary": "AI-generated: a model with autoreel made a given clip anew.",
    "morph": "AI-generated: a model with autoreel painted how one given clip turns into another.",
    "slow": "AI-generated: a model with autoreel painted a given clip in slow motion.",
    "rebuild": "Repainted with autoreel: every picture of a given clip was encoded and painted again by a model.",
}


def write_clips(
    paths: Sequence[Path],
    chunks: Iterable[Frames],
    *,
    verb: str,
    size: tuple[int, int],
    rate: Fraction,
    num_frames: int,
    report: Callable[[float, str], None],
    watermark: Watermark | None = None,
    details: Mapping[str, str | int | None] | None = None,
    seals: Sequence[Seal | None] = (),
) -> list[Meter]:
    """Write takes to files while they are made.

    Args:
        paths: of each take; its ending chooses the format.
        chunks: uint8 (B, n, H, W, 3), B takes.
        verb: what was done, a key of NOTICES.
        size: (height, width) in pixels.
        rate: frames per second.
        num_frames: how many will come of each, for the progress.
        report: told the share that is done, in [0, 1], and the same in words.
        watermark: that marks them; None leaves them as they are.
        details: of how they were made, said in the metadata; what is None is left out. A seed is that of the first.
        seals: what signs each before it gets its name; none at all where nobody signs.

    Returns:
        What each looks like, second by second.

    Raises:
        OutputError: one cannot be written; nothing stands under any of their names then.
    """
    done = 0
    meters = [Meter(rate) for _ in paths]
    with ExitStack() as stack:
        writers = []
        for place, path in enumerate(paths):
            make_parent(path)
            metadata = {"comment": NOTICES[verb] + _told(details or {}, place)}
            seal = seals[place] if seals else None
            writers.append(stack.enter_context(VideoWriter(path, size=size, rate=rate, metadata=metadata, seal=seal)))
        markers = [copy.copy(watermark) for _ in paths]  # each follows the light of its own take
        for chunk in chunks:
            for writer, marker, meter, take in zip(writers, markers, meters, chunk, strict=True):
                meter.add(take)
                for number, frame in enumerate(take, start=done):
                    writer.write(frame if marker is None else marker.mark(frame, number))
            done += chunk.shape[1]
            report(min(1.0, done / num_frames), f"{done} of {num_frames} frames")
        for writer in writers:  # all of them before the first gets its name
            writer.complete()
    return meters


def _told(details: Mapping[str, str | int | None], place: int) -> str:
    """` [verb generate, seed 3, ...]` of the take at a place."""
    told = {key: value + place if key == "seed" and isinstance(value, int) else value for key, value in details.items()}
    words = [f"{key} {value}" for key, value in told.items() if value is not None]
    return f" [{', '.join([*words, f'autoreel {__version__}'])}]" if words else ""


def what_would_be_lost(path: Path, inputs: Iterable[Path]) -> list[OutputError]:
    """Why a file must not be written: it would replace something it is made of.

    Args:
        path: the file.
        inputs: files and folders that are read.
    """
    problems = []
    for given in inputs:
        # What the system cannot tell of a file that is read (a name that no disk takes) is told where it is read.
        if os.path.isdir(given) and path.is_file():
            is_lost = path.resolve().is_relative_to(given.resolve())
        else:
            is_there = path.exists() and os.path.exists(given)
            is_lost = path.resolve() == given.resolve() or (is_there and path.samefile(given))
        if is_lost:
            what = f"a file of {given}" if os.path.isdir(given) else str(given)
            reason = f"it would replace {what}, which is read; choose another name"
            problems.append(OutputError(f"cannot write {path}: {reason}"))
    return problems


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
    if path.suffix.lower() != ".png":
        return path.with_stem(f"{path.stem}-{number}")
    folder = path.parent
    return (folder.with_name(f"{folder.name}-{number}") if folder.name else folder / f"clip-{number}") / path.name


def count_frames(length_s: float, rate: Fraction) -> int:
    """How many frames a length has at a rate.

    Raises:
        UsageError: less than one.
    """
    frames = round(Fraction(length_s) * rate)
    if frames < 1:
        raise UsageError(f"{length_s:g} s is shorter than one frame at {float(rate):g} frames per second")
    return frames
