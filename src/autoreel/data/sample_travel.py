"""Sample footage, the travel shot: a landscape in layers that pass at the speed of their distance.

Each layer is one height over the picture's columns: ridges of fractal noise, or a row of trees. Far layers drown in
haze; the sun lights their edges; clouds drift; birds pass; a lake glitters where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Journey:
    """One landscape and the way the camera takes.

    Args:
        sky: linear RGB at the top and at the horizon.
        sun: linear RGB; where it stands as (column from the middle, row from the top), in picture heights; its size.
        haze: linear RGB that far layers fade to.
        ground: linear RGB of the nearest layer.
        relief: "peaks", "dunes", "hills" or "mesas".
        snow: share of the far peaks that is white.
        trees: "pines", "poplars" or "none".
        lake: whether the middle ground is water.
        way: camera speed along the picture, upwards, and its growth, in picture heights per second.
    """

    sky: tuple[Colour, Colour]
    sun: tuple[Colour, float, float, float]
    haze: Colour
    ground: Colour
    relief: str
    snow: float
    trees: str
    lake: bool
    way: tuple[float, float, float]


JOURNEYS: tuple[Journey, ...] = (
    Journey(((0.10, 0.22, 0.50), (0.95, 0.62, 0.38)), ((1.0, 0.72, 0.36), 0.18, 0.34, 0.045), (0.80, 0.50, 0.40),
            (0.012, 0.035, 0.030), "peaks", 0.5, "pines", False, (0.20, 0.0, 0.0)),
    Journey(((0.16, 0.10, 0.26), (1.00, 0.42, 0.12)), ((1.0, 0.55, 0.18), -0.14, 0.40, 0.075), (0.95, 0.40, 0.16),
            (0.16, 0.045, 0.014), "dunes", 0.0, "none", False, (-0.16, 0.0, 0.0)),
    Journey(((0.05, 0.25, 0.66), (0.52, 0.76, 0.92)), ((1.0, 0.96, 0.86), 0.26, 0.14, 0.040), (0.50, 0.70, 0.86),
            (0.030, 0.110, 0.020), "hills", 0.0, "poplars", True, (0.24, 0.0, 0.0)),
    Journey(((0.006, 0.014, 0.060), (0.050, 0.120, 0.250)), ((0.80, 0.88, 1.0), -0.22, 0.20, 0.050),
            (0.045, 0.100, 0.210), (0.002, 0.005, 0.012), "peaks", 0.7, "pines", True, (-0.12, 0.015, 0.0)),
    Journey(((0.20, 0.34, 0.52), (0.90, 0.80, 0.62)), ((1.0, 0.86, 0.60), 0.05, 0.30, 0.040), (0.84, 0.66, 0.44),
            (0.240, 0.075, 0.012), "hills", 0.1, "poplars", False, (0.10, 0.0, 0.05)),
    Journey(((0.14, 0.40, 0.62), (0.98, 0.74, 0.50)), ((1.0, 0.82, 0.52), -0.30, 0.26, 0.040), (0.90, 0.60, 0.42),
            (0.150, 0.035, 0.016), "mesas", 0.0, "none", False, (0.17, -0.012, 0.0)),
)


def frames(variant: int, seed: int, num_frames: int, height: int, width: int, rate: float) -> Iterator[Array]:
    """Linear-light frames of one clip.

    Args:
        variant: which journey; counts around.
        seed: the shape of every ridge, the trees, the clouds.
        num_frames: how many.
        height, width: size in pixels.
        rate: frames per second.

    Returns:
        float32 (H, W, 3), linear RGB, one after another.
    """
    rng = np.random.default_rng((seed, variant, 3))
    journey = JOURNEYS[variant % len(JOURNEYS)]
    layers = _layers(journey, rng)
    clouds = _cloud_texture(rng)
    birds = rng.uniform(size=(5, 3)).astype(np.float32)
    glitter = rng.uniform(0, 2 * np.pi, size=(height, 1)).astype(np.float32)
    start = rng.uniform(0, 20)
    for i in range(num_frames):
        time = i / rate
        along, up, growth = (speed * time for speed in journey.way)
        y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height)[None, :]
        image = _sky(journey, clouds, x, y, time, along)
        _add_birds(image, birds, x, y, time, along)
        for layer in layers:
            zoom = 1 + growth * layer.near
            column = x / zoom + start + along * layer.near
            ground = layer.level + up * layer.near - layer.ground(column) * zoom + 0.10 * growth * layer.near**2
            _cover(image, journey, layer, ground, layer.grown(column) * zoom, column, x, y)
            if journey.lake and layer.before_lake:
                _water(image, journey, glitter, x, y, time)
        yield image


@dataclass(frozen=True)
class _Layer:
    """One layer: how near (0 far, 1 nearest), the row it stands on, and waves and trees of its outline."""

    near: float
    level: float
    relief: str
    size: float
    waves: Array  # (3, octaves): amplitude, frequency, phase
    tree_rows: Array  # (4, trees): column, height, half width, sway
    trees: str
    before_lake: bool

    def ground(self, column: Array) -> Array:
        """Height of the ground above the layer's row at columns of the landscape, in picture heights; (1, W)."""
        amplitude, frequency, phase = self.waves[:, :, None]
        sine = np.sin(column * frequency + phase)
        if self.relief == "peaks":
            outline = (amplitude * (1 - 2 * np.sqrt(sine**2 + 0.004)))[:6].sum(0)
        elif self.relief == "dunes":
            crest = 1 - np.sqrt(sine[:1] ** 2 + 0.002)  # one long crest, and smooth swells beside it
            outline = (1.5 * amplitude[:1] * crest).sum(0) + (0.5 * amplitude * sine)[1:3].sum(0) - 0.4
        elif self.relief == "mesas":
            outline = np.tanh(3.2 * (amplitude * sine)[:3].sum(0) - 0.4) + 0.10 * (amplitude * sine)[3:].sum(0)
        else:
            outline = (amplitude * sine)[:4].sum(0)
        return np.asarray(self.size * (0.5 + 0.42 * outline), np.float32)[None, :]

    def grown(self, column: Array) -> Array:
        """Height of the trees above the ground, in picture heights; (1, W)."""
        grown = np.zeros(column.shape[-1], np.float32)
        span = 4.0  # the row of trees repeats after this many picture heights
        for cx, tall, half, ragged in self.tree_rows.T:
            away = np.abs((column[0] - cx + span / 2) % span - span / 2) / half
            near = away < 1
            if not near.any():
                continue
            a = away[near]
            if self.trees == "pines":
                shape = (1 - a) + 0.16 * np.abs(np.sin(np.pi * 4.5 * (1 - a) ** 0.8 + ragged)) * (a > 0.06)
            else:
                shape = np.sqrt((1 - a**2).clip(0)) * (1 + 0.03 * np.sin(7 * a + ragged) + 0.02 * np.sin(17 * a))
            grown[near] = np.maximum(grown[near], tall * shape)
        return grown[None, :]


def _layers(journey: Journey, rng: np.random.Generator) -> list[_Layer]:
    nears = (0.03, 0.08, 0.16, 0.30, 0.55, 1.0)
    levels = (0.60, 0.64, 0.69, 0.76, 0.86, 1.02)
    sizes = (0.30, 0.20, 0.15, 0.12, 0.10, 0.10)
    layers = []
    for k, (near, level, size) in enumerate(zip(nears, levels, sizes, strict=True)):
        octaves = np.arange(7)
        waves = np.stack([
            rng.uniform(0.6, 1.0, 7) / 1.9**octaves,
            rng.uniform(2.0, 3.2) * rng.uniform(0.9, 1.1, 7) * 1.95**octaves * (1.6 if k < 3 else 1.1),
            rng.uniform(0, 2 * np.pi, 7),
        ]).astype(np.float32)
        count = 0 if journey.trees == "none" else (0, 0, 70, 46, 22, 11)[k]
        tall = (0, 0, 0.030, 0.055, 0.110, 0.26)[k]
        slim = 0.26 if journey.trees == "pines" else 0.27
        draws = rng.uniform(size=(4, count))
        heights = tall * (0.55 + 0.65 * draws[1])
        rows = np.stack([4.0 * draws[0], heights, heights * slim * (0.8 + 0.4 * draws[2]), 6.3 * draws[3]])
        relief = journey.relief if k < 3 or journey.relief == "dunes" else "hills"
        layers.append(_Layer(near, level, relief, size, waves, rows.astype(np.float32), journey.trees, k == 2))
    return layers


def _cover(
    image: Array, journey: Journey, layer: _Layer, ground: Array, trees: Array, column: Array, x: Array, y: Array
) -> None:
    """Paint a layer over what is behind it, in place."""
    height = len(image)
    earth, haze, sun = (np.array(c, np.float32) for c in (journey.ground, journey.haze, journey.sun[0]))
    far = (1 - layer.near) ** 2.8
    base = earth + (haze * 0.72 - earth) * far
    below = (y - ground).clip(0)
    # Light falls on slopes that face the sun, evened out so that small teeth do not become stripes.
    slope = np.convolve(np.pad(np.gradient(ground[0]), 6, mode="edge"), np.hanning(15)[1:-1] / 7.0, mode="valid")
    facing = np.tanh((journey.sun[1] - x) / 0.25)
    lit = np.tanh(-1.2 * slope[None, :] * height * facing) * np.exp(-below / 0.10)
    colour = base * (1 + 0.42 * lit)[..., None]
    if journey.snow and layer.near < 0.1:
        ragged = 0.016 * np.sin(31 * column) + 0.012 * np.sin(67 * column + 1.3) + 0.008 * np.sin(131 * column)
        line = layer.level - layer.size * (0.95 - 0.75 * journey.snow) + ragged
        snow = ((line - y) * 22).clip(0, 1) * (0.72 + 0.28 * lit)
        white = 0.45 * sun + 0.55 * np.array(journey.sky[1], np.float32) + 0.10
        colour = colour + (snow * 0.85)[..., None] * (white * (1.0 - 0.35 * far) - colour)
    mist = (1 - np.exp(-below / (0.09 + 0.25 * layer.near))) * far * 0.85  # lies in the valleys
    colour = colour + mist[..., None] * (haze - colour)
    edge = np.exp(-below / 0.006) * np.exp(-np.abs(x - journey.sun[1]) / 0.35) * (1 - layer.near)
    colour = colour + (0.25 * edge)[..., None] * sun
    cover = ((y - ground) * height + 0.5).clip(0, 1)
    if trees.any():
        top = ground - trees
        leaf = base * (0.62 + 0.75 * ((y - top) / 0.30).clip(0, 1))[..., None]  # darkest where it stands on the sky
        grown = ((y - top) * height + 0.5).clip(0, 1) * (trees > 0)
        image += grown[..., None] * (leaf - image)
    image += cover[..., None] * (colour - image)


def _sky(journey: Journey, clouds: Array, x: Array, y: Array, time: float, along: float) -> Array:
    top, low = (np.array(c, np.float32) for c in journey.sky)
    tint, sx, sy, size = journey.sun
    sun = np.array(tint, np.float32)
    share = (y / 0.66).clip(0, 1)[..., None] ** 1.4
    image = np.repeat(top + (low - top) * share, x.shape[1], axis=1).astype(np.float32)
    d = np.hypot(x - sx + 0.02 * along, y - sy)
    image += (0.55 * np.exp(-d / 0.22) + 0.30 * np.exp(-d / 0.07))[..., None] * sun
    # Clouds lie on a plane above us: rows near the horizon are farther, so their texture is denser.
    depth = 0.16 / (0.70 - y).clip(0.05)
    u = (x * depth * 3.2 + 0.05 * time + 0.10 * along + 7) * 46
    v = np.broadcast_to(depth * 100, u.shape)
    thick = _lookup(clouds, u, v)
    cover = ((thick - 0.50) * 3.2).clip(0, 1) * ((0.62 - y) / 0.25).clip(0, 1)
    white = 0.55 * low + 0.45 * sun + 0.25 * np.exp(-d / 0.3)[..., None] * sun
    shade = (1.08 - 0.40 * thick)[..., None]
    image += (0.75 * cover)[..., None] * (white * shade - image)
    image += ((size - d) * 220).clip(0, 1)[..., None] * (1.4 * sun - image)
    return image


def _cloud_texture(rng: np.random.Generator) -> Array:
    """(256, 256) fractal noise in [0, 1] that repeats at its borders: filtered in the Fourier domain."""
    fy, fx = np.meshgrid(np.fft.fftfreq(256) * 1.8, np.fft.fftfreq(256), indexing="ij")
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((256, 256))) / radius**1.55
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return np.asarray(0.5 + noise / (4 * noise.std()), np.float32).clip(0, 1)


def _lookup(texture: Array, u: Array, v: Array) -> Array:
    """Bilinear, repeating."""
    n = len(texture)
    u0, v0 = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
    u0, v0 = u0 % n, v0 % n
    u1, v1 = (u0 + 1) % n, (v0 + 1) % n
    upper = texture[v0, u0] * (1 - fu) + texture[v0, u1] * fu
    lower = texture[v1, u0] * (1 - fu) + texture[v1, u1] * fu
    return np.asarray(upper * (1 - fv) + lower * fv, np.float32)


def _water(image: Array, journey: Journey, glitter: Array, x: Array, y: Array, time: float) -> None:
    """A lake in the middle ground: the mirrored picture, ripples, and the sun's path, in place."""
    height = len(image)
    line = int(0.665 * height)
    rows = np.arange(line, height)
    depth = (rows - line + 0.5) / (height - line)
    ripple = depth * height * 0.030 * (np.sin(60 * depth**0.5 - 3 * time) + np.sin(97 * depth**0.5 - 4.7 * time))
    source = (line - 1 - (rows - line) * 1.2 + ripple).clip(0, line - 1).astype(int)
    tint = np.array(journey.sky[0], np.float32) * 0.30 + np.array(journey.haze, np.float32) * 0.10
    mirrored = image[source] * 0.62 + tint
    sun, sx = np.array(journey.sun[0], np.float32), journey.sun[1]
    path = np.exp(-(((x - sx) / (0.03 + 0.10 * depth[:, None])) ** 2))
    waves = np.sin(x * (160 - 90 * depth[:, None]) + glitter[rows] * 3 + 5 * time) + np.sin(
        x * 61 + glitter[rows] * 7 - 3 * time)
    sparkle = (waves - 0.9).clip(0) * path
    image[line:] = mirrored + (0.9 * sparkle)[..., None] * sun


def _add_birds(image: Array, birds: Array, x: Array, y: Array, time: float, along: float) -> None:
    """A few strokes that flap, in place."""
    for offset, row, phase in birds:
        cx = (offset * 1.6 + 0.07 * time - 0.05 * along) % 1.6 - 0.8
        cy = 0.14 + 0.22 * row + 0.01 * np.sin(time + 6 * phase)
        span = 0.012 + 0.010 * phase
        wing = np.abs(x - cx) / span
        lift = (0.55 * np.sin(7 * time + 9 * phase) - 0.1) * span
        line = cy - lift * wing**0.8
        ink = np.exp(-(((y - line) / 0.0030) ** 2)) * (wing < 1) * (1 - 0.7 * wing)
        image *= (1 - 0.75 * ink)[..., None]
