"""The commands that make clips: one for each verb of the latent timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from autoreel.commands.notes import note
from autoreel.commands.options import Device, Out, SignCert, SignKey, duration_s, parsed, signing_of
from autoreel.errors import AutoreelError, UsageError

if TYPE_CHECKING:
    from autoreel.clip import Frames
    from autoreel.generation.drift import Meter
    from autoreel.generation.run import Run
    from autoreel.generation.verbs import Maker

Sampler = Literal["auto", "prior", "gaussian", "normal"]
Solver = Literal["adams", "heun", "euler"]
SIDE_BY_SIDE = 8  # takes made in one batch: more gain little and need more memory


@Parameter(name="*")
@dataclass(frozen=True)
class Making:
    """The options of every verb that makes something new.

    Args:
        label: What to show, one of the run's labels; anything when left out.
        count: How many takes: numbered files, made side by side, with the seeds that follow the first.
        seed: The same seed gives the same frames.
        guidance: How strictly the label is followed: 1 as trained, more exaggerates, 0 not at all.
        steps: Steps of the sampler for each latent frame; more is slower.
        solver: How a step is taken: adams uses the one before; heun looks twice, and takes twice as long; euler once.
        device: Where to compute.
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
        sign_cert: Your certificate and those that signed it (PEM): the clip gets a C2PA manifest (extra c2pa).
        sign_key: The certificate's private key (PEM, without a password).
    """

    label: str | None = None
    count: int = 1
    seed: int = 0
    guidance: float | None = None
    steps: int | None = None
    solver: Solver = "adams"
    device: Device = "auto"
    watermark: bool = True
    sign_cert: SignCert = None
    sign_key: SignKey = None


@Parameter(name="*")
@dataclass(frozen=True)
class Marking:
    """What a clip says of where it comes from, for verbs that leave nothing to chance.

    Args:
        watermark: Mark the pictures, invisibly; `autoreel verify` finds it.
        sign_cert: Your certificate and those that signed it (PEM): the clip gets a C2PA manifest (extra c2pa).
        sign_key: The certificate's private key (PEM, without a password).
    """

    watermark: bool = True
    sign_cert: SignCert = None
    sign_key: SignKey = None


def generate(
    run: Path, *, out: Out = Path("generated.mp4"), length: str = "4s", making: Making = Making(),
    sampler: Sampler = "auto",
) -> None:  # fmt: skip
    """Generate new footage.

    Args:
        run: The run folder.
        out: The clip. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of each clip: 4s, 1m30s, 1:30.
        sampler: Where its latents come from: the prior, a plain Gaussian fit to the footage's, or N(0, I).
    """
    length_s = _checked(making, out, {}, length)
    opened = _open(run, making.device)
    num_frames = _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.generate(maker, num_frames)

    _make(run, opened, out, making, "generate", num_frames, make, sampler)


def continue_(
    run: Path, clip: Path, *, out: Out = Path("continued.mp4"), length: str = "4s", making: Making = Making()
) -> None:  # fmt: skip
    """Show what happens after a clip. The result begins with the clip, as the model sees it.

    Args:
        run: The run folder.
        clip: The video that goes on.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of what is added: 4s, 1m30s, 1:30.
    """
    length_s = _checked(making, out, {"the clip": clip}, length)
    opened = _open(run, making.device)
    made = _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.continue_(maker, _read(clip, opened), made)

    _make(run, opened, out, making, "continue", _expected(clip, opened) + made, make, clip=clip)


def animate(
    run: Path, picture: Path, *, out: Out = Path("animated.mp4"), length: str = "4s", making: Making = Making()
) -> None:  # fmt: skip
    """Make a picture move.

    Args:
        run: The run folder.
        picture: An image, or a video whose first picture is taken.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of the result: 4s, 1m30s, 1:30.
    """
    length_s = _checked(making, out, {"the picture": picture}, length)
    opened = _open(run, making.device)
    from autoreel.media.decode import first_frame

    frame = first_frame(picture, size=opened.size, fit=opened.config.data.fit)
    num_frames = _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.animate(maker, frame, num_frames)

    _make(run, opened, out, making, "animate", num_frames, make, picture=picture)


def between(
    run: Path, start: Path, end: Path, *, out: Out = Path("between.mp4"), length: str = "1s",
    making: Making = Making(),
) -> None:  # fmt: skip
    """Show what happens between two clips, or two pictures. The result begins with the one and ends with the other.

    Args:
        run: The run folder.
        start: The video or picture to come from.
        end: The video or picture to come to.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of what is made between them, rounded up to whole groups of frames: 1s, 1m30s.
    """
    length_s = _checked(making, out, {"the start": start, "the end": end}, length)
    opened = _open(run, making.device)
    made = _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.between(maker, _read(start, opened), _read(end, opened), made)

    expected = _expected(start, opened) + made + _expected(end, opened)
    _make(run, opened, out, making, "between", expected, make, start=start, end=end)


def loop(
    run: Path, clip: Path, *, out: Out = Path("loop.mp4"), length: str = "1s", making: Making = Making()
) -> None:  # fmt: skip
    """Make a way from a clip's end back to its start, so that it repeats without a seam.

    Args:
        run: The run folder.
        clip: The video to repeat.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of what is added, rounded up to whole groups of frames: 1s, 1m30s.
    """
    length_s = _checked(making, out, {"the clip": clip}, length)
    opened = _open(run, making.device)
    made = _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.loop(maker, _read(clip, opened), made)

    _make(run, opened, out, making, "loop", _expected(clip, opened) + made, make, clip=clip)


def vary(
    run: Path, clip: Path, *, out: Out = Path("varied.mp4"), strength: float = 0.6, length: str | None = None,
    making: Making = Making(),
) -> None:  # fmt: skip
    """Make another take of a clip: the same scene, with other details.

    Args:
        run: The run folder.
        clip: The video to vary, or a picture.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        strength: 0 changes nothing, 1 keeps nothing.
        length: How much of the clip is taken: 4s, 1m30s; all of it when left out.
    """
    wrong = None if 0 <= strength <= 1 else UsageError(f"--strength {strength:g}: it must lie between 0 and 1")
    length_s = _checked(making, out, {"the clip": clip}, length, wrong)
    opened = _open(run, making.device)
    most = None if length_s is None else _num_frames(length_s, opened)

    def make(maker: Maker) -> Iterator[Frames]:
        from autoreel.generation import verbs

        return verbs.vary(maker, _read(clip, opened, most=most), strength)

    expected = _expected(clip, opened, most)
    _make(run, opened, out, making, "vary", expected, make, clip=clip, strength=strength)


def morph(
    run: Path, start: Path, end: Path, *, out: Out = Path("morph.mp4"), length: str = "4s", device: Device = "auto",
    marking: Marking = Marking(),
) -> None:  # fmt: skip
    """Turn one clip or picture into another: a walk between their latents. Needs no prior.

    Args:
        run: The run folder.
        start: The video or picture to begin with.
        end: The video or picture to end with.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: Length of the result: 4s, 1m30s; clips that are shorter play there and back.
        device: Where to compute.
    """
    length_s = _checked(marking, out, {"the start": start, "the end": end}, length)
    import numpy as np

    opened = _open(run, device)
    num_frames = _num_frames(length_s, opened)
    first, last = (np.concatenate(list(_read(path, opened, most=num_frames))) for path in (start, end))
    chunks = opened.morph_stream(first, last, num_frames)
    _repaint(run, opened, out, marking, "morph", num_frames, chunks, start=start, end=end)


def slow(
    run: Path, clip: Path, *, out: Out = Path("slow.mp4"), factor: float = 2.0, length: str | None = None,
    device: Device = "auto", marking: Marking = Marking(),
) -> None:  # fmt: skip
    """Show a clip in slow motion: its latents resampled in time. Needs no prior.

    Args:
        run: The run folder.
        clip: The video.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        factor: How many times as long, 1 to 64.
        length: How much of the clip is taken: 4s, 1m30s; all of it when left out.
        device: Where to compute.
    """
    wrong = None if 1 <= factor <= 64 else UsageError(f"--factor {factor:g}: it must lie between 1 and 64")
    length_s = _checked(marking, out, {"the clip": clip}, length, wrong)
    opened = _open(run, device)
    most = None if length_s is None else _num_frames(length_s, opened)
    expected = max(1, round(_expected(clip, opened, most) * factor))
    chunks = opened.slow_stream(_read(clip, opened, most=most), factor)
    _repaint(run, opened, out, marking, "slow", expected, chunks, clip=clip, factor=factor)


def rebuild(
    run: Path,
    clip: Path,
    *,
    out: Out = Path("rebuilt.mp4"),
    length: str | None = None,
    own_size: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    marking: Marking = Marking(),
) -> None:
    """Encode a clip and decode it again: the compression itself.

    Args:
        run: The run folder.
        clip: A video, or a picture.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        length: How much of the clip is taken: 4s, 1m30s; all of it when left out.
        own_size: Keep the size of the clip instead of the model's.
        device: Where to compute.
    """
    length_s = _checked(marking, out, {"the clip": clip}, length)
    opened = _open(run, device)
    most = None if length_s is None else _num_frames(length_s, opened)
    size = _size_of(clip) if own_size else opened.size
    chunks = opened.rebuild_stream(_read(clip, opened, size, most), size)
    _repaint(run, opened, out, marking, "rebuild", _expected(clip, opened, most), chunks, size, clip=clip)


# --- what they share


def _checked(
    making: Making | Marking, out: Path, given: dict[str, Path], length: str | None, wrong: AutoreelError | None = None
) -> float | None:
    """The length in seconds, after everything that can be wrong was said at once."""
    from autoreel import preflight
    from autoreel.config import sampling_problems

    problems: list[AutoreelError] = [wrong] if wrong is not None else []
    count = making.count if isinstance(making, Making) else 1
    if count < 1:
        problems.append(UsageError(f"--count {count}: at least one clip is needed"))
    if isinstance(making, Making):
        problems += [UsageError(f"--{problem}") for problem in sampling_problems(making.guidance, making.steps)]
    for what, path in given.items():
        problems += preflight.check_input(path, what)
    for path in _paths(out, count):
        found = preflight.check_output(path, preflight.CLIP_ENDINGS, given.values())
        problems += found
        if found:
            break
    problems += preflight.check_signing(making.sign_cert, making.sign_key, out)
    length_s = None if length is None else parsed(problems, duration_s, length)
    preflight.insist(problems)
    return length_s


def _paths(out: Path, count: int) -> list[Path]:
    from autoreel.generation.clips import numbered

    return [out] if count <= 1 else [numbered(out, number) for number in range(count)]


def _open(run: Path, device: Device) -> Run:
    import autoreel

    return autoreel.load(run, device=device)


def _num_frames(length_s: float | None, run: Run) -> int:
    from autoreel.generation.clips import count_frames

    return count_frames(length_s or 0.0, run.rate)


def _size_of(clip: Path) -> tuple[int, int]:
    from autoreel.media.probe import probe

    found = probe(clip)
    return found.height, found.width


def _expected(clip: Path, run: Run, most: int | None = None) -> int:
    """About how many frames a clip has at the run's rate, and no more than `most`, for the progress."""
    from autoreel.media.probe import probe

    there = max(1, round((probe(clip).duration_s or 0.0) * run.rate))
    return there if most is None else min(there, most)


def _read(
    clip: Path, run: Run, size: tuple[int, int] | None = None, most: int | None = None
) -> Iterator[Frames]:  # fmt: skip
    """The frames of a clip as the run takes them, in chunks, and no more than `most`."""
    from autoreel.media.decode import decode

    end_s = None if most is None else float((most + 1) / run.rate)
    left = most
    for chunk in decode(clip, size=size or run.size, fit=run.config.data.fit, rate=run.rate, end_s=end_s):
        frames = chunk.frames[:left]
        left = None if left is None else left - len(frames)
        if len(frames):
            yield frames


def _make(
    run: Path, opened: Run, out: Path, making: Making, verb: str, num_frames: int,
    make: Callable[[Maker], Iterator[Frames]], sampler: Sampler = "auto", **given: Path | float,
) -> None:  # fmt: skip
    """Make the takes of a verb, as many side by side as is worth while, and measure how they drift."""
    from autoreel.generation.run import Options

    options = Options(making.guidance, making.steps, making.solver, sampler)
    if verb == "generate" and making.label is not None and opened.sampler_of(options) != "prior":
        raise UsageError("--label: only what the prior makes heeds it; leave it out")
    paths, how = _paths(out, making.count), opened.told(options)
    for first in range(0, making.count, SIDE_BY_SIDE):
        some = paths[first : first + SIDE_BY_SIDE]
        seeds = [making.seed + first + i for i in range(len(some))]
        takes = make(opened.takes([making.label] * len(some), seeds, options))
        meters = _write(some, run, opened, takes, verb, num_frames, making, seed=seeds[0])
        for path, seed, meter in zip(some, seeds, meters, strict=True):
            made: dict[str, Any] = {"verb": verb, "run": str(run), "label": making.label, "seed": seed, **how}
            _tell_drift(path, run, meter, made | {name: str(what) for name, what in given.items()})


def _repaint(
    run: Path, opened: Run, out: Path, marking: Marking, verb: str, num_frames: int, chunks: Iterable[Frames],
    size: tuple[int, int] | None = None, **given: Path | float,
) -> None:  # fmt: skip
    """Write what the codec alone makes, and measure how it drifts.

    What pictures of another size than the model's look like compares with nothing: no earlier clip's file stays there.
    """
    from autoreel.generation.drift import drift_path

    [meter] = _write([out], run, opened, (chunk[None] for chunk in chunks), verb, num_frames, marking, size)
    if size not in (None, opened.size):
        drift_path(out).unlink(missing_ok=True)
        return
    made = {"verb": verb, "run": str(run)}
    _tell_drift(out, run, meter, made | {name: str(what) for name, what in given.items()})


def _tell_drift(path: Path, run: Path, meter: Meter, made: dict[str, Any]) -> None:
    """Compare a clip with the footage, in a file beside it and in a line."""
    from autoreel.generation.drift import drift_of, read_look, write_drift

    drift = drift_of(meter.seconds(), read_look(run))
    write_drift(path, drift, made)
    note(f"{path.name}: {drift.line()}")


def _write(
    paths: Sequence[Path], run: Path, opened: Run, takes: Iterable[Frames], verb: str, num_frames: int,
    marking: Making | Marking, size: tuple[int, int] | None = None, seed: int | None = None,
) -> list[Meter]:  # fmt: skip
    """Write the takes with what they say of where they come from, and tell where they are."""
    from autoreel.film.provenance import KIND_OF_VERB, hash_of_folder
    from autoreel.generation.clips import write_clips
    from autoreel.media.manifest import sealing
    from autoreel.media.watermark import Watermark, run_id
    from autoreel.training.progress import display

    size = size or opened.size
    identity = run_id(hash_of_folder(run))
    marker = Watermark(size, opened.rate, identity) if marking.watermark else None
    label = marking.label if isinstance(marking, Making) else None
    details = {"verb": verb, "label": label, "seed": seed, "run": f"{identity:06x}"}
    signing, kind = signing_of(marking.sign_cert, marking.sign_key), KIND_OF_VERB.get(verb, "generated")
    seals = [
        sealing(signing, path, kind=kind, details=details | ({} if seed is None else {"seed": seed + place}))
        for place, path in enumerate(paths)
    ]
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    with display(None) as shown:
        told = partial(shown.update, name)
        meters = write_clips(
            paths, takes, verb=verb, size=size, rate=opened.rate, num_frames=num_frames, report=told, watermark=marker,
            details=details, seals=seals,
        )  # fmt: skip
    for path in paths:
        print(path)
    return meters
