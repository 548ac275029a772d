"""Pictures and clips that show how training goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from autoreel.clip import Frames
from autoreel.media.encode import VideoWriter, write_strip
from autoreel.runs import atomic_path

CURVE_SIZE = (720, 360)  # width, height in pixels
MARGIN = 44
WINDOW = 100  # the bold line is a mean over this share of the curve


def write_pairs(path: Path, originals: Frames, made: Frames, columns: int = 9) -> None:
    """Rows of frames, each original above what was made of it, as one PNG.

        clip 0   original        o o o o o
                 reconstruction  r r r r r
        clip 1   original        o o o o o
                 reconstruction  r r r r r

    Args:
        path: ends in .png.
        originals: uint8 (B, T, H, W, 3).
        made: the same shape.
        columns: frames of each clip, spread evenly over it.

    Raises:
        OutputError: it cannot be written.
    """
    if originals.shape != made.shape or originals.ndim != 5:
        raise ValueError(f"clips must be uint8 (B, T, H, W, 3) of one shape, not {originals.shape} and {made.shape}")
    chosen = spread(originals.shape[1], columns)
    rows = np.stack([originals[:, chosen], made[:, chosen]], axis=1)
    write_strip(path, rows.reshape(-1, *originals.shape[2:]), columns=len(chosen))


def write_rows(path: Path, clips: Frames, columns: int = 9) -> None:
    """Each clip as a row of frames spread evenly over it, as one PNG.

    Args:
        path: ends in .png.
        clips: uint8 (B, T, H, W, 3).
        columns: frames of each clip.

    Raises:
        OutputError: it cannot be written.
    """
    chosen = spread(clips.shape[1], columns)
    write_strip(path, clips[:, chosen].reshape(-1, *clips.shape[2:]), columns=len(chosen))


def write_clip(path: Path, clips: Sequence[Frames], rate: Fraction, least_pixels: int = 256) -> None:
    """Clips beside each other as one MP4.

    Args:
        path: ends in .mp4.
        clips: uint8 (T, H, W, 3) each, all of one shape.
        rate: frames per second.
        least_pixels: small frames are shown larger, every pixel as a square, until they are at least so high.

    Raises:
        OutputError: it cannot be written.
    """
    side_by_side = np.concatenate(list(clips), axis=2)
    times = max(1, -(-least_pixels // side_by_side.shape[1]))
    shown = side_by_side.repeat(times, axis=1).repeat(times, axis=2)
    with VideoWriter(path, (shown.shape[1], shown.shape[2]), rate) as writer:
        writer.write(shown)


def spread(num_frames: int, columns: int) -> list[int]:
    """At most `columns` frame numbers from the first to the last, evenly."""
    return sorted({round(float(place)) for place in np.linspace(0, num_frames - 1, min(columns, num_frames))})


def draw_curve(path: Path, rows: Iterable[Mapping[str, Any]], stage: str) -> bool:
    """The losses of a stage over its steps, on a logarithmic scale, as a PNG.

    Args:
        path: ends in .png.
        rows: lines of metrics.jsonl.
        stage: whose.

    Returns:
        Whether there was enough to draw: two losses above zero.

    Raises:
        OutputError: it cannot be written.
    """
    mine = [row for row in rows if row.get("stage") == stage]
    trained = _points(mine, "loss")
    held_out = _points(mine, "validation/loss")
    if len(trained) < 2:
        return False
    width, height = CURVE_SIZE
    values = np.log10([value for _, value in trained + held_out])
    low, high = float(values.min()), float(max(values.max(), values.min() + 0.1))
    last_step = max(step for step, _ in trained + held_out)

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step / max(1, last_step)) * (width - 1.5 * MARGIN)
        down = (high - float(np.log10(value))) / (high - low) * (height - 1.5 * MARGIN)
        return MARGIN + across, MARGIN / 2 + down

    image = Image.new("RGB", CURVE_SIZE, "white")
    draw = ImageDraw.Draw(image)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = 10 ** (low + share * (high - low))
        _, y = place(0, value)
        draw.line([(MARGIN, y), (width - MARGIN / 2, y)], fill=(225, 225, 225))
        draw.text((4, y - 6), f"{value:.3g}", fill=(90, 90, 90))
        x, _ = place(share * last_step, 10**low)
        draw.text((x - 10, height - MARGIN + 8), f"{share * last_step:.0f}", fill=(90, 90, 90))
    draw.line([place(*point) for point in trained], fill=(190, 205, 235))
    draw.line([place(*point) for point in _smooth(trained)], fill=(30, 70, 170), width=2)
    for x, y in (place(*point) for point in held_out):
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=(200, 60, 40))
    legend = f"{stage}: loss (bold: mean)" + (", held-out footage (dots)" if held_out else "") + ", over steps"
    draw.text((MARGIN, height - 18), legend, fill=(40, 40, 40))
    with atomic_path(path) as part:
        image.save(part, format="PNG")
    return True


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    found = ((float(row["step"]), row.get(name)) for row in rows)
    return [(step, float(value)) for step, value in found if isinstance(value, int | float) and value > 0]


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    count = max(1, len(points) // WINDOW)
    blocks = [points[start : start + count] for start in range(0, len(points), count)]
    return [(sum(s for s, _ in block) / len(block), sum(v for _, v in block) / len(block)) for block in blocks]
