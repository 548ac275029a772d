"""The evaluation of a run: everything that can be measured, as a page.

    held-out clips  --codec-->  reconstructions         accuracy
    seeds, labels   --prior, codec-->  new clips        likeness, labels, copies, drift
    clocks and counters                                 efficiency
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoreel import __version__
from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.encoder import WINDOW, Encoder
from autoreel.evaluation.learning import VERSION, open_encoder
from autoreel.report import copies, curves
from autoreel.report.accuracy import MOST_TRAINED, Pairs, accuracy, take
from autoreel.report.clips import Shown, show
from autoreel.report.copies import Copies, look_for_copies
from autoreel.report.efficiency import efficiency, watched
from autoreel.report.figures import Figure, Section, by_key, not_measured, shown
from autoreel.report.likeness import Footage, label_accuracy, likeness, look_at_footage, see
from autoreel.report.minute import minute
from autoreel.report.outside import Files, outside
from autoreel.report.page import Page, part_of, write
from autoreel.report.subject import IN_WORDS, Subject

MIN_FRAMES = WINDOW
SHOWN_PAIRS, SHOWN_MADE = 6, 12
Report = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How much is to be measured.

    Args:
        clips: that are generated.
        frames: of each, at least 16.
        seed: of the first; the others follow.
        minute: whether a minute is generated in one go, to see it drift.
        files: networks of one's own for published measures.
    """

    clips: int = 256
    frames: int = 32
    seed: int = 0
    minute: bool = True
    files: Files = field(default_factory=Files)

    def __post_init__(self) -> None:
        if self.clips < 1 or self.frames < MIN_FRAMES:
            raise UsageError(
                f"{self.clips} clips of {self.frames} frames cannot be judged; give at least 1 of {MIN_FRAMES} frames"
            )


@dataclass(frozen=True)
class Assessment:
    """What was found about a run.

    Args:
        sections: all figures.
        pairs: held-out clips beside their reconstructions; of training clips where nothing is held out.
        made: generated clips (N, T, H, W, 3).
        labels: of the generated clips.
        copies: the nearest training clips, or why they were not looked for.
    """

    sections: Sequence[Section]
    pairs: Pairs | None
    made: Frames | None
    labels: Sequence[str | None]
    copies: Copies | TooFewError | None


def evaluate(
    path: Path, *, footage: Path | None = None, out: Path | None = None, wanted: Wanted | None = None,
    device: str = "auto", report: Report | None = None,
) -> Path:  # fmt: skip
    """Score a run on its held-out footage and write the report.

    Args:
        path: the run folder.
        footage: prepared footage, when it does not lie in the run folder.
        out: folder for index.html and report.json; None is "report" in the run folder.
        wanted: how much is measured.
        device: "auto", "cpu" or "cuda".
        report: told what is going on.

    Returns:
        The path of index.html.

    Raises:
        RunError: no trained run, or one of other footage.
        FootageError: the footage is not there.
        UsageError: what cannot be measured was asked for.
        OutputError: the report cannot be written.
    """
    wanted = wanted or Wanted()
    subject = Subject.open(path, footage, device)
    encoder = open_encoder(path / "evaluation", subject.store, report=report)
    found = assess(subject, encoder, None, wanted, report)
    return write(out or path / "report", _page(subject, found, wanted))


def assess(
    subject: Subject, encoder: Encoder, real: Footage | TooFewError | None, wanted: Wanted, report: Report | None = None
) -> Assessment:
    """Measure everything about one run.

    Args:
        subject: the run.
        encoder: of its footage.
        real: the footage as the encoder sees it, where that is known from another run of the same footage.
        wanted: how much.
        report: told what is going on.
    """
    say = report or (lambda line: None)
    sections = []
    pairs = trained = None
    if subject.has_encoder:
        say("rebuilding held-out clips")
        held_out = take(subject, subject.held_out())
        trained = take(subject, subject.store.split("train"), MOST_TRAINED)
        pairs = held_out or trained
        about = "How true clips are that the codec writes as latents and paints again; on footage it has not seen."
        sections.append(Section("Accuracy", about, accuracy(subject, held_out, trained, wanted.seed)))
    labels = subject.labels(wanted.clips)
    seeds = range(wanted.seed, wanted.seed + wanted.clips)
    subject.sample(labels[:1], wanted.frames, seeds[:1])  # what happens once only is no part of the speed
    with watched() as sampling:
        made = subject.sample(labels, wanted.frames, seeds, say)
    say("comparing generated clips with the footage")
    sections.append(Section(
        "Likeness", "How like the footage newly generated clips are, beside what other real clips of it score.",
        [*_likeness(subject, encoder, real, made, wanted.seed),
         label_accuracy(subject, encoder, made, labels, wanted.seed)],
    ))  # fmt: skip
    say("looking for replays of training clips")
    nearby = _copies(subject, made)
    sections.append(Section(
        "Memorisation", "Whether generated clips replay the training footage.", copies.figures(nearby, wanted.seed)
    ))  # fmt: skip
    if wanted.minute:
        say("generating a minute in one go")
        about = "What changes while a long clip goes on; a slope that is not clear may be chance."
        sections.append(Section("A minute", about, minute(subject, wanted.seed)))
    if wanted.files.any():
        say("published measures")
        about = "Measures with networks from the given files; compare them only with figures of the same protocol."
        sections.append(Section("Published measures", about, outside(subject, wanted.files, made, pairs, wanted.seed)))
    clip = pairs.original[0] if pairs is not None else None
    costs = efficiency(subject, clip, sampling, made.shape[0] * made.shape[1])
    sections.append(Section("Efficiency", "What it costs on this machine.", costs))
    return Assessment(sections, pairs, made, labels, nearby)


def _likeness(
    subject: Subject, encoder: Encoder, real: Footage | TooFewError | None, made: Frames, seed: int
) -> list[Figure]:
    if real is None:
        try:
            real = look_at_footage(subject, encoder)
        except TooFewError as error:
            real = error
    if isinstance(real, TooFewError):
        about = "How far generated clips lie from real ones, in the features of an encoder of this footage."
        return [Figure(key="frechet", name="Fréchet distance", unit="", meaning=about, **not_measured(real))]
    return likeness(real, see(encoder, made), seed)


def _copies(subject: Subject, made: Frames) -> Copies | TooFewError:
    try:
        return look_for_copies(subject, made)
    except TooFewError as error:
        return error


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(subject: Subject, found: Assessment, wanted: Wanted) -> Page:
    name = subject.folder.root.resolve().name
    parts = [part_of("clips", Section("Generated clips", "New clips, drawn with the seeds that follow each other."),
                     clips=made_clips(subject, found, wanted.seed))]  # fmt: skip
    for section in found.sections:
        id = section.title.lower().replace(" ", "-")
        if section.title == "Accuracy":
            parts.append(part_of(id, section, clips=pair_clips(subject, found), layout="wide"))
        elif section.title == "Memorisation":
            parts.append(part_of(id, section, clips=copied_clips(subject, found), layout="wide"))
        else:
            parts.append(part_of(id, section))
    drawn = curves.of_training(subject.folder.metrics())
    parts.append(part_of("curves", Section("Training", "How it went, from the run's metrics.jsonl."), charts=drawn))
    config = subject.run.config
    size = f"{subject.run.size[1]} × {subject.run.size[0]} pixels, {float(subject.run.rate):g} frames a second"
    numbers = {
        "format": 1, "run": name, "family": subject.family, "preset": config.preset, "size": list(subject.run.size),
        "rate": str(subject.run.rate), "data_hash": subject.store.hash, "seed": wanted.seed,
        "training_seed": config.training.seed, "autoreel": __version__,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "sections": [
            {"title": section.title, "figures": [figure.plain() for figure in section.figures]}
            for section in found.sections
        ],
    }  # fmt: skip
    return Page(
        title=f"Evaluation of {name}",
        subtitle=f"Family {subject.family}, preset {config.preset}, {size}; {subject.store.how_split}.",
        words=in_words(found.sections), parts=parts, protocol=protocol(subject, wanted), numbers=numbers,
    )  # fmt: skip


def in_words(sections: Sequence[Section]) -> list[str]:
    """What the most important figures say, for a person who reads nothing else."""
    figures = by_key(sections)
    said = []
    psnr = figures.get("psnr_db")
    if psnr is not None and psnr.value is not None:
        beside = f", where training footage comes back at {shown(psnr.floor, 'dB')}" if psnr.floor is not None else ""
        said.append(f"Footage it has never seen comes back at {shown(psnr.value, 'dB')}{beside}.")
    frechet = figures.get("mmd2")
    if frechet is not None and frechet.value is not None and frechet.floor is not None:
        held = f"; held-out real footage at {shown(frechet.held_out)}" if frechet.held_out is not None else ""
        said.append(
            f"Generated clips lie {shown(frechet.value)} from the footage (kernel distance), other moments of the same "
            f"footage {shown(frechet.floor)}{held}."
        )
    label = figures.get("label_accuracy")
    if label is not None and label.value is not None:
        floor = f" (real held-out clips: {shown(label.floor, '%')})" if label.floor is not None else ""
        said.append(f"{shown(label.value, '%')} of the generated clips show the label that was asked for{floor}.")
    replayed = figures.get("replayed_share")
    if replayed is not None and replayed.value is not None:
        much = "so look at the nearest training clips below" if replayed.value > 0.2 else "about what chance gives"
        said.append(f"{shown(replayed.value, '%')} of the generated clips are suspected replays of training, {much}.")
    elif replayed is not None:
        said.append(f"Whether it replays its training footage is not known ({replayed.note}).")
    distances = [figures[key] for key in ("frechet", "mmd2", "motion") if key in figures]
    blind = ", ".join(figure.name for figure in distances if figure.blind_to)
    if blind:
        said.append(f"Not every measure tells everything apart on this footage, which is said beside it: {blind}.")
    return said


def protocol(subject: Subject, wanted: Wanted, latents: str | None = None) -> list[tuple[str, str]]:
    """How the figures were made.

    Args:
        subject: the run.
        wanted: how much was measured.
        latents: where those of generated clips come from, in words; None says it of this run.
    """
    latents = latents or IN_WORDS[subject.origin]
    return [
        ("Footage", f"hash {subject.store.hash[:16]}, {subject.store.how_split}; training, validation and test have "
         f"{', '.join(str(len(subject.store.split(side))) for side in ('train', 'validation', 'test'))} shots."),
        ("Held out", "the validation and test sides together; nothing was learned from either."),
        ("Generated", f"{wanted.clips} clips of {wanted.frames} frames, seeds {wanted.seed} to "
         f"{wanted.seed + wanted.clips - 1}, labels in turns, latents from {latents}."),
        ("Encoder", f"version {VERSION}, trained on the training side of this footage only; windows of {WINDOW} "
         "frames, scaled to 64 pixels. Its distances compare only among runs of the same footage."),
        ("Counts", "generated windows are thinned to as many as the floor has: distances depend on counts."),
        ("Intervals", "95 %, by resampling clips."),
        ("Discrimination", "each distance was first tried on real clips that were blurred, frozen, shuffled in time, "
         "colour-shifted, and replayed; one that does not rank them as a person would says so."),
    ]  # fmt: skip


def made_clips(subject: Subject, found: Assessment, seed: int) -> list[Shown]:
    """The first generated clips."""
    if found.made is None:
        return []
    return [
        show([clip], subject.run.rate, f"generated: {label or 'any label'}, seed {seed + i}")
        for i, (clip, label) in enumerate(zip(found.made[:SHOWN_MADE], found.labels, strict=False))
    ]


def pair_clips(subject: Subject, found: Assessment) -> list[Shown]:
    """Real clips, their reconstructions, and a generated one beside them."""
    if found.pairs is None:
        return []
    count = len(found.pairs.original)
    chosen = sorted({i * count // SHOWN_PAIRS for i in range(SHOWN_PAIRS)})
    shown_clips = []
    for place, i in enumerate(chosen):
        clips = [found.pairs.original[i], found.pairs.made[i]]
        names = ["real", "reconstructed"]
        if found.made is not None:
            length = min(len(clips[0]), found.made.shape[1])
            clips = [clip[:length] for clip in (*clips, found.made[place % len(found.made)])]
            names.append("generated")
        shown_clips.append(show(clips, subject.run.rate, f"Held-out clip {i + 1} of {count}", names))
    return shown_clips


def copied_clips(subject: Subject, found: Assessment) -> list[Shown]:
    """The generated clips that lie nearest to training clips, beside those."""
    if not isinstance(found.copies, Copies) or found.made is None:
        return []
    measured, shown_clips = found.copies.found, []
    for i in measured.worst:
        window = found.copies.training[int(measured.made.index[i])]
        distance = measured.made.distance[i]
        rank = float(np.mean(measured.held_out.distance < distance))
        caption = (
            f"difference {distance:.1f} levels ({100 * rank:.0f} % of held-out clips are nearer to training); "
            f"training clip: {window.shot.source}, {window.shot.start_s + window.start / subject.rate:.1f} s"
        )
        clips = [found.made[i], window.frames(subject.store)]
        shown_clips.append(show(clips, subject.run.rate, caption, ("generated", "nearest training clip")))
    return shown_clips


def plain(sections: Sequence[Section]) -> dict[str, Any]:
    """Every figure by its key, for JSON."""
    return {key: figure.plain() for key, figure in by_key(sections).items()}
