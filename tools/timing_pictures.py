"""Draws docs/pictures/timing.jpg: the effects on time as strips of frames, with the shot as it is below them.

    python tools/timing_pictures.py
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autoreel.data.sample import sample_frames
from autoreel.film.layout import lay_out
from autoreel.film.pace import Pace
from autoreel.film.sources import open_source
from autoreel.film.storyboard import Storyboard
from autoreel.media.encode import VideoWriter
from autoreel.media.layers import overlay
from autoreel.media.titles import render_title
from autoreel.media.yuv420 import as_rgb

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "timing.jpg"
SIZE = (112, 112)
LARGE = (336, 336)  # of the slow footage, of which a part is shown, so that small steps are seen
PART = (0, 204, 112, 316)
RATE = 25
FEW = Fraction(5, 2)  # frames a second
TILES, GAP = 8, 4
EVERY_S = 0.4
Strip = tuple[str, list[dict[str, Any]]]  # a name and the effects of a row
CHANGED: list[Strip] = [
    ("reverse", [{"name": "reverse"}]), ("speed\n2", [{"name": "speed", "factor": 2}]),
    ("ramp\n0.25 to 2", [{"name": "ramp", "start": 0.25, "end": 2}]),
    ("freeze\nat 0.8 s", [{"name": "freeze", "at_s": 0.8, "length_s": 1.2}]), ("as it is", []),
]  # fmt: skip
SLOWED: list[Strip] = [
    ("speed\n0.25,\nsmooth", [{"name": "speed", "factor": 0.25}, {"name": "smooth"}]),
    ("speed\n0.25", [{"name": "speed", "factor": 0.25}]),
]


def main() -> None:
    """Draw the sheet."""
    with tempfile.TemporaryDirectory() as name:
        mug, hills = Path(name) / "mug.mp4", Path(name) / "hills.mp4"
        _write(mug, "ad", 2, SIZE, Fraction(RATE))
        _write(hills, "travel", 4, LARGE, FEW)
        rows = [_strip(mug, strip, SIZE, Fraction(RATE)) for strip in CHANGED]
        rows += [_strip(hills, strip, LARGE, FEW) for strip in SLOWED]
    step = SIZE[0] + GAP
    sheet = Image.new("RGB", ((TILES + 1) * (SIZE[1] + GAP) - GAP, len(rows) * step + 2 * GAP - GAP), "#ffffff")
    for index, row in enumerate(rows):
        sheet.paste(row, (0, index * step + (2 * GAP if index >= len(CHANGED) else 0)))
    sheet.save(OUT, quality=78)
    print(OUT)


def _write(path: Path, kind: str, variant: int, size: tuple[int, int], rate: Fraction) -> None:
    """Sample footage, of which a lower rate keeps fewer frames."""
    frames = np.concatenate(list(sample_frames(kind, variant, 0, 8 * RATE, size)))
    with VideoWriter(path, size, rate, quality="best") as writer:
        writer.write(frames[:: round(RATE / rate)])


def _strip(clip: Path, strip: Strip, size: tuple[int, int], rate: Fraction) -> Image.Image:
    """A row: its name, and pictures of a shot with the time in the clip that each shows."""
    name, effects = strip
    canvas = {"width": size[1], "height": size[0], "rate": RATE}
    shot = {"verb": "material", "source": str(clip), "length_s": TILES * EVERY_S, "effects": effects}
    board = Storyboard.model_validate({"canvas": canvas, "shots": [shot]})
    placed = lay_out(board).placed[0]
    pictures = [as_rgb(one) for one in open_source(placed, board.canvas, None, lambda _, make: make())]
    pace = Pace.of(placed, Fraction(RATE), Fraction(RATE))
    row = Image.new("RGB", ((TILES + 1) * (SIZE[1] + GAP) - GAP, SIZE[0]), "#ffffff")
    row.paste(_named(Image.new("RGB", (SIZE[1], SIZE[0]), "#30343a"), name, "center"))
    for number in range(TILES):
        frame = round(number * EVERY_S * RATE)
        at_s = float(pace.place(frame)) / RATE
        if pace.is_reversed:
            at_s = TILES * EVERY_S - 1 / RATE - at_s
        if not pace.is_smooth:
            at_s = float(int(at_s * rate + 1e-6) / rate)
        picture = pictures[frame] if size == SIZE else pictures[frame].crop(PART)
        row.paste(_named(picture, f"{at_s:.1f} s", "lower"), ((number + 1) * (SIZE[1] + GAP), 0))
    return row


def _named(picture: Image.Image, name: str, place: str) -> Image.Image:
    return overlay(picture, render_title(name, size=SIZE, scale=0.14, place=place))


if __name__ == "__main__":
    main()
