"""The page: one self-contained HTML file, and the same numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from autoreel.errors import translate_os_error
from autoreel.report.clips import Shown
from autoreel.report.figures import Figure, Section, shown, verdict
from autoreel.runs import atomic_write_text


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        head: names of the columns.
        rows: cells; the first of a row is its name.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Args:
        id: for links.
        title: a few words.
        about: a sentence.
        figures: numbers.
        clips: to play.
        layout: of the clips: "" for single ones, "wide" for pairs, "strip" for rows of several.
        charts: (title, drawing).
        table: or None.
    """

    id: str
    title: str
    about: str
    figures: Sequence[Mapping[str, Any]] = ()
    clips: Sequence[Shown] = ()
    layout: str = ""
    charts: Sequence[tuple[str, Markup]] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Page:
    """All of it.

    Args:
        title: of the page.
        subtitle: one line.
        words: what the numbers say, in sentences.
        parts: in their order.
        protocol: (name, text): how it was measured.
        numbers: for report.json.
    """

    title: str
    subtitle: str
    words: Sequence[str]
    parts: Sequence[Part]
    protocol: Sequence[tuple[str, str]]
    numbers: Mapping[str, Any] = field(default_factory=dict)


def part_of(id: str, section: Section, **more: Any) -> Part:
    """A section of figures as a part of a page."""
    return Part(id, section.title, section.about, [card(figure) for figure in section.figures], **more)


def card(figure: Figure) -> dict[str, Any]:
    """What the template shows of a figure."""
    beside = []
    if figure.floor is not None:
        beside.append(f"{figure.floor_of[:1].upper()}{figure.floor_of[1:]}: {shown(figure.floor, figure.unit)}")
    if figure.held_out is not None:
        beside.append(f"Held-out real footage: {shown(figure.held_out, figure.unit)}")
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{shown(figure.low, figure.unit)} to {shown(figure.high, figure.unit)}"
    facts = [f"{figure.count} {figure.counted}"]
    facts += [f"seed {figure.seed}"] if figure.seed is not None else []
    facts += [f"{figure.better} is better"] if figure.better != "neither" else []
    return {
        "key": figure.key, "name": figure.name, "text": shown(figure.value, figure.unit), "interval": interval,
        "beside": beside, "meaning": figure.meaning, "note": figure.note, "verdict": verdict(figure),
        "facts": ", ".join(facts),
    }  # fmt: skip


def render(page: Page) -> str:
    """The page as HTML. Every text in it is escaped; nothing in it asks for anything else."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("autoreel.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=page.title, subtitle=page.subtitle, words=page.words, parts=page.parts, protocol=page.protocol
    )


def write(folder: Path, page: Page) -> Path:
    """Write index.html and report.json into a folder, which is made.

    Returns:
        The path of index.html.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, folder) from error
    atomic_write_text(folder / "report.json", json.dumps(page.numbers, ensure_ascii=False, indent=1) + "\n")
    atomic_write_text(folder / "index.html", render(page))
    return folder / "index.html"
