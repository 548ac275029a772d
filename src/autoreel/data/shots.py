"""Cut footage into shots while it is decoded, and leave out what nothing can be learned from.

    frames    aaaaaaaaaaaaa|bbbbbbbbbb ......... cccccccc====================cccc
    kept      `--- shot --' `- shot -' black     `shot-' frozen, over a second `-'

Every frame leaves behind a thumbnail, histograms and a few numbers (about 1 kB); where the cuts are is decided at the
end, when the whole course of the changes is known. The threshold follows the footage: a cut stands out from what the
picture does around it, so that a shaking camera is not cut to pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames

THUMB = 16  # thumbnails are 16 × 16
ENOUGH_PIXELS = 64  # of larger frames every second, third, ... pixel is looked at
BINS = 16  # histogram bins for each of three channels
SIGNATURE_FRAMES = 8
BLOCK_FRAMES = 4096

CUT_SCORE = 0.22  # how much must change at the least; 0 equal, 1 nothing in common
CUT_RATIO = 3.0  # and how much more than around it
NEAR_S = 0.4  # "around" is this long before and after
FLASH_FRAMES = 3  # a change that is undone within so many frames is a flash, not a cut
BLEND_LENGTHS_S = (0.4, 0.8, 1.6)
BLEND_SCORE = 0.30  # how much two ends of a cross-fade differ at the least
BLEND_RESIDUAL = 0.16  # how exactly its middle is a mixture of the ends
BLEND_MARGIN = 0.06  # a smaller share of the other scene is not seen
SAME_SCENE = 10.0  # of 255: two ends that differ less than this, but for brightness and contrast, show one scene

BLACK_MEAN, BLACK_BRIGHT = 14.0, 30.0  # of 255: mean, and the brightest tenth
BAR_LEVEL = 16  # of 255: what is never brighter at the edge is a bar
FLAT_DEVIATION = 1.5  # of 255, over the thumbnail: a single colour
FROZEN_S = 1.0
FROZEN_BLOCK, FROZEN_SHARE = 1.0, 0.005  # of 255 in any block of a 16 × 16 grid, and share of pixels that change
DUPLICATE_LEVELS, DUPLICATE_MEAN = 20.0, 1.25  # of 255: anywhere in the thumbnails of two shots, and on average


@dataclass(frozen=True)
class Span:
    """Frames [start, end) of a source, and why they are left out (empty for a shot)."""

    start: int
    end: int
    reason: str = ""

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.end - self.start


class ShotFinder:
    """Looks at frames as they are decoded, and says at the end where the shots are.

    Args:
        rate: frames per second.
        min_shot_s: shorter pieces of a longer source are left out.
        may_be_stills: the frames are picture files. Where most have nothing to do with the next, each is a shot.
    """

    def __init__(self, rate: float, min_shot_s: float, *, may_be_stills: bool = False) -> None:
        self._rate, self._may_be_stills = rate, may_be_stills
        self._min_shot_s = min_shot_s
        self._min_frames = max(1, round(min_shot_s * rate))
        self._thumbs: list[NDArray[np.uint8]] = []
        self._histograms: list[NDArray[np.float32]] = []
        self._empty: list[NDArray[np.uint8]] = []  # 0 no, 1 black, 2 one colour
        self._still_since: list[int] = []  # for each frame: the first frame that it still equals
        self._anchor: Frames | None = None
        self._num_frames = 0

    def add(self, frames: Frames) -> None:
        """Look at the next frames.

        Args:
            frames: uint8 (n, H, W, 3).
        """
        if not len(frames):
            return
        every = max(1, min(frames.shape[1:3]) // ENOUGH_PIXELS)
        frames = frames[:, ::every, ::every]
        grid = _block_means(frames, THUMB)
        self._thumbs.append(np.rint(grid).astype(np.uint8))
        self._histograms.append(_histograms(frames))
        luma = grid @ np.array([0.299, 0.587, 0.114], np.float32)
        flat = luma.reshape(len(frames), -1)
        black = (flat.mean(1) < BLACK_MEAN) & (np.quantile(flat, 0.9, axis=1) < BLACK_BRIGHT)
        one_colour = grid.reshape(len(frames), -1, 3).std(axis=1).max(axis=1) < FLAT_DEVIATION
        self._empty.append(np.where(black, 1, np.where(one_colour, 2, 0)).astype(np.uint8))
        for frame in frames:
            self._follow(frame)

    def _follow(self, frame: Frames) -> None:
        """Note since when the picture stands still; compared with its first frame, so that slow change counts."""
        if self._anchor is None or not _still(self._anchor, frame):
            self._anchor = frame.copy()
            self._still_since.append(self._num_frames)
        else:
            self._still_since.append(self._still_since[-1])
        self._num_frames += 1

    def finish(self) -> tuple[list[Span], list[Span]]:
        """The shots in order, and the spans that are left out with their reasons."""
        if not self._num_frames:
            return [], []
        thumbs, histograms = _without_bars(self._all_thumbs(), np.concatenate(self._histograms))
        reasons = self._reasons(np.concatenate(self._empty))
        if self._may_be_stills and _are_stills(thumbs, histograms):
            alone = [Span(i, i + 1, "" if reason == "frozen" else reason) for i, reason in enumerate(reasons)]
            return [one for one in alone if not one.reason], _joined([one for one in alone if one.reason])
        cuts = find_cuts(thumbs, histograms, self._rate)
        for start, end in find_blends(thumbs, histograms, self._rate):
            reasons[start:end] = [reason or "cross-fade" for reason in reasons[start:end]]
        edges = [0, *(i for i in range(1, len(reasons)) if i in cuts or reasons[i] != reasons[i - 1]), len(reasons)]
        spans = [Span(a, b, reasons[a]) for a, b in pairwise(edges)]
        if len(spans) > 1:
            spans = [
                Span(span.start, span.end, f"a shot shorter than {self._min_shot_s:g} s")
                if not span.reason and span.count < self._min_frames
                else span
                for span in spans
            ]
        return [span for span in spans if not span.reason], _joined([span for span in spans if span.reason])

    def _reasons(self, empty: NDArray[np.uint8]) -> list[str]:
        names = ("", "black", "one flat colour")
        reasons = [names[kind] for kind in empty]
        for i in range(1, len(reasons) - 1):  # one dark frame is a flicker
            if reasons[i] and not reasons[i - 1] and not reasons[i + 1]:
                reasons[i] = ""
        since = np.asarray(self._still_since)
        for start in np.unique(since):
            end = int(np.searchsorted(since, start, side="right"))
            if end - start > FROZEN_S * self._rate:
                reasons[start:end] = [reason or "frozen" for reason in reasons[start:end]]
        return reasons

    def signature(self, span: Span) -> NDArray[np.uint8]:
        """What a shot looks like: thumbnails of frames spread evenly over it, uint8 (8, 16, 16, 3)."""
        places = np.linspace(span.start, span.end - 1, SIGNATURE_FRAMES).round().astype(int)
        return np.asarray(self._all_thumbs()[places])

    def _all_thumbs(self) -> NDArray[np.uint8]:
        self._thumbs = [np.concatenate(self._thumbs)] if len(self._thumbs) > 1 else self._thumbs
        return self._thumbs[0]


# --- changes ----------------------------------------------------------------------------------------------------------


def _without_bars(
    thumbs: NDArray[np.uint8], histograms: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Cut off black bars, which would make every change look small.

    Bars put the same black into every histogram, so that differences of histograms only have to be scaled.
    """
    lit = thumbs.max(axis=(0, 3)) > BAR_LEVEL
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        return thumbs, histograms
    inner = thumbs[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner, histograms * np.float32(thumbs[0].size / inner[0].size)


def _are_stills(thumbs: NDArray[np.uint8], histograms: NDArray[np.float32]) -> bool:
    scores = _difference(thumbs[:-1], thumbs[1:], histograms[:-1], histograms[1:])
    return len(scores) > 0 and float(np.median(scores)) >= CUT_SCORE


def find_cuts(thumbs: NDArray[np.uint8], histograms: NDArray[np.float32], rate: float) -> set[int]:
    """Frames that begin a new shot.

    Args:
        thumbs: uint8 (T, h, w, 3).
        histograms: float32 (T, 3, bins).
        rate: frames per second.
    """
    if len(thumbs) < 2:
        return set()
    scores = _difference(thumbs[:-1], thumbs[1:], histograms[:-1], histograms[1:])
    near = max(2, round(NEAR_S * rate))
    cuts: set[int] = set()
    for i in np.flatnonzero(scores >= CUT_SCORE):
        around = np.concatenate([scores[max(0, i - near) : i], scores[i + 1 : i + 1 + near]])
        # The median beside the mean: another cut nearby must not hide this one.
        if len(around) and scores[i] < CUT_RATIO * float(np.median(around)):
            continue
        if _apart_but_for_light(thumbs[i], thumbs[i + 1]) < SAME_SCENE:  # a lamp was switched on
            continue
        after = slice(i + 2, i + 2 + FLASH_FRAMES)
        if len(thumbs[after]):
            back = _difference(thumbs[i : i + 1], thumbs[after], histograms[i : i + 1], histograms[after])
            if back.min() < 0.5 * CUT_SCORE:
                continue
        before = slice(max(0, i + 1 - FLASH_FRAMES), i)
        if len(thumbs[before]):
            back = _difference(thumbs[i + 1 : i + 2], thumbs[before], histograms[i + 1 : i + 2], histograms[before])
            if back.min() < 0.5 * CUT_SCORE:
                continue
        cuts.add(int(i) + 1)
    return cuts


def find_blends(thumbs: NDArray[np.uint8], histograms: NDArray[np.float32], rate: float) -> list[tuple[int, int]]:
    """Cross-fades and fades: spans [start, end) whose frames are mixtures of the picture before and the picture after.

    A moving camera changes a picture as much, but its frames between are no mixtures of the ends; a lamp switched on is
    a mixture, but of the same scene twice.
    """
    found: list[tuple[int, int]] = []
    for length_s in BLEND_LENGTHS_S:
        n = max(4, round(length_s * rate / 4) * 4)
        if len(thumbs) > n:
            scores = _difference(thumbs[:-n], thumbs[n:], histograms[:-n], histograms[n:])
            starts = np.flatnonzero(scores >= BLEND_SCORE)
            for i in starts[starts % max(1, n // 8) == 0]:
                blend = _blend(thumbs[i : i + n + 1])
                if blend is not None:
                    found.append((int(i) + blend[0], int(i) + blend[1]))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _blend(thumbs: NDArray[np.uint8]) -> tuple[int, int] | None:
    """The frames [start, end) that mix the first and the last picture; None where they do not or show one scene.

    A mixture lies on the straight way from one end to the other: how far along is found by least squares.
    """
    pictures = thumbs.astype(np.float32).reshape(len(thumbs), -1)
    first, way = pictures[0], pictures[-1] - pictures[0]
    if _apart_but_for_light(thumbs[0], thumbs[-1]) < SAME_SCENE:
        return None
    along = ((pictures - first) @ way) / float(way @ way)
    quarters = np.arange(1, 4) * (len(thumbs) - 1) // 4
    rest = np.abs(pictures[quarters] - first - along[quarters, None] * way).mean(axis=1)
    one, two, three = along[quarters]
    if rest.max() >= BLEND_RESIDUAL * float(np.abs(way).mean()) or not 0.08 < one < two < three < 0.92:
        return None
    mixed = np.flatnonzero((along > BLEND_MARGIN) & (along < 1 - BLEND_MARGIN))
    return int(mixed[0]), int(mixed[-1]) + 1


def duplicates(signatures: Sequence[NDArray[np.uint8]], counts: Sequence[int]) -> dict[int, int]:
    """Shots that show what an earlier shot shows, frame for frame (a copy in another size or quality).

    Args:
        signatures: from `ShotFinder.signature`, one for each shot.
        counts: frames of each shot.

    Returns:
        The number of each duplicate, to the number of the shot that it repeats.
    """
    repeats: dict[int, int] = {}
    order = np.array(sorted(range(len(counts)), key=lambda i: (counts[i], i)), np.intp)
    lengths = np.array([counts[i] for i in order])
    means = np.array([signatures[i].mean() for i in order])
    for place, i in enumerate(order.tolist()):
        first = int(np.searchsorted(lengths, counts[i] - 1))  # resampling may give one frame more
        alike = np.abs(means[first:place] - means[place]) <= DUPLICATE_MEAN
        for j in order[first:place][alike].tolist():
            if i in repeats:
                break
            if j not in repeats and _shows_the_same(signatures[i], signatures[j]):
                repeats[max(i, j)] = min(i, j)
    return repeats


def _shows_the_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    apart = np.abs(one.astype(np.int16) - other)
    return bool(apart.max() <= DUPLICATE_LEVELS and apart.mean(axis=(1, 2, 3)).max() <= DUPLICATE_MEAN)


def _difference(
    a: NDArray[np.uint8], b: NDArray[np.uint8], ha: NDArray[np.float32], hb: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How different pictures are, in [0, 1], by what stands where (thumbnails) and by their colours (histograms)."""
    a, b = np.broadcast_arrays(a, b)
    placed = np.empty(len(a), np.float32)
    for first in range(0, len(a), BLOCK_FRAMES):  # an hour of thumbnails as floats would be much memory
        part = slice(first, first + BLOCK_FRAMES)
        placed[part] = np.abs(a[part].astype(np.float32) - b[part]).mean(axis=(1, 2, 3)) / 255
    coloured = np.abs(ha - hb).sum(axis=2).mean(axis=1) / 2
    return np.asarray(0.5 * np.minimum(1, 3 * placed) + 0.5 * coloured, np.float32)


def _apart_but_for_light(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """What is left of the difference when each picture is fitted to the other by brightness and contrast, of 255."""
    a, b = one.mean(axis=2, dtype=np.float32).ravel(), other.mean(axis=2, dtype=np.float32).ravel()
    a, b = a - a.mean(), b - b.mean()
    mixed = float(a @ b)
    rest = [float(np.abs(to - mixed / max(float(of @ of), 1e-6) * of).mean()) for of, to in ((a, b), (b, a))]
    return max(rest)


def _still(a: Frames, b: Frames) -> bool:
    """Whether nothing moves from one frame to the other, not even a hand."""
    apart = np.abs(a.astype(np.int16) - b)
    if float((apart.max(axis=2) > 1).mean()) > FROZEN_SHARE:
        return False
    blocks = _block_means(apart[None], min(2 * THUMB, min(a.shape[:2]) // 4 or 1))
    return float(blocks.max()) <= FROZEN_BLOCK


def _block_means(frames: NDArray[np.uint8] | NDArray[np.int16], blocks: int) -> NDArray[np.float32]:
    """(n, H, W, 3) to float32 (n, blocks, blocks, 3)."""
    _, height, width, _ = frames.shape
    rows, columns = np.arange(blocks) * height // blocks, np.arange(blocks) * width // blocks
    sums = np.add.reduceat(np.add.reduceat(frames, rows, axis=1, dtype=np.int32), columns, axis=2, dtype=np.int32)
    areas = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return np.asarray(sums / areas[None, :, :, None], np.float32)


def _histograms(frames: Frames) -> NDArray[np.float32]:
    """Smoothed histograms of the three channels, float32 (n, 3, bins)."""
    n, height, width, _ = frames.shape
    place = (frames >> 4).astype(np.intp) + np.arange(3) * BINS + (np.arange(n) * 3 * BINS)[:, None, None, None]
    counts = np.bincount(place.ravel(), minlength=n * 3 * BINS).reshape(n, 3, BINS) / (height * width)
    # A little smoothing: a slow change of light moves many pixels over one edge of a bin at once.
    padded = np.pad(counts, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return np.asarray((padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4, np.float32)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Neighbours with one reason as one span."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].end == span.start and joined[-1].reason == span.reason:
            joined[-1] = Span(joined[-1].start, span.end, span.reason)
        else:
            joined.append(span)
    return joined
