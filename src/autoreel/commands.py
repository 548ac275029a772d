"""What each command of the command line does; every one is a thin function over one public function.

Everything heavy is imported when a command runs, so that the help comes at once. The docstrings are the help.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter

from autoreel.errors import AutoreelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from autoreel.clip import Frames
    from autoreel.film.renderer import FilmResult
    from autoreel.generation.run import Options, Run
    from autoreel.training.begin import Wishes
    from autoreel.training.budget import Budget

T = TypeVar("T")

Out = Annotated[Path, Parameter(name=["--out", "-o"])]
MaybeOut = Annotated[Path | None, Parameter(name=["--out", "-o"])]
RunFolderPath = Annotated[Path | None, Parameter(name=["--run", "-r"])]
Fit = Literal["crop", "letterbox"]
Device = Literal["auto", "cpu", "cuda"]


def film(
    *footage: Path,
    out: MaybeOut = None,
    music: Path | None = None,
    length: str | None = None,
    budget: str | None = None,
    preset: str | None = None,
    title: str | None = None,
    kind: str | None = None,
    seed: int | None = None,
    fit: Fit | None = None,
    fps: float | None = None,
    run: RunFolderPath = None,
    config: Path | None = None,
    sample: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
) -> None:
    """Make a film: learn from footage, generate new shots, cut them to music. Or render a storyboard again.

    The model is kept in a folder beside the film (film.run for film.mp4), the storyboard in film.toml.
    The same command goes on where it was stopped. A storyboard that was edited is rendered as it stands.

    Args:
        footage: Folders and files with video; or one storyboard (film.toml, film.json) to render again.
        out: The film, film.mp4 when left out. Its ending chooses the format: .mp4, .mov, .mkv, .webm.
        music: A file with sound; its beats decide the cuts.
        length: Length of the film: 60s (when left out), 1m30s, 1:30.
        budget: Time for training: 20m (when left out), 90s, 1h; or steps: "500 steps".
        preset: Size of the model: tiny (64 px), small (128 px), base (256 px); left out: what this machine can train.
        title: A title at the start.
        kind: Pace, transitions and look: plain (when left out), ad, romance, travel, or a .toml file of your own.
        seed: The same seed makes the same film; another one makes another film from the same model.
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
        run: Folder of the model, to choose its place or to use one again.
        config: A config file instead of a preset.
        sample: Use footage and music that the program makes itself.
        device: Where to compute.
    """
    from autoreel import preflight

    if len(footage) == 1 and footage[0].suffix.lower() in (".toml", ".json"):
        _film_again(footage[0], out, device, {
            "--music": music, "--length": length, "--budget": budget, "--preset": preset, "--title": title,
            "--kind": kind, "--seed": seed, "--fit": fit, "--fps": fps, "--run": run, "--config": config,
            "--sample": sample or None,
        })  # fmt: skip
        return
    target = out or Path("film.mp4")
    preset, kind = preset or "auto", kind or "plain"
    problems: list[AutoreelError] = []
    if sample == bool(footage):
        problems.append(UsageError("give a folder of footage, or --sample to use footage that the program makes"))
    length_s = _parsed(problems, _film_length_s, length or "60s")
    amount = _parsed(problems, _budget, budget or "20m")
    problems += preflight.check_footage(footage) + preflight.check_wishes(preset, config)
    problems += preflight.check_training(fps, seed)
    problems += preflight.check_music(music, length_s) if music is not None else []
    problems += preflight.check_title(title) if title is not None else []
    problems += preflight.check_film(target, [*footage, *(path for path in (music, config) if path is not None)])
    problems += preflight.check_edited(target, run)
    problems += preflight.check_folder(run) if run is not None else []
    preflight.insist(problems + preflight.check_kind(kind))
    assert length_s is not None and amount is not None  # or there would have been a problem
    from autoreel.film.commission import Commission, carry_out

    commission = Commission(
        sources=footage, out=target, run=run, length_s=length_s if length is not None else None, budget=amount,
        music=music, title=title, kind=kind, wishes=_wishes(preset, config, fit, fps, None), seed=seed, sample=sample,
        device=device,
    )  # fmt: skip
    made = carry_out(commission, report=note, bars=True)
    note(f"to change it, edit {made.storyboard} and run: autoreel film {made.storyboard}")
    _tell(made.result)


def prepare(
    *footage: Path,
    out: Out,
    preset: Literal["tiny", "small", "base"] = "tiny",
    fit: Fit = "crop",
    fps: float | None = None,
) -> None:
    """Cut footage into shots of the model's size, into a folder that training reads.

    Args:
        footage: Folders and files with video; the names of sub-folders become labels.
        out: The folder for the prepared footage.
        preset: The size it is for: tiny (64 px), small (128 px), base (256 px).
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
    """
    from autoreel import preflight
    from autoreel.config import PRESETS, DataConfig, from_mapping

    problems: list[AutoreelError] = [] if footage else [UsageError("give a folder of footage")]
    problems += preflight.check_training(fps, None)
    preflight.insist(problems + preflight.check_footage(footage) + preflight.check_folder(out))
    data = from_mapping(DataConfig, {**PRESETS[preset].data.model_dump(), "fit": fit, "fps": fps}, "prepare")
    from autoreel.data.prepare import prepare as prepare_footage

    prepare_footage(footage, out, data, report=note)
    print(out)


def train(
    *footage: Path,
    run: Annotated[Path, Parameter(name=["--run", "-r"])],
    budget: str = "20m",
    steps: int | None = None,
    stage: Literal["all", "codec", "prior"] = "all",
    preset: str = "auto",
    config: Path | None = None,
    fit: Fit | None = None,
    fps: float | None = None,
    seed: int | None = None,
    device: Device = "auto",
) -> None:
    """Train a model. The same command goes on where it was stopped.

    Args:
        footage: A folder that `autoreel prepare` made; or folders and files with video. None: what the run began with.
        run: The run folder: a new one, or one to go on with.
        budget: Time for training: 20m, 90s, 1h.
        steps: A number of updates instead of a time.
        stage: codec, prior, or all of it.
        preset: Size of the model: tiny (64 px), small (128 px), base (256 px), or auto, what this machine can train.
        config: A config file instead of a preset.
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
        seed: Of the training.
        device: Where to compute.
    """
    from autoreel import preflight
    from autoreel.data.store import INDEX_NAME, FootageStore

    store_path = footage[0] if len(footage) == 1 else None if footage else run / "footage"
    is_prepared = store_path is not None and (store_path / INDEX_NAME).is_file()
    problems = [] if is_prepared else preflight.check_footage(footage)
    if not footage and not is_prepared:
        problems.append(UsageError("give a folder of footage, or one that `autoreel prepare` made"))
    problems += preflight.check_wishes(preset, config) + preflight.check_folder(run)
    problems += preflight.check_training(fps, seed)
    amount = _parsed(problems, _budget, f"{steps} steps" if steps is not None else budget)
    preflight.insist(problems)
    assert amount is not None  # or there would have been a problem
    from autoreel.training.begin import open_run, prepare_into
    from autoreel.training.train import begin
    from autoreel.training.train import train as train_run

    wishes = _wishes(preset, config, fit, fps, seed)
    if is_prepared and store_path is not None:
        store = FootageStore.open(store_path)
        folder = open_run(run, wishes, amount, data=store.config, device=device, report=note)
    else:
        folder = open_run(run, wishes, amount, device=device, report=note)
        store = prepare_into(folder, footage, report=note)
    train_run(begin(folder.root, store), store, budget=amount, stage=stage, device=device)
    print(run)


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
    """
    from autoreel import preflight
    from autoreel.generation.clips import numbered

    problems: list[AutoreelError] = [] if count >= 1 else [UsageError(f"--count {count}: at least one clip is needed")]
    length_s = _parsed(problems, _duration_s, length)
    preflight.insist(problems + preflight.check_output(out, preflight.CLIP_ENDINGS))
    opened, options = _open(run, device), _options(guidance, steps)
    num_frames = _num_frames(length_s, opened)
    for number in range(count):
        path = out if count == 1 else numbered(out, number)
        chunks = opened.generate_stream(label, num_frames, seed + number, options)
        _write(path, opened, chunks, "generate", num_frames)


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
    """
    length_s = _check_verb(clip, "the clip", out, length)
    opened = _open(run, device)
    given, expected = _read(clip, opened)
    made = _num_frames(length_s, opened)
    chunks = opened.continue_stream(given, made, label, seed, _options(guidance, steps))
    _write(out, opened, chunks, "continue", expected + made)


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
    """
    length_s = _check_verb(picture, "the picture", out, length)
    opened = _open(run, device)
    from autoreel.media.decode import first_frame

    frame = first_frame(picture, size=opened.size, fit=opened.config.data.fit)
    num_frames = _num_frames(length_s, opened)
    chunks = opened.animate_stream(frame, num_frames, label, seed, _options(guidance, steps))
    _write(out, opened, chunks, "animate", num_frames)


def rebuild(run: Path, clip: Path, *, out: Out = Path("rebuilt.mp4"), device: Device = "auto") -> None:
    """Encode a clip and decode it again: the compression itself.

    Args:
        run: The run folder.
        clip: A video, or a picture.
        out: The result. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif, or frames/%05d.png for pictures.
        device: Where to compute.
    """
    _check_verb(clip, "the clip", out, "1s")
    opened = _open(run, device)
    given, expected = _read(clip, opened)
    _write(out, opened, opened.rebuild_stream(given), "rebuild", expected)


def storyboard(
    run: Path,
    *,
    out: Out = Path("film.toml"),
    music: Path | None = None,
    length: str = "60s",
    title: str | None = None,
    kind: str = "plain",
    seed: int = 0,
) -> None:
    """Write the storyboard of a film, to edit and to render with `autoreel film`.

    Args:
        run: The run folder the shots come from.
        out: The storyboard, a .toml file.
        music: A file with sound; its beats decide the cuts.
        length: Length of the film: 60s, 1m30s, 1:30.
        title: A title at the start.
        kind: Pace, transitions and look: plain, ad, romance, travel, or a .toml file of your own.
        seed: Decides what is left to chance.
    """
    from autoreel import preflight

    problems = preflight.check_output(out, (".toml",), [music] if music is not None else [])
    length_s = _parsed(problems, _film_length_s, length)
    problems += preflight.check_music(music, length_s) if music is not None else []
    problems += preflight.check_title(title) if title is not None else []
    preflight.insist(problems + preflight.check_kind(kind))
    assert length_s is not None  # or there would have been a problem
    from autoreel.film.make import write_storyboard
    from autoreel.generation.clips import make_parent

    opened = _open(run, "auto")
    make_parent(out)
    print(write_storyboard(
        opened, run, out, music=music, length_s=length_s, title=title, seed=seed, kind=kind, report=note
    ))  # fmt: skip


def doctor(*, budget: str = "20m", quick: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Say what is missing and what this machine can do.

    Args:
        budget: The training time for which the largest preset is looked for.
        quick: Leave out the measurements, which take about half a minute.
    """
    from autoreel.training.doctor import examine

    problems: list[AutoreelError] = []
    amount = _parsed(problems, _budget, budget)
    from autoreel.preflight import insist

    insist(problems)
    assert amount is not None  # or there would have been a problem
    for line in examine(amount, measure=not quick):
        print(line, flush=True)


# --- what several commands do -----------------------------------------------------------------------------------------


def _film_again(storyboard: Path, out: Path | None, device: Device, others: Mapping[str, object]) -> None:
    """Render a storyboard; it says everything that the other options would."""
    from autoreel import preflight

    given = [name for name, value in others.items() if value is not None]
    problems: list[AutoreelError] = []
    if given:
        text = f"{', '.join(given)}: not beside a storyboard, which says all of it; edit {storyboard}, or give footage"
        problems.append(UsageError(text))
    from autoreel.film.document import film_of

    target = out or film_of(storyboard, preflight.FILM_ENDINGS)
    problems += preflight.check_storyboard(storyboard, target)
    preflight.insist(problems + preflight.check_output(target, preflight.FILM_ENDINGS, [storyboard]))
    from autoreel.film.renderer import render
    from autoreel.generation.clips import make_parent

    make_parent(target)
    _tell(render(storyboard, None, target, report=note, device=device))


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


def _parsed(problems: list[AutoreelError], parse: Callable[[str], T], text: str) -> T | None:
    """The value of a text; when it has none, the error joins the others."""
    try:
        return parse(text)
    except AutoreelError as error:
        problems.append(error)
        return None


def _duration_s(text: str) -> float:
    from autoreel.durations import parse_duration_s

    return parse_duration_s(text)


def _film_length_s(text: str) -> float:
    from autoreel.preflight import check_film_length, insist

    length_s = _duration_s(text)
    insist(check_film_length(length_s))
    return length_s


def _budget(text: str) -> Budget:
    from autoreel.training.budget import Budget

    return Budget.parse(text)


def _wishes(preset: str, config: Path | None, fit: Fit | None, fps: float | None, seed: int | None) -> Wishes:
    from autoreel.training.begin import Wishes

    return Wishes(preset=preset, config=config, fit=fit, fps=fps, seed=seed)


def _check_verb(given: Path, what: str, out: Path, length: str) -> float | None:
    from autoreel import preflight

    problems = preflight.check_input(given, what) + preflight.check_output(out, preflight.CLIP_ENDINGS, [given])
    length_s = _parsed(problems, _duration_s, length)
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


def _read(clip: Path, run: Run) -> tuple[Iterator[Frames], int]:
    """The frames of a clip as the run takes them, in chunks, and about how many there are, for the progress."""
    from autoreel.media.decode import decode
    from autoreel.media.probe import probe

    expected = max(1, round((probe(clip).duration_s or 0.0) * run.rate))
    chunks = decode(clip, size=run.size, fit=run.config.data.fit, rate=run.rate)
    return (chunk.frames for chunk in chunks), expected


def _write(path: Path, run: Run, chunks: Iterator[Frames], verb: str, num_frames: int) -> None:
    from autoreel.generation.clips import write_clip
    from autoreel.training.progress import display

    with display(None) as shown:
        told = partial(shown.update, path.name)
        write_clip(path, chunks, verb=verb, size=run.size, rate=run.rate, num_frames=num_frames, report=told)
    print(path)


def _tell(result: FilmResult) -> None:
    note(f"{result.num_frames} frames, {result.duration_s:.2f} s, rendered in {result.wall_s:.0f} s")
    print(result.path)
