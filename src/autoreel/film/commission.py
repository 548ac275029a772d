"""From a folder of footage to a finished film, in one call; the same call again goes on where it was stopped.

    footage -> RUN/footage -> codec and prior in RUN -> film.toml (beats of the music) -> film.mp4, film.json
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoreel.errors import UsageError
from autoreel.film.delivery import Delivery
from autoreel.film.document import beside
from autoreel.film.make import DEFAULT_LENGTH_S, MadeFilm, make_film
from autoreel.film.storyboard import Upscale
from autoreel.generation.clips import make_parent
from autoreel.media.manifest import Signing
from autoreel.runs import RunFolder
from autoreel.training.begin import Wishes, open_run, prepare_into
from autoreel.training.budget import Budget

Report = Callable[[str], None]


@dataclass(frozen=True)
class Commission:
    """A film that somebody wants.

    Args:
        sources: files and folders of footage; none with `sample`.
        out: the film's file.
        run: the run folder; None is beside the film: `film.run` for `film.mp4`.
        length_s: of the film, seconds; None for a minute.
        budget: of the training.
        wishes: about the model; their seed is that of its training.
        music: a file with sound; None for a silent film (with `sample`: music is made too).
        title: shown at the start.
        kind: of film: pace, transitions, look; a name or a person's own file.
        seed: of the film, and of the training where that begins with this film; None takes the training's.
        sample: learn from footage that the program renders itself.
        device: "auto", "cpu" or "cuda".
        watermark: mark what the model made.
        signing: the signature that the film's C2PA manifest gets.
        upscale: how the model's pictures are enlarged.
        delivery: how the file is written, and whether it is all of the film; None for the usual.
        rendered: the file that is written, where that is not the film itself: a preview of it.
    """

    sources: tuple[Path, ...]
    out: Path
    run: Path | None = None
    length_s: float | None = None
    budget: Budget = field(default_factory=lambda: Budget(seconds=1200.0))
    wishes: Wishes = field(default_factory=Wishes)
    music: Path | None = None
    title: str | None = None
    kind: str = "plain"
    seed: int | None = None
    sample: bool = False
    device: str = "auto"
    watermark: bool = True
    signing: Signing | None = None
    upscale: Upscale = "lanczos"
    delivery: Delivery | None = None
    rendered: Path | None = None

    @property
    def run_path(self) -> Path:
        """Where the run is kept."""
        return self.run if self.run is not None else beside(self.out, ".run")


def carry_out(commission: Commission, *, report: Report | None = None, bars: bool = False) -> MadeFilm:
    """Prepare, train, direct and render.

    Args:
        commission: what is wanted.
        report: told each step in a line.
        bars: show the training on the error stream instead, as a bar where that is a terminal.

    Raises:
        AutoreelError: any; everything done so far is kept, and the same call goes on.
    """
    if commission.sample == bool(commission.sources):
        raise UsageError("give a folder of footage, or --sample to use footage that the program makes, not both")
    say = report or (lambda line: None)
    wishes, budget = commission.wishes, commission.budget
    if wishes.seed is None and not is_begun(commission.run_path):
        wishes = replace(wishes, seed=commission.seed)
    if commission.upscale == "learned":
        _check_upscaler(commission.run_path)
    make_parent(commission.out)
    folder = open_run(commission.run_path, wishes, budget, device=commission.device, report=say)
    training_seed = folder.config.training.seed
    sources, music = commission.sources, commission.music
    if commission.sample:  # always the same for a run, whatever films are made of it
        sources, music = _make_sample(folder, music, commission.length_s or DEFAULT_LENGTH_S, training_seed, say)
    store = prepare_into(folder, sources, report=say)

    from autoreel.generation.run import Run  # torch, from here on
    from autoreel.training.train import begin, train

    shown = None if bars else say
    train(begin(folder.root, store), store, budget=budget, report=shown, device=commission.device)
    return make_film(
        Run.open(folder.root, device=commission.device), folder.root, commission.out, music=music,
        length_s=commission.length_s, title=commission.title, kind=commission.kind,
        seed=commission.seed, default_seed=training_seed, device=commission.device,
        watermark=commission.watermark, signing=commission.signing, report=say, upscale=commission.upscale,
        delivery=commission.delivery, rendered=commission.rendered,
    )  # fmt: skip


def _check_upscaler(run_path: Path) -> None:
    """Say before any training that there is nothing to enlarge with."""
    if not is_begun(run_path):
        raise UsageError(
            "--upscale learned needs a run that has learned to enlarge; make the film without it first, then train "
            "that with `autoreel train --stage upscale`"
        )
    from autoreel.models.opening import open_upscaler  # torch

    open_upscaler(RunFolder.open(run_path))


def is_begun(run_path: Path) -> bool:
    """Whether an earlier call began a run there."""
    return (run_path / "run.json").exists()


def _make_sample(
    folder: RunFolder, music: Path | None, length_s: float, seed: int, say: Report
) -> tuple[tuple[Path, ...], Path]:
    from autoreel.data.sample import render_sample_footage, write_sample_music

    footage = folder.path("sample")
    render_sample_footage(footage, seed, report=say)
    if music is None:
        music = folder.path(f"sample-music-{length_s:g}s.wav")  # an earlier film may name that of its own length
        if not music.exists():
            write_sample_music(music, length_s + 1.0, seed)
    return (footage,), music
