"""Draws docs/pictures/effects.jpg: every effect, beside the picture it changes.

    python tools/effect_pictures.py
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autoreel.data.sample import sample_frames
from autoreel.film.effects import EFFECTS, TIME_EFFECTS
from autoreel.film.filters import Span, make_filters
from autoreel.media.encode import VideoWriter
from autoreel.media.layers import overlay
from autoreel.media.titles import render_title

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "effects.jpg"
SIZE = (168, 224)
COLUMNS = 5
# Strong enough to be seen at this size.
SETTINGS: dict[str, dict[str, Any]] = {
    "color": {"saturation": 1.8, "contrast": 1.3}, "vignette": {"strength": 0.9}, "grain": {"strength": 0.8},
    "blur": {"radius": 0.025}, "sharpen": {"strength": 2.5, "radius": 0.012}, "glow": {"strength": 0.9},
    "zoom": {"start": 1.6, "end": 1.6}, "shake": {"strength": 0.06}, "bars": {"aspect": 2.39},
    "curves": {"all": [(0.0, 0.0), (0.25, 0.12), (0.75, 0.9), (1.0, 1.0)]},
    "balance": {"shadows": (-0.3, 0.0, 0.4), "highlights": (0.3, 0.1, -0.3)}, "lut": {}, "inset": {}, "split": {},
}  # fmt: skip


def main() -> None:
    """Draw the sheet."""
    picture = Image.fromarray(next(sample_frames("travel", 1, 0, 40, SIZE))[20])
    tiles = [_named(picture, "as it is")]
    with tempfile.TemporaryDirectory() as name:
        other, cube = Path(name) / "other.mp4", Path(name) / "look.cube"
        with VideoWriter(other, SIZE, Fraction(25)) as writer:
            writer.write(next(sample_frames("ad", 0, 0, 10, SIZE)))
        steps = np.linspace(0, 1, 9)
        colors = [(0.9 * r + 0.1, g**1.2, 0.25 + 0.6 * b) for b in steps for g in steps for r in steps]
        rows = "\n".join(" ".join(f"{value:.4f}" for value in color) for color in colors)
        cube.write_text(f"LUT_3D_SIZE 9\n{rows}\n")
        for effect, model in EFFECTS.items():
            if effect in (*TIME_EFFECTS, "smooth"):
                continue  # nothing to see in one picture
            settings = dict(SETTINGS.get(effect, {}))
            if "file" in model.model_fields:
                settings["file"] = str(cube if effect == "lut" else other)
            apply = make_filters((model.model_validate(settings),), Span(20, SIZE, 3))  # type: ignore[arg-type]
            tiles.append(_named(apply(picture, 0), effect))
    rows_of_tiles = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIZE[1] + 4) - 4, rows_of_tiles * (SIZE[0] + 4) - 4), "#ffffff")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * (SIZE[1] + 4), index // COLUMNS * (SIZE[0] + 4)))
    sheet.save(OUT, quality=88)
    print(OUT)


def _named(picture: Image.Image, name: str) -> Image.Image:
    return overlay(picture, render_title(name, size=SIZE, scale=0.1, place="lower"))


if __name__ == "__main__":
    main()
