"""Draws docs/pictures/transitions.jpg: every transition at a third and at two thirds of its way.

    python tools/transition_pictures.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from autoreel.data.sample import sample_frames
from autoreel.film.transitions import MIXES, mix
from autoreel.media.layers import overlay
from autoreel.media.titles import render_title
from autoreel.media.yuv420 import as_rgb

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "transitions.jpg"
SIZE = (84, 112)
COLUMNS = 6


def main() -> None:
    """Draw the sheet."""
    one, other = (Image.fromarray(next(sample_frames(kind, 1, 0, 40, SIZE))[20]) for kind in ("travel", "romance"))
    width, height = 2 * SIZE[1] + 6, SIZE[0] + 4
    sheet = Image.new("RGB", (COLUMNS * width - 4, -(-len(MIXES) // COLUMNS) * height - 4), "#ffffff")
    for index, kind in enumerate(MIXES):
        pair = Image.new("RGB", (2 * SIZE[1] + 2, SIZE[0]), "#ffffff")
        for number, progress in enumerate((1 / 3, 2 / 3)):
            pair.paste(as_rgb(mix(kind, one, other, progress)), (number * (SIZE[1] + 2), 0))
        named = overlay(pair, render_title(kind, size=(SIZE[0], pair.width), scale=0.16, place="lower"))
        sheet.paste(named, (index % COLUMNS * width, index // COLUMNS * height))
    sheet.save(OUT, quality=86)
    print(OUT)


if __name__ == "__main__":
    main()
