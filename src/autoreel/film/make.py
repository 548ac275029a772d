"""From a trained run to a finished film in one call: what `autoreel film` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from autoreel import __version__
from autoreel.film.beats import even_beats
from autoreel.film.delivery import Delivery
from autoreel.film.director import direct, energy_under
from autoreel.film.document import beside, is_edited, load_storyboard, save_storyboard, written_for
from autoreel.film.kinds import load_kind
from autoreel.film.layout import lay_out
from autoreel.film.made import FilmRun
from autoreel.film.provenance import hash_of_folder
from autoreel.film.renderer import FilmResult, Report, read_beats, render
from autoreel.film.storyboard import MAX_RATE_HZ, Canvas, Storyboard, Upscale
from autoreel.film.takes import Takes, choose_takes
from autoreel.media.manifest import Signing

DEFAULT_LENGTH_S = 60.0
DEFAULT_KIND = "plain"
LONGEST_SIDE_PX = 1920
# Models of few pixels are enlarged more: up to this height, this many times.
ENLARGED = ((64, 8), (128, 6), (256, 4), (512, 2))


@dataclass(frozen=True)
class MadeFilm:
    """A film and the storyboard it was made from, to be edited and rendered again."""

    result: FilmResult
    storyboard: Path


def make_film(
    run: FilmRun,
    run_path: Path,
    out: Path,
    *,
    music: Path | None = None,
    length_s: float | None = None,
    title: str | None = None,
    seed: int | None = None,
    default_seed: int = 0,
    kind: str = DEFAULT_KIND,
    upscale: Upscale = "lanczos",
    device: str = "auto",
    watermark: bool = True,
    signing: Signing | None = None,
    delivery: Delivery | None = None,
    rendered: Path | None = None,
    report: Report | None = None,
) -> MadeFilm:
    """Write a storyboard and render it. One that somebody edited is rendered as it stands.

    Args:
        run: the trained run.
        run_path: its folder.
        out: the film's file; the storyboard stands beside it as `.toml`, the record as `.json`.
        music: a file with sound, or None for a silent film.
        length_s: of the film, met to the frame; None for a minute.
        title: shown at the start.
        seed: the same seed gives the same film; None where nobody asked for one.
        default_seed: taken then.
        kind: of film: one of `kinds.known_kinds()`, or a person's own file.
        upscale: how the model's pictures are enlarged.
        device: for the run that an edited storyboard names, where that is another.
        watermark: mark what the model made.
        signing: the signature that its C2PA manifest gets.
        delivery: how the file is written, and whether it is all of the film; None for the usual.
        rendered: the file that is written, where that is not the film itself: a preview of it.
        report: told in single lines what happens.

    Raises:
        UsageError: a length that cannot be a film.
        ConfigError: an edited storyboard with problems.
        MediaError: the music cannot be read.
        OutputError: the film cannot be written.
    """
    if upscale == "learned":
        run.enlarge_stream(iter(()))  # what is wrong with it is said before anything is made
    path, target = beside(out, ".toml"), rendered or out
    delivery = delivery or Delivery(shots_of=out)
    if is_edited(path):
        board = load_storyboard(path)
        is_own = board.run is None or Path(board.run).resolve() == run_path.resolve()
        if report is not None:
            others = [f"--kind {kind}"] * (kind != DEFAULT_KIND) + [f"--seed {seed}"] * (seed is not None)
            others += [f"--upscale {upscale}"] * (upscale == "learned" != (delivery.upscale or board.canvas.upscale))
            report(_what_is_rendered(board, path, length_s, music, title, None if is_own else board.run, others))
        made = render(
            path, run if is_own else None, target, report=report, device=device, watermark=watermark, signing=signing,
            delivery=delivery,
        )  # fmt: skip
        return MadeFilm(made, path)
    length_s, seed = DEFAULT_LENGTH_S if length_s is None else length_s, default_seed if seed is None else seed
    wishes = _digest_of_wishes(run, run_path, music, length_s, title, seed, kind, upscale)
    if wishes is not None and written_for(path) == wishes:  # an earlier call was stopped after this, or was not
        if report is not None:
            report(f"storyboard: {path.name} is the one for these wishes already")
        made = render(path, run, target, report=report, watermark=watermark, signing=signing, delivery=delivery)
        return MadeFilm(made, path)
    board, takes = _compose(
        run, run_path, music=music, length_s=length_s, title=title, seed=seed, kind=kind, report=report, upscale=upscale
    )
    written = _written(board, path, report, wishes)
    made = render(
        written, run, target, report=report, takes=takes, watermark=watermark, signing=signing, delivery=delivery
    )
    return MadeFilm(made, written)


def _digest_of_wishes(
    run: FilmRun, run_path: Path, music: Path | None, length_s: float, title: str | None, seed: int, kind: str,
    upscale: Upscale,
) -> str | None:  # fmt: skip
    """What decides a storyboard: the model, the music, and what a person asked for; None where there are no weights."""
    weights = hash_of_folder(run_path)
    if weights is None:
        return None
    heard = None
    if music is not None:
        with music.open("rb") as file:
            heard = hashlib.file_digest(file, "sha256").hexdigest()
    canvas = canvas_for(run.size, run.rate, upscale).model_dump_json()
    wishes = [__version__, weights, str(run_path.absolute()), heard, str(music and music.absolute()), length_s, title,
              seed, load_kind(kind).model_dump_json(), canvas]  # fmt: skip
    return hashlib.sha256(json.dumps(wishes).encode()).hexdigest()[:16]


def _what_is_rendered(
    board: Storyboard, path: Path, length_s: float | None, music: Path | None, title: str | None, run: str | None,
    others: Sequence[str],
) -> str:  # fmt: skip
    """One line: what an edited storyboard says, and which wishes are not followed because of it."""
    lengths = [shot.length_s for shot in board.shots if shot.length_s is not None]
    total_s = sum(lengths) if len(lengths) == len(board.shots) else None
    file = Path(board.music.file) if board.music is not None else None
    ignored = list(others)
    if length_s is not None and (total_s is None or abs(total_s - length_s) > float(1 / board.canvas.rate)):
        ignored.append(f"--length {length_s:g}s")
    if music is not None and (file is None or file.resolve() != music.resolve()):
        ignored.append(f"--music {music}")
    if title is not None and title not in [entry.text for entry in board.titles]:
        ignored.append(f"--title {title!r}")
    said = [f"{total_s:.2f} s" if total_s is not None else "", file.name if file is not None else "no music"]
    said += [f"shots from {run}"] if run is not None else []
    besides = f", not with {' and '.join(ignored)}" if ignored else ""
    return (
        f"storyboard: {path.name} was edited and is rendered as it stands ({', '.join(filter(None, said))}){besides}; "
        "rename it to have a new one written"
    )


def write_storyboard(
    run: FilmRun,
    run_path: Path,
    path: Path,
    *,
    music: Path | None = None,
    length_s: float = DEFAULT_LENGTH_S,
    title: str | None = None,
    seed: int = 0,
    kind: str = "plain",
    upscale: Upscale = "lanczos",
    report: Report | None = None,
) -> Path:
    """Write the storyboard of a film: cuts on the beats of the music, labels in turn. Arguments as in `make_film`.

    Returns:
        Where it stands: `path`, or a name beside it when `path` holds one that somebody edited.
    """
    board, _ = _compose(
        run, run_path, music=music, length_s=length_s, title=title, seed=seed, kind=kind, report=report, upscale=upscale
    )
    return _written(board, path, report)


def _written(storyboard: Storyboard, path: Path, report: Report | None, wishes: str | None = None) -> Path:
    written = save_storyboard(storyboard, path, wishes=wishes)
    if report is not None:
        note = f"; {path.name} was edited and stays" if written != path else ""
        report(f"storyboard: {len(storyboard.shots)} shots in {written}{note}")
    return written


def compose_storyboard(
    run: FilmRun,
    run_path: Path,
    *,
    music: Path | None = None,
    length_s: float = DEFAULT_LENGTH_S,
    title: str | None = None,
    seed: int = 0,
    kind: str = "plain",
    report: Report | None = None,
) -> Storyboard:
    """`write_storyboard` without the file."""
    return _compose(
        run, run_path, music=music, length_s=length_s, title=title, seed=seed, kind=kind, report=report
    )[0]


def _compose(
    run: FilmRun, run_path: Path, *, music: Path | None, length_s: float, title: str | None, seed: int, kind: str,
    report: Report | None, upscale: Upscale = "lanczos",
) -> tuple[Storyboard, Takes]:  # fmt: skip
    """The storyboard, and the takes of its shots that were sketched on the way."""
    canvas = canvas_for(run.size, run.rate, upscale)
    beats = even_beats(max(0.0, min(length_s, 1e6)))
    if music is not None and 0 < length_s < 1e6:
        beats = read_beats(music, 0.0, length_s)
        if report is not None:
            found = f"{beats.tempo_bpm:.0f} beats a minute" if beats.pulse else "no beat, an even pace is used"
            report(f"music: {music.name}, {found}")
    board = direct(
        length_s=length_s, canvas=canvas, beats=beats, run=run_path.absolute(), labels=run.labels,
        music=music.absolute() if music is not None else None, title=title, seed=seed,
        kind=load_kind(kind),
    )  # fmt: skip
    layout = lay_out(board)
    energy = [energy_under(beats, float(placed.first / layout.rate), float((placed.first + placed.body) / layout.rate))
              for placed in layout.placed]  # fmt: skip
    return choose_takes(board, layout, run, energy, seed=seed, report=report)


def canvas_for(size: tuple[int, int], rate: Fraction, upscale: Upscale = "lanczos") -> Canvas:
    """The canvas for footage of a model: its shape and rate, several times its size.

    Args:
        size: (height, width) of the model's frames.
        rate: frames per second of the model's frames.
        upscale: how they are enlarged.
    """
    height, width = size
    factor = Fraction(next((times for most, times in ENLARGED if height <= most), 1))
    factor = min(factor, Fraction(LONGEST_SIDE_PX, max(height, width)))
    tall, wide = (max(16, 2 * round(side * factor / 2)) for side in (height, width))
    rate = rate if 1 <= rate <= MAX_RATE_HZ else Fraction(25)
    return Canvas(width=wide, height=tall, rate=rate, upscale=upscale)
