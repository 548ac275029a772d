"""What each effect of `effects.py` does to a picture. Time (reverse, speed) is the renderer's business, not here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from autoreel.errors import MediaError
from autoreel.film import effects as fx
from autoreel.film.tones import LEVELS, balanced, curve, looked_up, read_cube, table
from autoreel.media.decode import decode
from autoreel.media.limits import FILM
from autoreel.media.yuv420 import BLACK, GREY, Planar, packed

Filter = Callable[[Image.Image, int], Image.Image]  # the picture, and its frame's number within the shot
PlanarFilter = Callable[[Planar, int], Planar]
Kind = TypeVar("Kind", Image.Image, Planar)
View = tuple[float, float, float]  # how much larger, and where the part begins, left and top, in pixels
Moves = Callable[[int], View]  # of a frame
BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Span:
    """What a filter must know of the shot: its frames, their (height, width) and rate, a seed for what is random."""

    num_frames: int
    size: tuple[int, int]
    seed: int
    rate: Fraction = Fraction(25)

    @property
    def shorter(self) -> int:
        """The shorter side in pixels."""
        return min(self.size)


def color(effect: fx.ColorEffect, span: Span) -> Filter:
    """One table per channel, then saturation against the luma."""
    tables: list[int] = []
    for warm in (1.0, 0.0, -1.0):
        gain = 1.0 + 0.25 * effect.warmth * warm
        values = ((np.arange(256) / 255.0 * gain) - 0.5) * effect.contrast + 0.5 + effect.brightness
        tables += np.rint(np.clip(values, 0.0, 1.0) ** (1.0 / effect.gamma) * 255.0).astype(int).tolist()

    def apply(picture: Image.Image, frame: int) -> Image.Image:
        picture = picture.point(tables)
        return picture if effect.saturation == 1.0 else ImageEnhance.Color(picture).enhance(effect.saturation)

    return apply


def black_and_white(effect: fx.BlackAndWhiteEffect, span: Span) -> Filter:
    """The luma in all three channels."""
    return lambda picture, frame: picture.convert("L").convert("RGB")


def sepia(effect: fx.SepiaEffect, span: Span) -> Filter:
    """The usual sepia matrix, blended with the picture."""
    matrix = (0.393, 0.769, 0.189, 0.0, 0.349, 0.686, 0.168, 0.0, 0.272, 0.534, 0.131, 0.0)
    return lambda picture, frame: Image.blend(picture, picture.convert("RGB", matrix), effect.strength)


def vignette(effect: fx.VignetteEffect, span: Span) -> Filter:
    """Multiplied by a smooth fall from the middle; the corners lose `strength` of their light."""
    mask = Image.fromarray(np.rint(_fall(effect, span) * 255.0).astype(np.uint8)).convert("RGB")
    return lambda picture, frame: ImageChops.multiply(picture, mask)


def _fall(effect: fx.VignetteEffect, span: Span) -> NDArray[np.float64]:
    height, width = span.size
    y, x = np.mgrid[-1.0:1.0 : height * 1j, -1.0:1.0 : width * 1j]
    fall: NDArray[np.float64] = 1.0 - effect.strength * np.clip((x**2 + y**2) / 2.0, 0.0, 1.0) ** 1.2
    return fall


def vignette_planar(effect: fx.VignetteEffect, span: Span) -> PlanarFilter:
    """The same of luma above black, and of both colours around grey: what lies there comes nearer to the middle."""
    fall = np.rint(_fall(effect, span) * 255.0)
    half = fall.reshape(fall.shape[0] // 2, 2, fall.shape[1] // 2, 2).mean(axis=(1, 3))
    mask = Image.fromarray(packed(*(np.rint(one).astype(np.uint8) for one in (fall, half, half))).data)
    middle = Image.fromarray(packed(*(np.full(one.shape, zero, np.uint8)
                                      for one, zero in ((fall, BLACK), (half, GREY), (half, GREY)))).data)  # fmt: skip
    added = ImageChops.subtract(middle, ImageChops.multiply(middle, mask))

    def apply(picture: Planar, frame: int) -> Planar:
        return Planar(np.asarray(ImageChops.add(ImageChops.multiply(Image.fromarray(picture.data), mask), added)))

    return apply


def grain(effect: fx.GrainEffect, span: Span) -> Filter:
    """Gaussian grain around zero: one large tile, another part of it for every frame."""
    height, width = span.size
    rng = np.random.default_rng((span.seed, 1))
    tall, wide = (math.ceil(side * 1.5 / effect.size) for side in (height, width))
    noise = np.clip(128.0 + rng.normal(0.0, 48.0 * effect.strength, (tall, wide)), 0, 255)
    tile = Image.fromarray(np.rint(noise).astype(np.uint8))
    if effect.size > 1:
        tile = tile.resize((wide * effect.size, tall * effect.size), Image.Resampling.BILINEAR)
    tile = tile.convert("RGB")

    def apply(picture: Image.Image, frame: int) -> Image.Image:
        at = np.random.default_rng((span.seed, 2, frame))
        left, top = int(at.integers(0, tile.width - width + 1)), int(at.integers(0, tile.height - height + 1))
        return ImageChops.add(picture, tile.crop((left, top, left + width, top + height)), 1, -128)

    return apply


def _blurred(picture: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur of any radius in about the same time: wide ones are done on a smaller picture."""
    factor = min(max(1, int(radius / 2.5)), *(max(1, side // 8) for side in picture.size))
    if factor == 1:
        return picture.filter(ImageFilter.GaussianBlur(radius)) if radius > 0 else picture
    small = picture.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return small.resize(picture.size, BICUBIC)


def blur(effect: fx.BlurEffect, span: Span) -> Filter:
    """Gaussian blur."""
    return lambda picture, frame: _blurred(picture, effect.radius * span.shorter)


def sharpen(effect: fx.SharpenEffect, span: Span) -> Filter:
    """The picture, pushed away from its blurred self."""
    radius = effect.radius * span.shorter
    return lambda picture, frame: Image.blend(_blurred(picture, radius), picture, 1.0 + effect.strength)


def glow(effect: fx.GlowEffect, span: Span) -> Filter:
    """The bright half, blurred, screened over the picture."""
    table = [round(max(0.0, v - 128) * 2.0 * effect.strength) for v in range(256)] * 3
    radius = effect.radius * span.shorter
    return lambda picture, frame: ImageChops.screen(picture, _blurred(picture.point(table), radius))


def zoom(effect: fx.ZoomEffect, span: Span) -> Moves:
    """A view that grows or shrinks evenly to the eye (geometrically) while its middle travels."""
    height, width = span.size

    def view(frame: int) -> View:
        gone = frame / max(1, span.num_frames - 1)
        scale = effect.start ** (1.0 - gone) * effect.end**gone
        x, y = (a + (b - a) * gone for a, b in ((effect.start_x, effect.end_x), (effect.start_y, effect.end_y)))
        return scale, (width - width / scale) * x, (height - height / scale) * y

    return view


def _moved(move: Callable[[Any, Span], Moves]) -> Callable[[Any, Span], Filter]:
    """A filter of what only moves the view."""

    def make(effect: Any, span: Span) -> Filter:
        view = move(effect, span)
        return lambda picture, frame: _view(picture, view(frame))

    return make


def _moved_planar(move: Callable[[Any, Span], Moves]) -> Callable[[Any, Span], PlanarFilter]:
    """The same of each plane."""

    def make(effect: Any, span: Span) -> PlanarFilter:
        view = move(effect, span)
        return lambda picture, frame: _view_planar(picture, view(frame))

    return make


def _view(picture: Image.Image, view: View, share: float = 1.0) -> Image.Image:
    """A part of the picture, as large as all of it; `share` of the view's pixels are one of this picture's."""
    width, height = picture.size
    scale, left, top = view[0], view[1] * share, view[2] * share
    left, top = min(max(0.0, left), width - width / scale), min(max(0.0, top), height - height / scale)
    return picture.resize(picture.size, BICUBIC, (left, top, left + width / scale, top + height / scale))


def _view_planar(picture: Planar, view: View) -> Planar:
    luma, *colors = picture.planes()
    seen = [_view(Image.fromarray(luma), view), *(_view(Image.fromarray(one), view, 0.5) for one in colors)]
    return packed(*(np.asarray(one) for one in seen))


def shake(effect: fx.ShakeEffect, span: Span) -> Moves:
    """Slow sums of sines on both axes, within a margin cut from the picture."""
    height, width = span.size
    reach = effect.strength * span.shorter
    scale = 1.0 / max(0.1, 1.0 - 2.2 * reach / span.shorter)
    phases = np.random.default_rng((span.seed, 3)).uniform(0.0, 2.0 * math.pi, (2, 3))

    def view(frame: int) -> View:
        waves = [sum(math.sin(frame * pace + phase) for pace, phase in zip((0.11, 0.23, 0.41), row, strict=True)) / 3
                 for row in phases.tolist()]
        middle = (width - width / scale) / 2, (height - height / scale) / 2
        return scale, middle[0] + waves[0] * reach, middle[1] + waves[1] * reach

    return view


def bars(effect: fx.BarsEffect, span: Span) -> Filter:
    """Black where a picture of the given shape would not reach."""
    height, width = span.size
    inner_h, inner_w = min(height, round(width / effect.aspect)), min(width, round(height * effect.aspect))
    box = ((width - inner_w) // 2, (height - inner_h) // 2, (width + inner_w) // 2, (height + inner_h) // 2)

    def apply(picture: Image.Image, frame: int) -> Image.Image:
        result = Image.new("RGB", picture.size)
        result.paste(picture.crop(box), box)
        return result

    return apply


def curves(effect: fx.CurvesEffect, span: Span) -> Filter:
    """The curve of all channels, then that of each."""
    whole = curve(effect.all)
    tones = table([np.interp(whole, LEVELS, curve(points)) for points in (effect.red, effect.green, effect.blue)])
    return lambda picture, frame: picture.point(tones)


def balance(effect: fx.BalanceEffect, span: Span) -> Filter:
    """One table per channel."""
    tones = table(balanced(effect))
    return lambda picture, frame: picture.point(tones)


def lut(effect: fx.LutEffect, span: Span) -> Filter:
    """By Pillow's trilinear look-up."""
    colors = read_cube(Path(effect.file))
    return lambda picture, frame: looked_up(picture, colors, effect.strength)


class _Beside:
    """The frames of another clip, at the film's rate; its last one is held when it ends."""

    def __init__(self, file: str, in_s: float, span: Span, size: tuple[int, int]) -> None:
        self._chunks = decode(
            Path(file), size=size, rate=span.rate, start_s=in_s, end_s=in_s + float((span.num_frames + 1) / span.rate),
            limits=FILM,
        )  # fmt: skip
        self._waiting: list[Image.Image] = []
        self._at, self._file = -1, file
        self._shown: Image.Image | None = None

    def at(self, frame: int) -> Image.Image:
        """The picture of a frame; frames are asked for in order."""
        while self._at < frame:
            if not self._waiting:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._waiting = [Image.fromarray(picture) for picture in chunk.frames]
            self._shown = self._waiting.pop(0)
            self._at += 1
        if self._shown is None:
            raise MediaError(f"{self._file}: has no pictures from in_s on")
        return self._shown


def inset(effect: fx.InsetEffect, span: Span) -> Filter:
    """Scaled into a corner, on a white border."""
    height, width = span.size
    size = max(2, round(height * effect.size)), max(2, round(width * effect.size))
    border, margin = round(effect.border * span.shorter), round(effect.margin * span.shorter)
    beside = _Beside(effect.file, effect.in_s, span, size)
    left = margin if effect.place.endswith("left") else width - size[1] - margin - 2 * border
    top = margin if effect.place.startswith("upper") else height - size[0] - margin - 2 * border

    def apply(picture: Image.Image, frame: int) -> Image.Image:
        result = picture.copy()
        result.paste("#ffffff", (left, top, left + size[1] + 2 * border, top + size[0] + 2 * border))
        result.paste(beside.at(frame), (left + border, top + border))
        return result

    return apply


def split(effect: fx.SplitEffect, span: Span) -> Filter:
    """The middle of the shot on one part of the picture, another clip on the other."""
    height, width = span.size
    gap = round(effect.gap * span.shorter)
    across = effect.side in ("left", "right")
    whole = (width if across else height) - gap
    there = max(1, round(whole * effect.share))
    own = (width - gap - there, height) if across else (width, height - gap - there)
    other = (there, height) if across else (width, there)
    beside = _Beside(effect.file, effect.in_s, span, (other[1], other[0]))
    first = effect.side in ("left", "upper")
    places = ((0, 0), (other[0] + gap if across else 0, 0 if across else other[1] + gap)) if first else (
        (own[0] + gap if across else 0, 0 if across else own[1] + gap), (0, 0)
    )  # fmt: skip

    def apply(picture: Image.Image, frame: int) -> Image.Image:
        result = Image.new("RGB", (width, height))
        left, top = (width - own[0]) // 2, (height - own[1]) // 2
        result.paste(beside.at(frame), places[0])
        result.paste(picture.crop((left, top, left + own[0], top + own[1])), places[1])
        return result

    return apply


def unchanged(effect: Any, span: Span) -> Filter:
    """For the effects on time, which the renderer has done before."""
    return lambda picture, frame: picture


FILTERS: dict[str, Callable[[Any, Span], Filter]] = {
    "color": color,
    "black-and-white": black_and_white,
    "sepia": sepia,
    "vignette": vignette,
    "grain": grain,
    "blur": blur,
    "sharpen": sharpen,
    "glow": glow,
    "zoom": _moved(zoom),
    "shake": _moved(shake),
    "bars": bars,
    "reverse": unchanged,
    "speed": unchanged,
    "ramp": unchanged,
    "freeze": unchanged,
    "smooth": unchanged,
    "curves": curves,
    "balance": balance,
    "lut": lut,
    "inset": inset,
    "split": split,
}


PLANAR_FILTERS: dict[str, Callable[[Any, Span], PlanarFilter]] = {  # those that need no colour of every pixel
    "vignette": vignette_planar,
    "zoom": _moved_planar(zoom),
    "shake": _moved_planar(shake),
}


def stays_planar(shot_effects: tuple[fx.Effect, ...]) -> bool:
    """Whether all effects of a shot can be done to planar pictures; those on time can."""
    return all(effect.name in PLANAR_FILTERS or effect.name in fx.TIMING_EFFECTS for effect in shot_effects)


def make_planar_filters(shot_effects: tuple[fx.Effect, ...], span: Span) -> PlanarFilter:
    """`make_filters` for planar pictures, where `stays_planar`."""
    return _in_turn([PLANAR_FILTERS[effect.name](effect, span) for effect in shot_effects
                     if effect.name in PLANAR_FILTERS])  # fmt: skip


def make_filters(shot_effects: tuple[fx.Effect, ...], span: Span) -> Filter:
    """All of a shot's effects as one function, in the order they are written."""
    return _in_turn([FILTERS[effect.name](effect, span) for effect in shot_effects])


def _in_turn(filters: Sequence[Callable[[Kind, int], Kind]]) -> Callable[[Kind, int], Kind]:
    def apply(picture: Kind, frame: int) -> Kind:
        for one in filters:
            picture = one(picture, frame)
        return picture

    return apply
