"""Draws docs/pictures/morph.jpg: the way that a model paints from one shot to the next, with both shots below it.

    python tools/morph_pictures.py

The model is the starter codec after one step on sample footage, which takes half a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import autoreel
from autoreel.cli import main as command
from autoreel.clip import Frames
from autoreel.data.sample import render_sample_footage, sample_frames
from autoreel.film.delivery import Delivery
from autoreel.film.layout import lay_out
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.media.decode import read_clip
from autoreel.media.encode import VideoWriter
from autoreel.media.layers import overlay
from autoreel.media.titles import render_title

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "morph.jpg"
SIZE = (112, 112)
RATE, GAP = 25, 4
SHOWN = range(24, 60, 5)  # of the film's frames; the way lies from the 28th to the 53rd
VARIANTS = (1, 0)  # of the sample footage "travel"


def main() -> None:
    """Draw the sheet."""
    with tempfile.TemporaryDirectory() as name:
        folder, shots = Path(name), []
        render_sample_footage(folder / "footage", clips_per_kind=2, size=(64, 64))
        if command(["train", str(folder / "footage"), "--run", str(folder / "run"), "--preset", "tiny",
                    "--stage", "codec", "--steps", "1"]):  # fmt: skip
            raise SystemExit(1)
        clips = [np.concatenate(list(sample_frames("travel", variant, 0, 3 * RATE, SIZE))) for variant in VARIANTS]
        for number, frames in enumerate(clips):
            with VideoWriter(folder / f"{number}.mp4", SIZE, RATE, quality="best") as writer:
                writer.write(frames)
            way = {"kind": "morph", "length_s": 1.0} if number else None
            shots.append({"verb": "material", "source": str(folder / f"{number}.mp4"), "length_s": 1.6,
                          "transition": way})  # fmt: skip
        canvas = {"width": SIZE[1], "height": SIZE[0], "rate": RATE}
        board = Storyboard.model_validate({"run": str(folder / "run"), "canvas": canvas, "shots": shots})
        result = render(board, autoreel.load(folder / "run"), folder / "film.mp4", keep_shots=False,
                        delivery=Delivery(quality="best"))  # fmt: skip
        film = read_clip(result.path).frames
    rows = [("morph", film, range(len(film)))]
    rows += [
        (f"shot {placed.number}", frames, range(placed.start, placed.start + placed.num_frames))
        for placed, frames in zip(lay_out(board).placed, clips, strict=True)
    ]
    step = SIZE[0] + GAP
    sheet = Image.new("RGB", ((len(SHOWN) + 1) * (SIZE[1] + GAP) - GAP, len(rows) * step - GAP), "#ffffff")
    for index, row in enumerate(rows):
        sheet.paste(_strip(*row), (0, index * step))
    sheet.save(OUT, quality=84)
    print(OUT)


def _strip(name: str, frames: Frames, seen: range) -> Image.Image:
    """A row: its name, and the pictures of a clip while it is seen in the film."""
    row = Image.new("RGB", ((len(SHOWN) + 1) * (SIZE[1] + GAP) - GAP, SIZE[0]), "#ffffff")
    title = render_title(name, size=SIZE, scale=0.14)
    row.paste(overlay(Image.new("RGB", (SIZE[1], SIZE[0]), "#30343a"), title), (0, 0))
    for number, frame in enumerate(SHOWN, start=1):
        if frame in seen:
            row.paste(Image.fromarray(frames[frame - seen.start]), (number * (SIZE[1] + GAP), 0))
    return row


if __name__ == "__main__":
    main()
