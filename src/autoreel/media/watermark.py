"""An invisible mark in the pictures that a model made: which second of which run's film a frame is.

A spread-spectrum mark (Cox et al. 1997) on a fixed grid of the picture, so that scaling does not move it. Every second
has its own pattern: 449 cosines of 2.5 to 12 periods across the picture, each with a sign drawn from a public key and
the number of the second. Three quarters of the signs depend on nothing else; they are what is searched for. The others
carry the first 24 bits of the run's hash, 8 bits to a group, as one of 256 rows of signs.

    second  0             1             2
            |  pattern 0  X  pattern 1  X  pattern 2        X: a blend of a quarter of a second

The mark is weaker where it would be seen: in large pictures, in smooth places, and it goes with the light: black and
white stay clean. `watermark_search.py` finds it again; docs/provenance.md says how well.
"""

from __future__ import annotations

import functools
import hashlib
import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.media.yuv420 import BLACK, WHITE, Planar, planes_of

VERSION = 1
GRID = 64  # the pattern's own pixels, on a picture of any size
PERIOD = 4096  # seconds until the patterns repeat
NUM_GROUPS, GROUP_BITS = 3, 8
ID_BITS = NUM_GROUPS * GROUP_BITS
_KEY = b"autoreel watermark 1"
_BAND = (5.0, 24.0)  # half periods across the picture: lower drowns in the picture, higher dies in the encoder
_SYNC_SHARE = 0.75
_BLEND = 0.125  # of a second, on both sides of a change of pattern
_PHASES = 8  # a second has so many steps; within one the pattern stands still
_AMPLITUDE = 1.9  # root mean square in levels of 255: 42.4 dB
_MIN_AMPLITUDE = 0.95
_FULL_AMPLITUDE_PX = 64  # of the shorter side
_MASKING = 0.35  # how much stronger the mark is in rough places than in smooth ones
_SMOOTH, _ROUGH = 0.7, 0.2  # most levels where all is smooth, and more for each level of deviation
_DRIFT = 0.3  # share by which the light of the picture's parts may change before the mark is fitted to it again
_PARTS = 8  # down and across
_TILE = 256

Signs = NDArray[np.float32]


def cosines() -> NDArray[np.float32]:
    """The orthonormal discrete cosine transform (GRID, GRID): rows are frequencies."""
    places = np.arange(GRID)
    matrix = np.cos(np.pi * np.outer(places, places + 0.5) / GRID) * np.sqrt(2 / GRID)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


@functools.cache
def carriers() -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
    """Where the mark lies in the flattened spectrum: places of the searched part, and of each group of the run's id."""
    down, across = np.mgrid[:GRID, :GRID]
    radius = np.hypot(down, across)
    places = np.flatnonzero((radius >= _BAND[0]) & (radius < _BAND[1]))
    order = np.argsort(np.frombuffer(_stream(b"order", 8 * len(places)), "<u8"), kind="stable")
    mixed = places[order]
    num_sync = round(_SYNC_SHARE * len(mixed))
    return np.sort(mixed[:num_sync]), tuple(np.sort(part) for part in np.array_split(mixed[num_sync:], NUM_GROUPS))


def sync_signs(second: int) -> Signs:
    """The signs of a second that are searched for: +1 or -1, (number of places,)."""
    return _signs(b"sync %d" % (second % PERIOD), len(carriers()[0]))


def group_signs(second: int, group: int) -> Signs:
    """The 256 rows of signs of which one stands for 8 bits of the run's id: (256, places of the group)."""
    count = len(carriers()[1][group])
    return _signs(b"group %d %d" % (second % PERIOD, group), count << GROUP_BITS).reshape(1 << GROUP_BITS, count)


def run_id(run_hash: str | None) -> int:
    """The 24 bits that name a run in the mark; 0 when nothing is known of it."""
    return 0 if run_hash is None else int.from_bytes(hashlib.sha256(run_hash.encode()).digest()[: ID_BITS // 8], "big")


class Watermark:
    """Marks the pictures of one film, in order.

    Args:
        size: (height, width) of the pictures.
        rate: pictures per second.
        identity: of the run, `run_id`.

    Raises:
        UsageError: an identity that has more than 24 bits.
    """

    def __init__(self, size: tuple[int, int], rate: Fraction | int, identity: int = 0) -> None:
        if not 0 <= identity < 1 << ID_BITS:
            raise UsageError(f"identity is {identity}; give one of {ID_BITS} bits")
        self.identity = identity
        self._size, self._rate = size, Fraction(rate)
        strength = _AMPLITUDE * (_FULL_AMPLITUDE_PX / min(size)) ** (1 / 3)
        self._amplitude = min(_AMPLITUDE, max(_MIN_AMPLITUDE, strength))
        tile = np.frombuffer(_stream(b"dither", _TILE * _TILE), np.uint8).reshape(_TILE, _TILE)
        repeats = (-(-size[0] // _TILE), -(-size[1] // _TILE))
        # Rounding to whole levels would lose a mark below half a level. The dither stands still and costs no bits.
        self._dither = np.tile((tile.astype(np.float32) + 0.5) / 256 - 0.5, repeats)[: size[0], : size[1]]
        self._steps = (max(1, size[0] // GRID), max(1, size[1] // GRID))
        self._patterns: dict[int, NDArray[np.float32]] = {}
        self._phase: tuple[int, int] | None = None
        self._parts = np.zeros((_PARTS, _PARTS), np.float32)
        self._change: Frames = np.zeros(0, np.uint8)
        self._floor: Frames = self._change
        self._ceiling: Frames = self._change
        self._is_luma = False  # what `_change` is for

    def mark(self, picture: Frames, number: int) -> Frames:
        """One picture with the mark.

        Args:
            picture: uint8 (H, W, 3), sRGB.
            number: of the picture in its film; 0 is the first.

        Returns:
            uint8 (H, W, 3), 42 dB or more from what was given.
        """
        few = self._few(picture)
        self._adapt(number, few.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32), is_luma=False)
        return self._added(picture)

    def mark_planar(self, picture: Planar, number: int) -> Planar:
        """`mark`, for a picture in the layout of encoders: as much light is added to its luma, and no colour."""
        luma = picture.planes()[0]
        light = (self._few(luma).astype(np.float32) - BLACK) * np.float32(255 / (WHITE - BLACK))
        self._adapt(number, light, is_luma=True)
        data = picture.data.copy()
        planes_of(data)[0][...] = self._added(luma)
        return Planar(data)

    def _few(self, picture: Frames) -> Frames:
        """Some of its pixels, on about the pattern's own grid."""
        down, across = self._steps
        return picture[down // 2 :: down, across // 2 :: across]

    def _adapt(self, number: int, light: NDArray[np.float32], is_luma: bool) -> None:
        """Choose the pattern of a moment, and fit it to the picture again where the light has changed."""
        at = Fraction(number) / self._rate
        second = math.floor(at)
        step = math.floor((at - second) * _PHASES)
        phase = (second, step if _nearness(step) < _BLEND else _PHASES // 2)
        parts = np.asarray(Image.fromarray(light).resize((_PARTS, _PARTS), Image.Resampling.BOX))
        if phase != self._phase or is_luma is not self._is_luma or _drift(self._parts, parts) > _DRIFT:
            self._phase, self._parts, self._is_luma = phase, parts, is_luma
            self._fit(phase, light)

    def _added(self, levels: Frames) -> Frames:
        marked: Frames = np.minimum(levels, self._ceiling)
        np.maximum(marked, self._floor, out=marked)
        marked += self._change  # in bytes, where -1 is 255; nothing passes the ends of the scale now
        return marked

    def _fit(self, phase: tuple[int, int], light: NDArray[np.float32]) -> None:
        """What is added to each pixel from now on."""
        strength = _resized(visibility(light, self._amplitude), (GRID, GRID))
        change = _resized(self._pattern(*phase) * strength, self._size)
        if self._is_luma:
            change = change * np.float32((WHITE - BLACK) / 255)
        whole = np.rint(change + self._dither).astype(np.int8)
        if self._is_luma:
            self._keep(whole)
            return
        signed = np.empty((*self._size, 3), np.int8)
        for colour in range(3):  # several times as fast as one assignment to all
            signed[..., colour] = whole
        self._keep(signed)

    def _keep(self, signed: NDArray[np.int8]) -> None:
        self._change = signed.view(np.uint8)
        self._floor = np.maximum(-signed, 0).view(np.uint8)
        self._ceiling = np.bitwise_not(np.maximum(signed, 0).view(np.uint8))  # 255 less it

    def _pattern(self, second: int, step: int) -> NDArray[np.float32]:
        """The pattern at a moment: that of its second, blended with its neighbour's near a change."""
        near = _nearness(step)
        if near >= _BLEND:
            return self._whole(second)
        turn = (0.5 + near / _BLEND / 2) * math.pi / 2
        other = second - 1 if step < _PHASES // 2 else second + 1
        return self._whole(second) * np.float32(math.sin(turn)) + self._whole(other) * np.float32(math.cos(turn))

    def _whole(self, second: int) -> NDArray[np.float32]:
        if second not in self._patterns:
            self._patterns = {k: v for k, v in self._patterns.items() if abs(k - second) <= 1}
            self._patterns[second] = pattern(second, self.identity)
        return self._patterns[second]


def _drift(before: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """How much the light has changed; in the dark a little is much."""
    return float((np.abs(now - before) / (16 + np.minimum(before, now))).mean())


def _nearness(step: int) -> float:
    """How far the middle of a step is from the nearest change of second, in seconds."""
    at = (step + 0.5) / _PHASES
    return min(at, 1 - at)


def pattern(second: int, identity: int) -> NDArray[np.float32]:
    """The pattern of a second, (GRID, GRID), of root mean square 1."""
    sync, groups = carriers()
    spectrum = np.zeros(GRID * GRID, np.float32)
    spectrum[sync] = sync_signs(second)
    for group, places in enumerate(groups):
        bits = identity >> GROUP_BITS * (NUM_GROUPS - 1 - group) & ((1 << GROUP_BITS) - 1)
        spectrum[places] = group_signs(second, group)[bits]
    count = len(sync) + sum(len(places) for places in groups)
    matrix = cosines()
    waves = matrix.T @ spectrum.reshape(GRID, GRID) @ matrix
    return np.asarray(waves * (GRID / math.sqrt(count)), np.float32)


def visibility(light: NDArray[np.float32], amplitude: float) -> NDArray[np.float32]:
    """How strong the mark may be in each place, in levels; near black and white it goes to 0.

    Args:
        light: of a picture, (h, w), levels of 0 to 255.
        amplitude: the root mean square over a picture that is rough enough for it.
    """
    mean = box_mean(light, 5)
    deviation = np.sqrt(np.maximum(box_mean(light * light, 5) - mean * mean, 0))
    rough = 1 + _MASKING * np.minimum(deviation, 24) / 12
    rough = rough * (amplitude / math.sqrt(float((rough * rough).mean())))
    unseen = np.minimum(rough, _SMOOTH + _ROUGH * deviation)
    lit = np.clip((mean - 4) / 28, 0, 1) * np.clip((253 - mean) / 12, 0, 1)
    strength: NDArray[np.float32] = (unseen * lit).astype(np.float32)
    return strength


def box_mean(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The mean over squares of `width` (odd) places, (..., H, W)."""
    half = width // 2
    edges = [(0, 0)] * (values.ndim - 2) + [(half + 1, half)] * 2
    sums = np.pad(values, edges, mode="edge").cumsum(-1, dtype=np.float64).cumsum(-2)
    total = sums[..., width:, width:] - sums[..., :-width, width:] - sums[..., width:, :-width]
    mean: NDArray[np.float32] = ((total + sums[..., :-width, :-width]) / width**2).astype(np.float32)
    return mean


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if values.shape == size:
        return values
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _signs(what: bytes, count: int) -> Signs:
    bits = np.unpackbits(np.frombuffer(_stream(what, -(-count // 8)), np.uint8), count=count)
    return bits.astype(np.float32) * 2 - 1


def _stream(what: bytes, num_bytes: int) -> bytes:
    """Bytes that the public key and a name decide, the same on every machine (SHAKE-256, FIPS 202)."""
    return hashlib.shake_256(_KEY + b"/" + what).digest(num_bytes)
