"""Sample footage, the romance: two lights find each other over water at dusk.

Everything is light that adds up: a sky, soft discs out of focus (bokeh), two glows with trails, and the water that
mirrors them all with its ripples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]

HORIZON = 0.68  # share of the height above the water


@dataclass(frozen=True)
class Evening:
    """One mood.

    Args:
        sky: linear RGB at the top, in the middle and at the horizon.
        lights: linear RGB of the two.
        dance: how they come together: "spiral", "arcs", "drift", "rise", "circle" or "fall".
        discs: linear RGB of the lights out of focus.
    """

    sky: tuple[Colour, Colour, Colour]
    lights: tuple[Colour, Colour]
    dance: str
    discs: Colour


EVENINGS: tuple[Evening, ...] = (
    Evening(((0.020, 0.015, 0.080), (0.200, 0.040, 0.140), (0.900, 0.260, 0.130)),
            ((1.0, 0.62, 0.28), (1.0, 0.34, 0.46)), "spiral", (0.95, 0.40, 0.25)),
    Evening(((0.004, 0.012, 0.050), (0.015, 0.060, 0.170), (0.140, 0.260, 0.420)),
            ((0.55, 0.80, 1.0), (1.0, 0.66, 0.30)), "arcs", (0.90, 0.60, 0.28)),
    Evening(((0.030, 0.010, 0.060), (0.260, 0.040, 0.100), (1.000, 0.420, 0.120)),
            ((1.0, 0.80, 0.45), (1.0, 0.52, 0.20)), "rise", (1.0, 0.55, 0.20)),
    Evening(((0.010, 0.008, 0.050), (0.070, 0.030, 0.200), (0.420, 0.130, 0.420)),
            ((1.0, 0.50, 0.85), (0.50, 0.62, 1.0)), "circle", (0.75, 0.35, 0.95)),
    Evening(((0.004, 0.030, 0.040), (0.010, 0.120, 0.130), (0.480, 0.460, 0.240)),
            ((1.0, 0.90, 0.50), (0.40, 1.0, 0.80)), "drift", (0.60, 0.90, 0.50)),
    Evening(((0.012, 0.006, 0.030), (0.110, 0.015, 0.060), (0.600, 0.100, 0.090)),
            ((1.0, 0.30, 0.26), (1.0, 0.78, 0.52)), "fall", (1.0, 0.30, 0.22)),
)


def frames(variant: int, seed: int, num_frames: int, height: int, width: int, rate: float) -> Iterator[Array]:
    """Linear-light frames of one clip.

    Args:
        variant: which evening; counts around.
        seed: stars, discs, ripples and the way the lights take.
        num_frames: how many.
        height, width: size in pixels.
        rate: frames per second.

    Returns:
        float32 (H, W, 3), linear RGB, one after another.
    """
    rng = np.random.default_rng((seed, variant, 2))
    evening = EVENINGS[variant % len(EVENINGS)]
    y, x = _grid(height, width)
    sky = _sky(evening, rng, x, y)
    hills = _hills(rng, x, y)
    discs = _Discs.scatter(rng, 22)
    side = float(rng.choice([-1.0, 1.0]))
    phase = rng.uniform(0, 2 * np.pi)
    for i in range(num_frames):
        time = i / rate
        share = i / max(1, num_frames - 1)
        image = sky.copy()
        discs.add(image, evening, time)
        _add_lights(image, evening, share, time, side, x, y)
        image *= hills
        yield _mirror(image, time + phase, height)


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """Rows in [0, 1] from the top; columns centred, in the same unit."""
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height)[None, :]
    return y, x


def _sky(evening: Evening, rng: np.random.Generator, x: Array, y: Array) -> Array:
    top, middle, low = (np.array(c, np.float32) for c in evening.sky)
    share = (y / HORIZON).clip(0, 1)[..., None]
    image = np.where(share < 0.55, top + (middle - top) * (share / 0.55), 0.0)
    image = np.where(share >= 0.55, middle + (low - middle) * ((share - 0.55) / 0.45).clip(0) ** 1.6, image)
    image = np.repeat(image, x.shape[1], axis=1).astype(np.float32)
    # A band of cloud that catches the last light: ridged sines, stretched along the horizon.
    waves = np.zeros((len(y), x.shape[1]), np.float32)
    for octave in range(5):
        a, b, c = rng.uniform(2, 4) * 1.7**octave, rng.uniform(9, 15) * 1.6**octave, rng.uniform(0, 6.3)
        waves += np.sin(a * x + c + 1.7 * np.sin(b * y * 0.4 + c)) * np.sin(b * y + 0.8 * np.sin(a * x)) / 1.6**octave
    cloud = (0.5 * waves + 0.1).clip(0, 1) * np.exp(-(((y - 0.47) / 0.13) ** 2))
    image += (0.55 * cloud)[..., None] * low
    image += 0.35 * np.exp(-((x / 0.5) ** 2 + ((y - HORIZON) / 0.14) ** 2))[..., None] * low
    for _ in range(34):
        sx, sy = rng.uniform(-0.5, 0.5), rng.uniform(0, 0.42) ** 1.2
        star = np.exp(-((x - sx) ** 2 + (y - sy) ** 2) / 6e-6)
        image += (rng.uniform(0.1, 0.5) * star)[..., None]
    return image


def _hills(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """What a far shore leaves of the light behind it: (H, W, 1)."""
    shore = np.zeros_like(x)
    for octave in range(6):
        shore += rng.uniform(0.4, 1.0) * np.sin(x * rng.uniform(4, 7) * 1.8**octave + rng.uniform(0, 6.3)) / 2.0**octave
    top = HORIZON - 0.045 - 0.028 * shore
    covered = ((y - top) * 180).clip(0, 1)
    return np.asarray(1 - 0.88 * covered[..., None], np.float32)


@dataclass(frozen=True)
class _Discs:
    """Lights out of focus; each array has one entry a disc."""

    x: Array
    y: Array
    radius: Array
    strength: Array
    speed: Array
    phase: Array

    @classmethod
    def scatter(cls, rng: np.random.Generator, count: int) -> _Discs:
        draws = rng.uniform(size=(6, count)).astype(np.float32)
        return cls(
            x=draws[0] - 0.5, y=0.30 + 0.36 * draws[1] ** 0.7, radius=0.018 + 0.045 * draws[2] ** 2,
            strength=0.05 + 0.22 * draws[3] ** 2, speed=0.01 + 0.03 * draws[4], phase=6.28 * draws[5],
        )

    def add(self, image: Array, evening: Evening, time: float) -> None:
        """Add every disc to `image` (H, W, 3) in place."""
        height, width, _ = image.shape
        tint = np.array(evening.discs, np.float32)
        for k in range(len(self.x)):
            cx = (float(self.x[k] + self.speed[k] * time) + 0.6) % 1.2 - 0.6
            cy = float(self.y[k] + 0.010 * np.sin(0.9 * time + self.phase[k]))
            r = float(self.radius[k])
            reach = int(r * height) + 2
            row, col = int(cy * height), int(cx * height + width / 2)
            top, bottom = max(0, row - reach), min(height, row + reach + 1)
            left, right = max(0, col - reach), min(width, col + reach + 1)
            if top >= bottom or left >= right:
                continue
            yy = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5) / height - cy
            xx = (np.arange(left, right, dtype=np.float32)[None, :] + 0.5 - width / 2) / height - cx
            near = np.hypot(yy, xx) / r
            disc = ((1 - near) * r * height / 1.5).clip(0, 1) * (0.75 + 0.5 * near**4)  # brighter at its edge
            twinkle = 0.75 + 0.25 * np.sin(1.7 * time + 2 * self.phase[k])
            hue = tint * (0.7 + 0.6 * np.cos(self.phase[k] + np.array([0, 2, 4]))).clip(0.3, 1.3)
            image[top:bottom, left:right] += (self.strength[k] * twinkle * disc)[..., None] * hue.astype(np.float32)


def _place(dance: str, share: float, side: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where both lights are at a share of the clip; they meet at 0.72."""
    apart = max(0.0, 1 - share / 0.72) ** 0.8
    after = max(0.0, share - 0.72)
    mx, my = 0.0, 0.36 - 0.10 * after
    if dance in ("spiral", "circle"):
        turns = 1.1 if dance == "spiral" else 1.8
        angle = side * 2 * np.pi * turns * (share - 0.72)
        far = (0.36 if dance == "spiral" else 0.20) * apart + 0.012
        dx, dy = far * np.cos(angle), 0.55 * far * np.sin(angle)
        return (mx + dx, my + dy), (mx - dx, my - dy)
    if dance == "arcs":
        return (-0.46 * apart, my + 0.20 * apart - 0.24 * apart * (1 - apart)), (
            0.46 * apart, my - 0.10 * apart + 0.24 * apart * (1 - apart))
    if dance == "rise":
        sway = 0.07 * np.sin(2 * np.pi * 1.2 * share) * apart
        return (-0.26 * apart + sway, my + 0.26 * apart), (0.24 * apart + sway, my + 0.29 * apart)
    if dance == "drift":
        wave = 0.09 * np.sin(2 * np.pi * 1.5 * share)
        return (-0.44 * apart * side, my + wave * apart), (0.40 * apart * side, my - wave * apart)
    return (-0.18 * apart * side, my - 0.32 * apart), (0.30 * apart * side, my + 0.18 * apart**2)


def _add_lights(
    image: Array, evening: Evening, share: float, time: float, side: float, x: Array, y: Array
) -> None:
    met = float(np.clip((share - 0.66) / 0.12, 0, 1))
    burst = float(np.exp(-(((share - 0.76) / 0.07) ** 2)))
    for light in (0, 1):
        tint = np.array(evening.lights[light], np.float32)
        breath = 1 + 0.10 * np.sin(5.1 * time + 2.6 * light)
        for step in range(14):  # the trail: where it was, smaller and dimmer
            past = share - 0.012 * step
            if past < 0:
                break
            px, py = _place(evening.dance, past, side)[light]
            d2 = (x - px) ** 2 + (y - py) ** 2
            if step == 0:
                core = np.exp(-d2 / 4.5e-4) * 2.0 + 0.0022 / (d2 + 0.0030) * (1.0 + 0.2 * met + 0.6 * burst)
                image += (breath * core)[..., None] * tint
                image += (0.9 * np.exp(-d2 / 1.2e-4))[..., None]
            else:
                image += (0.30 * 0.80**step * np.exp(-d2 / (2.8e-4 * 0.9**step)))[..., None] * tint
    if met > 0:
        both = (np.array(evening.lights[0]) + np.array(evening.lights[1])).astype(np.float32) / 2
        px, py = _place(evening.dance, share, side)[0]
        d = np.hypot(x - px, y - py)
        ring = np.exp(-(((d - 0.85 * max(0.0, share - 0.70)) / 0.022) ** 2)) * max(0.0, 1 - 3.4 * (share - 0.70))
        image += (0.35 * met * ring)[..., None] * both
        image += (0.22 * burst * np.exp(-((d / 0.34) ** 2)))[..., None] * both


def _mirror(image: Array, time: float, height: int) -> Array:
    """The water: rows below the horizon show those above it, moved by ripples that grow towards us."""
    line = int(HORIZON * height)
    below = np.arange(line, height)
    depth = (below - line + 0.5) / (height - line)
    shift = depth * height * 0.030 * (
        np.sin(38 * depth**0.5 - 2.6 * time) + 0.6 * np.sin(71 * depth**0.5 - 4.1 * time + 1)
    )
    source = (line - 1 - (below - line) * 1.35 + shift).clip(0, line - 1)
    low = np.floor(source).astype(int)
    part = (source - low).astype(np.float32)[:, None, None]
    high = np.minimum(low + 1, line - 1)
    water = image[low] * (1 - part) + image[high] * part
    # Bright things spread along the ripples: an average over neighbouring columns that widens towards us.
    wide = (water + np.roll(water, 2, 1) + np.roll(water, -2, 1) + np.roll(water, 5, 1) + np.roll(water, -5, 1)) / 5
    water += depth[:, None, None].astype(np.float32) * (wide - water)
    image[line:] = water * (0.72 - 0.30 * depth)[:, None, None].astype(np.float32)
    return image
