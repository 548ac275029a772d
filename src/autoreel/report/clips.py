"""Clips inside a page: small H.264 files as data URIs, so that the page stays one file."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from autoreel.clip import Frames
from autoreel.media.encode import VideoWriter

LEAST_HEIGHT = 192  # small frames are shown larger, every pixel as a square
QUALITY = 22  # constant rate factor
GAP = 4  # pixels between clips that stand beside each other
NOTICE = "Made by autoreel for a report; its captions say what in it is real and what is AI-generated."


@dataclass(frozen=True)
class Shown:
    """A clip on the page.

    Args:
        caption: what it shows.
        uri: "data:video/mp4;base64,...".
        width: pixels.
        height: pixels.
        columns: the captions of what stands side by side in it.
    """

    caption: str
    uri: str
    width: int
    height: int
    columns: tuple[str, ...] = ()


def show(clips: Sequence[Frames], rate: Fraction, caption: str, columns: Sequence[str] = ()) -> Shown:
    """Clips of one shape, side by side in one video.

    Args:
        clips: uint8 (T, H, W, 3) each.
        rate: frames per second.
        caption: what it shows.
        columns: the caption of each.
    """
    frames = beside(clips)
    with tempfile.TemporaryDirectory(prefix="autoreel-report-") as folder:
        path = Path(folder) / "clip.mp4"
        size = (frames.shape[1], frames.shape[2])
        with VideoWriter(path, size, rate, quality=QUALITY, metadata={"comment": NOTICE}) as writer:
            writer.write(frames)
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return Shown(caption, f"data:video/mp4;base64,{encoded}", size[1], size[0], tuple(columns))


def beside(clips: Sequence[Frames]) -> Frames:
    """Clips of one shape side by side, large enough to be looked at, with even sides."""
    times = max(1, -(-LEAST_HEIGHT // clips[0].shape[1]))
    large = [clip.repeat(times, 1).repeat(times, 2) for clip in clips]
    gap = np.full((*large[0].shape[:2], GAP, 3), 128, np.uint8)
    parts = [part for clip in large for part in (clip, gap)][:-1]
    whole = np.concatenate(parts, 2)
    return np.pad(whole, ((0, 0), (0, whole.shape[1] % 2), (0, whole.shape[2] % 2), (0, 0)), mode="edge")
