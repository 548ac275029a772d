"""Transitions by FFmpeg's filter `xfade`: its family of ways from one picture to another, each under a readable name.

The filter has a clock of its own. Here it is set by the share of the way that is gone, so that a frame of a transition
is the same wherever a rendering begins.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from PIL import Image

# Ours, and FFmpeg's. Those that transitions.py makes itself (fade, wipes, slides, circles, dissolve) are not here.
XFADES = {
    "wipe-top-left": "wipetl", "wipe-top-right": "wipetr", "wipe-bottom-left": "wipebl", "wipe-bottom-right": "wipebr",
    "diagonal-top-left": "diagtl", "diagonal-top-right": "diagtr",
    "diagonal-bottom-left": "diagbl", "diagonal-bottom-right": "diagbr",
    "smooth-left": "smoothleft", "smooth-right": "smoothright", "smooth-up": "smoothup", "smooth-down": "smoothdown",
    "cover-left": "coverleft", "cover-right": "coverright", "cover-up": "coverup", "cover-down": "coverdown",
    "reveal-left": "revealleft", "reveal-right": "revealright", "reveal-up": "revealup", "reveal-down": "revealdown",
    "slice-left": "hlslice", "slice-right": "hrslice", "slice-up": "vuslice", "slice-down": "vdslice",
    "wind-left": "hlwind", "wind-right": "hrwind", "wind-up": "vuwind", "wind-down": "vdwind",
    "vertical-open": "vertopen", "vertical-close": "vertclose",
    "horizontal-open": "horzopen", "horizontal-close": "horzclose",
    "circle-crop": "circlecrop", "rectangle-crop": "rectcrop", "radial": "radial", "zoom-in": "zoomin",
    "squeeze-horizontal": "squeezeh", "squeeze-vertical": "squeezev", "pixelize": "pixelize", "blur": "hblur",
    "distance": "distance", "fade-black": "fadeblack", "fade-white": "fadewhite", "fade-grays": "fadegrays",
    "fade-fast": "fadefast", "fade-slow": "fadeslow",
}  # fmt: skip
_TICKS = 1_000_000  # of the filter's clock from start to end
_local = threading.local()


def cross(kind: str, before: Image.Image, after: Image.Image, progress: float) -> Image.Image:
    """One frame of a transition.

    Args:
        kind: a key of `XFADES`.
        before, after: RGB pictures of equal size.
        progress: in (0, 1).
    """
    graph: _Graph | None = getattr(_local, "graph", None)
    at = round(progress * _TICKS)
    if graph is None or graph.what != (kind, before.size) or at <= graph.at:
        graph = _local.graph = _Graph(kind, before.size)
        graph.crossed(before, after, 0)  # its clock starts at the first frame that it is given
    return graph.crossed(before, after, at)


class _Graph:
    """The filter for one transition; its clock never goes back."""

    def __init__(self, kind: str, size: tuple[int, int]) -> None:
        self.what, self.at = (kind, size), -1
        graph = av.filter.Graph()
        graph.threads = 1
        is_like = f"video_size={size[0]}x{size[1]}:pix_fmt=gbrp:time_base=1/{_TICKS}:frame_rate=25:pixel_aspect=1/1"
        self._inputs: list[Any] = [graph.add("buffer", is_like) for _ in range(2)]
        fade = graph.add("xfade", f"transition={XFADES[kind]}:duration=1:offset=0")
        self._out: Any = graph.add("buffersink")
        for number, one in enumerate(self._inputs):
            one.link_to(fade, 0, number)
        fade.link_to(self._out)
        graph.configure()
        self._graph = graph  # kept alive with its ends

    def crossed(self, before: Image.Image, after: Image.Image, at: int) -> Image.Image:
        """Hand it both pictures of a moment, and take what it makes of them."""
        for one, picture in zip(self._inputs, (before, after), strict=True):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="gbrp")
            frame.pts, frame.time_base = at, Fraction(1, _TICKS)
            one.push(frame)
        self.at = at
        return Image.fromarray(self._out.pull().to_ndarray())
