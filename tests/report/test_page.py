"""Numbers as text, curves, and the page itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from autoreel.errors import OutputError
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.uncertainty import Interval
from autoreel.report.clips import beside
from autoreel.report.curves import Curve, chart, of_training, thinned
from autoreel.report.figures import Figure, Section, not_measured, shown, verdict, with_interval
from autoreel.report.page import Cell, Page, Table, card, part_of, render, write


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "dB", "–"), (30.96, "dB", "31.0 dB"), (0.0, "", "0.00"), (0.835, "", "0.835"), (0.0034, "", "0.0034"),
        (0.256, "%", "26 %"), (5026560.0, "", "5 026 560"), (math.inf, "dB", "∞ dB"), (-0.76, "dB", "-0.760 dB"),
        (123.4, "frames/s", "123 frames/s"), (2e12, "", "2.00e+12"),
    ],
)  # fmt: skip
def test_numbers_are_readable(value: float | None, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def figure(**more: object) -> Figure:
    given: dict[str, object] = {"key": "k", "name": "A measure", "unit": "dB", "meaning": "It means something."}
    return Figure(**{**given, "value": 1.0, **more})  # type: ignore[arg-type]


def test_a_card_says_everything() -> None:
    made = figure(
        **with_interval(Interval(3.0, 2.0, 4.0, 17)), seed=5, floor=2.5, floor_of="training clips", held_out=9.0,
        better="lower", blind_to=("frozen", "memorised"),
    )  # fmt: skip
    found = card(made)
    assert found["text"] == "3.00 dB" and found["interval"] == "2.00 dB to 4.00 dB"
    assert found["beside"] == ["Training clips: 2.50 dB", "Held-out real footage: 9.00 dB"]
    assert found["facts"] == "17 clips, seed 5, lower is better"
    assert found["verdict"] == verdict(made) == "does not discriminate here: frozen, memorised"
    assert verdict(figure(blind_to=())) == verdict(figure()) == ""


def test_what_was_not_measured_says_why() -> None:
    made = figure(**not_measured(TooFewError("a distance", 3, 8)))
    assert made.value is None and made.count == 3
    assert made.note == "not measured: a distance needs at least 8 clips on each side, not 3"


def test_figures_are_json_whatever_they_hold() -> None:
    assert json.dumps(figure(value=math.inf, low=math.nan, blind_to=("frozen",)).plain(), allow_nan=False)


def test_a_chart_is_a_drawing() -> None:
    curves = [Curve("loss <a>", [(0, 10.0), (5, 1.0), (10, 0.1)]), Curve("held out", [(5, 1.0)], dots=True)]
    drawn = chart("Loss & more", curves, "steps", "loss", log=True)
    root = ElementTree.fromstring(drawn)
    line = root.find("polyline")
    assert line is not None
    places = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
    assert places[0][1] < places[1][1] < places[2][1] and places[1][1] - places[0][1] == pytest.approx(
        places[2][1] - places[1][1], abs=0.2
    )
    assert len(root.findall("circle")) == 1 and "loss &lt;a&gt;" in drawn
    assert chart("Nothing", [Curve("one", [(0, 1.0)])], "x", "y") == ""
    assert chart("Flat", [Curve("flat", [(0, 2.0), (1, 2.0)])], "x", "y")


def test_curves_come_from_the_metrics() -> None:
    rows = [{"stage": "codec", "step": s, "loss": 1.0 / (s + 1), "validation/psnr_db": 20.0 + s} for s in range(900)]
    titles = [title for title, _ in of_training([*rows, {"stage": "prior", "step": 1, "loss": None}])]
    assert titles == ["Loss of the codec", "Quality of the codec on held-out footage"]
    assert len(thinned([(float(i), 1.0) for i in range(900)])) <= 240


def test_clips_stand_beside_each_other_with_even_sides() -> None:
    clips = [np.full((3, 65, 33, 3), value, np.uint8) for value in (10, 200)]
    found = beside(clips)
    assert found.shape == (3, 196, 2 * 99 + 4, 3) and found.shape[1] % 2 == found.shape[2] % 2 == 0
    assert found[0, 0, 0, 0] == 10 and found[0, 0, -1, 0] == 200 and found[0, 0, 100, 0] == 128


def test_every_text_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    table = Table(["Family", nasty], [[Cell(nasty), Cell("1", best=True)]])
    section = Section(nasty, nasty, [figure(name=nasty, note=nasty)])
    page = Page(nasty, nasty, [nasty], [part_of("a", section, table=table)], [(nasty, nasty)], {"name": nasty})
    text = render(page)
    assert nasty not in text and text.count("&lt;script&gt;") >= 8
    assert write(tmp_path / "new" / "report", page).read_text(encoding="utf-8") == text
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "file", page)
