"""The page of a comparison: a table with intervals, and the families side by side from the same latents and labels."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoreel import __version__
from autoreel.evaluation.samples import read, windows
from autoreel.evaluation.uncertainty import Interval
from autoreel.report.accuracy import LENGTH
from autoreel.report.clips import Shown, show
from autoreel.report.curves import Curve, chart, thinned
from autoreel.report.evaluate import Wanted, protocol
from autoreel.report.figures import Section, shown
from autoreel.report.page import Cell, Page, Part, Table, part_of
from autoreel.report.ranking import DECIDING, Results, Row, ranks, row_of
from autoreel.report.subject import Subject

PROMPTS, HELD_OUT = 6, 4  # rows of clips
TABLES: Mapping[str, tuple[str, ...]] = {
    "Likeness of new clips": ("frechet", "mmd2", "precision", "recall", "density", "coverage", "c2st", "motion",
                              "sharpness", "label_accuracy", "replayed_share", "nearness"),
    "The same without the prior: latents from N(0, I), of `ae` from a Gaussian fit to the footage's": (
        "gaussian_mmd2", "gaussian_precision", "gaussian_coverage", "gaussian_c2st", "gaussian_motion"),
    "Accuracy on held-out footage": ("psnr_db", "ssim", "ms_ssim", "sharpness_kept", "temporal_psnr_db",
                                     "flicker_levels", "unevenness_db", "bits_per_dimension", "reencoding_db"),
    "Cost": ("codec_parameters", "decode_operations", "encode_fps", "decode_fps", "sampling_fps", "peak_memory",
             "codec_minutes", "prior_minutes"),
}  # fmt: skip


def page(subjects: Mapping[str, Subject], results: Results, budget: str, seeds: int, wanted: Wanted) -> Page:
    """The whole page.

    Args:
        subjects: the run of seed 0 of each family.
        results: the figures of all runs.
        budget: in words.
        seeds: trainings of each family.
        wanted: how much was measured.
    """
    any_of = next(iter(subjects.values()))
    order = ranks(results)
    about = "Mean over seeds, and the 95 % interval between seeds where there are several, their deviation pooled over "
    about += "families. Bold: the best, and what is not clearly behind it."
    parts = [_ranking(order, seeds)]
    for number, (title, keys) in enumerate(TABLES.items()):
        rows = [row for key in keys if (row := row_of(results, key)) is not None]
        if rows:
            parts.append(Part(f"table-{number}", title, about, table=_table(rows, list(subjects))))
    parts.append(part_of("same", Section(
        "The same latents and labels",
        "In a row: the same label and the same seed, so the same noise, for every family.",
    ), clips=_prompts(subjects, wanted.seed), layout="strip"))  # fmt: skip
    rebuilt = _rebuilt(subjects)
    if rebuilt:
        section = Section("The same held-out clips", "The real clip, and what each family with an encoder makes of it.")
        parts.append(part_of("rebuilt", section, clips=rebuilt, layout="strip"))
    training = Section("Training", "Held-out quality over time, seed 0.")
    parts.append(part_of("curves", training, charts=_curves(subjects)))
    numbers = {
        "format": 1, "families": list(subjects), "seeds": seeds, "budget": budget, "data_hash": any_of.store.hash,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "autoreel": __version__,
        "mean_rank": {family: _plain(value) for family, value in order.items()},
        "measures": {row.key: {"name": row.name, "unit": row.unit, "better": row.better, "floor": row.floor,
                               "best": list(row.best), "families": {f: _plain(v) for f, v in row.values.items()}}
                     for key in dict.fromkeys(k for keys in TABLES.values() for k in keys)
                     if (row := row_of(results, key)) is not None},
        "runs": {f"{family}-{seed}": figures for (family, seed), figures in results.items()},
    }  # fmt: skip
    return Page(
        title=f"Comparison of {', '.join(subjects)}",
        subtitle=f"{budget} for each training, {seeds} seed{'s' * (seeds > 1)}; {any_of.store.how_split}.",
        words=_words(results, order, seeds), parts=parts, numbers=numbers,
        protocol=protocol(any_of, wanted, "the prior, of gan from N(0, I)"),
    )  # fmt: skip


def _ranking(order: Mapping[str, Interval], seeds: int) -> Part:
    names = "kernel distance, precision, coverage, told apart from real, motion distance"
    about = f"Mean place over {len(DECIDING)} measures of new clips ({names}); 1 is the best."
    if not order:
        return Part("ranking", "Ranking", f"{about} Too few clips were there to rank anything.")
    rows = [[Cell(family), Cell(_with_ends(value, ""))] for family, value in order.items()]
    more = "" if seeds > 1 else " With one seed there is no interval: a difference may be luck."
    return Part("ranking", "Ranking", about + more, table=Table(["Family", "Mean place"], rows))


def _table(rows: Sequence[Row], families: Sequence[str]) -> Table:
    cells = []
    for row in rows:
        values = [Cell(_with_ends(row.values.get(f), row.unit), best=f in row.best) for f in families]
        better = [row.better] if row.better != "neither" else []
        unit = [row.unit] if row.unit not in ("", "%") else []
        name = f"{row.name} ({', '.join(unit + better)})" if unit + better else row.name
        cells.append([Cell(name), *values, Cell(_number(row.floor, row.unit))])
    return Table(["Measure", *families, "Floor"], cells)


def _with_ends(value: Interval | None, unit: str) -> str:
    if value is None:
        return "–"
    ends = "" if np.isnan(value.low) else f" ({_number(value.low, unit)} to {_number(value.high, unit)})"
    return f"{_number(value.value, unit)}{ends}"


def _number(value: float | None, unit: str) -> str:
    """Without its unit, which stands beside the measure's name; but a share is shown as one."""
    return shown(value, "%" if unit == "%" else "")


def _words(results: Results, order: Mapping[str, Interval], seeds: int) -> list[str]:
    said = []
    if order:
        said.append(f"New clips, best first: {', '.join(order)}.")
    for key, what in (("psnr_db", "Closest to held-out footage"), ("sharpness_kept", "Sharpness kept best"),
                      ("sampling_fps", "Fastest to sample")):  # fmt: skip
        row = row_of(results, key)
        if row is not None and row.best:
            values = ", ".join(f"{f} {shown(v.value, row.unit)}" for f, v in row.values.items() if v is not None)
            said.append(f"{what}: {' and '.join(row.best)} ({values}).")
    if seeds == 1:
        said.append("One seed: how much of this is luck is not known; --seeds 2 and more say it.")
    return said


def _prompts(subjects: Mapping[str, Subject], seed: int) -> list[Shown]:
    any_of = next(iter(subjects.values()))
    labels, seeds = any_of.labels(PROMPTS), range(seed, seed + PROMPTS)
    made = {family: subject.sample(labels, LENGTH, seeds) for family, subject in subjects.items()}
    return [
        show([clips[i] for clips in made.values()], any_of.run.rate,
             f"{labels[i] or 'any label'}, seed {seed + i}", list(made))
        for i in range(PROMPTS)
    ]  # fmt: skip


def _rebuilt(subjects: Mapping[str, Subject]) -> list[Shown]:
    able = {family: subject for family, subject in subjects.items() if subject.has_encoder}
    any_of = next(iter(subjects.values()))
    chosen = windows(any_of.held_out() or any_of.store.split("train"), LENGTH, HELD_OUT)
    if not able or not chosen:
        return []
    real = read(any_of.store, chosen)
    made = {"real": real, **{family: subject.rebuilt(real) for family, subject in able.items()}}
    return [
        show([clips[i] for clips in made.values()], any_of.run.rate, f"{window.shot.source}", list(made))
        for i, window in enumerate(chosen)
    ]


def _curves(subjects: Mapping[str, Subject]) -> list[tuple[str, Any]]:
    title = "PSNR of held-out footage over minutes of training"
    curves = []
    for family, subject in subjects.items():
        points = [(float(row["elapsed_s"]) / 60, float(row["validation/psnr_db"]))
                  for row in subject.folder.metrics()
                  if None not in (row.get("elapsed_s"), row.get("validation/psnr_db"))]  # fmt: skip
        curves.append(Curve(family, thinned(points)))
    drawn = chart(title, curves, "minutes", "dB")
    return [(title, drawn)] if drawn else []


def _plain(value: Interval | None) -> dict[str, float | int | None] | None:
    if value is None:
        return None
    ends = {"low": value.low, "high": value.high}
    return {"value": value.value, "count": value.count, **{n: None if np.isnan(e) else e for n, e in ends.items()}}
