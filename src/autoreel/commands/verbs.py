"""The commands that make clips: one for each verb of the latent timeline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from autoreel.commands.options import Device, Out, duration_s, parsed
from autoreel.errors import AutoreelError, UsageError

if TYPE_CHECKING:
    from autoreel.clip import Frames
    from autoreel.generation.run import Options, Run


def generate(
    run: Path,
    *,
    out: Out = Path("generated.mp4"),
    label: str | None = None,
    length: str = "4s",
    count: int = 1,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    device: Device = "auto",
    watermark: bool = True,
) -> None:
    """Generate new footage.

    Args:
        run: The run folder.
        out: The clip. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        label: What to show, one of the run's labels; anything when left out.
        length: Length of each clip: 4s, 1m30s, 1:30.
        count: How many clips: numbered files, with the seeds that follow the first.
        seed: The same seed gives the same clip.
        guidance: How strictly the label is followed: 1 as trained, more exaggerates.
        steps: Steps of the sampler for each latent frame; more is slower.
        device: Where to compute.
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
    """
    from autoreel import preflight
    from autoreel.generation.clips import numbered

    problems: list[AutoreelError] = [] if count >= 1 else [UsageError(f"--count {count}: at least one clip is needed")]
    length_s = parsed(problems, duration_s, length)
    preflight.insist(problems + preflight.check_output(out, preflight.CLIP_ENDINGS))
    opened, options = _open(run, device), _options(guidance, steps)
    num_frames = _num_frames(length_s, opened)
    for number in range(count):
        path = out if count == 1 else numbered(out, number)
        chunks = opened.generate_stream(label, num_frames, seed + number, options)
        _write(path, opened, chunks, "generate", num_frames, run if watermark else None)


def continue_(
    run: Path,
    clip: Path,
    *,
    out: Out = Path("continued.mp4"),
    label: str | None = None,
    length: str = "4s",
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    device: Device = "auto",
    watermark: bool = True,
) -> None:
    """Show what happens after a clip. The result begins with the clip, as the model sees it.

    Args:
        run: The run folder.
        clip: The video that goes on.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        label: What to show, one of the run's labels; anything when left out.
        length: Length of what is added: 4s, 1m30s, 1:30.
        seed: The same seed gives the same result.
        guidance: How strictly the label is followed: 1 as trained, more exaggerates.
        steps: Steps of the sampler for each latent frame; more is slower.
        device: Where to compute.
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
    """
    length_s = _check_verb(clip, "the clip", out, length)
    opened = _open(run, device)
    given, expected = _read(clip, opened)
    made = _num_frames(length_s, opened)
    chunks = opened.continue_stream(given, made, label, seed, _options(guidance, steps))
    _write(out, opened, chunks, "continue", expected + made, run if watermark else None)


def animate(
    run: Path,
    picture: Path,
    *,
    out: Out = Path("animated.mp4"),
    label: str | None = None,
    length: str = "4s",
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    device: Device = "auto",
    watermark: bool = True,
) -> None:
    """Make a picture move.

    Args:
        run: The run folder.
        picture: An image, or a video whose first picture is taken.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        label: What to show, one of the run's labels; anything when left out.
        length: Length of the result: 4s, 1m30s, 1:30.
        seed: The same seed gives the same result.
        guidance: How strictly the label is followed: 1 as trained, more exaggerates.
        steps: Steps of the sampler for each latent frame; more is slower.
        device: Where to compute.
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
    """
    length_s = _check_verb(picture, "the picture", out, length)
    opened = _open(run, device)
    from autoreel.media.decode import first_frame

    frame = first_frame(picture, size=opened.size, fit=opened.config.data.fit)
    num_frames = _num_frames(length_s, opened)
    chunks = opened.animate_stream(frame, num_frames, label, seed, _options(guidance, steps))
    _write(out, opened, chunks, "animate", num_frames, run if watermark else None)


def rebuild(
    run: Path,
    clip: Path,
    *,
    out: Out = Path("rebuilt.mp4"),
    own_size: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    watermark: bool = True,
) -> None:
    """Encode a clip and decode it again: the compression itself.

    Args:
        run: The run folder.
        clip: A video, or a picture.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        own_size: Keep the size of the clip instead of the model's.
        device: Where to compute.
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
    """
    _check_verb(clip, "the clip", out, "1s")
    opened = _open(run, device)
    size = _size_of(clip) if own_size else opened.size
    given, expected = _read(clip, opened, size)
    _write(out, opened, opened.rebuild_stream(given, size), "rebuild", expected, run if watermark else None, size)


def _check_verb(given: Path, what: str, out: Path, length: str) -> float | None:
    from autoreel import preflight

    problems = preflight.check_input(given, what) + preflight.check_output(out, preflight.CLIP_ENDINGS, [given])
    length_s = parsed(problems, duration_s, length)
    preflight.insist(problems)
    return length_s


def _open(run: Path, device: Device) -> Run:
    import autoreel

    return autoreel.load(run, device=device)


def _options(guidance: float | None, steps: int | None) -> Options:
    from autoreel.generation.run import Options

    return Options(guidance=guidance, steps=steps)


def _num_frames(length_s: float | None, run: Run) -> int:
    from autoreel.generation.clips import count_frames

    return count_frames(length_s or 0.0, run.rate)


def _size_of(clip: Path) -> tuple[int, int]:
    from autoreel.media.probe import probe

    found = probe(clip)
    return found.height, found.width


def _read(clip: Path, run: Run, size: tuple[int, int] | None = None) -> tuple[Iterator[Frames], int]:
    """The frames of a clip as the run takes them, in chunks, and about how many there are, for the progress."""
    from autoreel.media.decode import decode
    from autoreel.media.probe import probe

    expected = max(1, round((probe(clip).duration_s or 0.0) * run.rate))
    chunks = decode(clip, size=size or run.size, fit=run.config.data.fit, rate=run.rate)
    return (chunk.frames for chunk in chunks), expected


def _write(
    path: Path, run: Run, chunks: Iterator[Frames], verb: str, num_frames: int, mark_of: Path | None,
    size: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Write the clip, with the mark of a run folder or with none."""
    from autoreel.film.provenance import hash_of_folder
    from autoreel.generation.clips import write_clip
    from autoreel.media.watermark import Watermark, run_id
    from autoreel.training.progress import display

    size = size or run.size
    marker = None if mark_of is None else Watermark(size, run.rate, run_id(hash_of_folder(mark_of)))
    with display(None) as shown:
        told = partial(shown.update, path.name)
        write_clip(
            path, chunks, verb=verb, size=size, rate=run.rate, num_frames=num_frames, report=told, watermark=marker
        )
    print(path)
