"""Sample footage, the ad: a product turns on a lit table before a seamless backdrop.

Signed distance fields are sphere-traced per pixel (Hart 1996); three area lights, a fresnel rim, a soft contact shadow
and the reflection in the polished table are shaded in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Distance = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Product:
    """What stands on the table.

    Args:
        distance: signed distance of points (x, y, z) in the product's own frame; the table is y = 0, the size about 1.
        paint: linear RGB of the two materials: body and detail.
        pattern: share of the detail material at points of the surface, in [0, 1].
        backdrop: linear RGB of the wall, and of the table's light.
        turns: turns per second.
        gloss: strength of the lights' mirror images.
        elevation: height of the camera, radians above the table.
    """

    distance: Distance
    paint: tuple[tuple[float, float, float], tuple[float, float, float]]
    pattern: Distance
    backdrop: tuple[tuple[float, float, float], tuple[float, float, float]]
    turns: float
    gloss: float
    elevation: float


def frames(variant: int, seed: int, num_frames: int, height: int, width: int, rate: float) -> Iterator[Array]:
    """Linear-light frames of one clip.

    Args:
        variant: which product; counts around.
        seed: its start angle, speed and the way the camera breathes.
        num_frames: how many.
        height, width: size in pixels.
        rate: frames per second.

    Returns:
        float32 (H, W, 3), linear RGB, one after another.
    """
    rng = np.random.default_rng((seed, variant, 1))
    product = PRODUCTS[variant % len(PRODUCTS)]
    start, speed = rng.uniform(0, 2 * np.pi), product.turns * rng.uniform(0.85, 1.15) * rng.choice([-1.0, 1.0])
    zoom_from, zoom_to = (1.06, 0.96) if rng.random() < 0.5 else (0.94, 1.04)
    for i in range(num_frames):
        share = i / max(1, num_frames - 1)
        zoom = zoom_from + (zoom_to - zoom_from) * share
        yield _render(product, start + 2 * np.pi * speed * i / rate, zoom, height, width)


def _render(product: Product, angle: float, zoom: float, height: int, width: int) -> Array:
    origin, rays = _camera(product.elevation, zoom, height, width)
    pixel = 0.95 * zoom / min(height, width)
    image = _room(product, origin, rays, angle)
    flat = image.reshape(-1, 3)

    # The mirror image in the table: the same product, seen by rays that the table sends up again.
    down = rays[:, 1] < -1e-3
    t_table = np.where(down, -origin[1] / np.where(down, rays[:, 1], -1.0), 0.0).astype(np.float32)
    foot = origin + rays * t_table[:, None]
    on_table = np.flatnonzero(down & (np.hypot(foot[:, 0], foot[:, 2]) < 1.0))
    bounced = rays[on_table] * np.array([1, -1, 1], np.float32)
    colour, cover, height_above = _trace(product, foot[on_table], bounced, angle, pixel * 1.5)
    strength = 0.34 * cover * np.exp(-2.6 * height_above)
    flat[on_table] += strength[:, None] * (colour - flat[on_table])

    colour, cover, _ = _trace(product, np.broadcast_to(origin, rays.shape), rays, angle, pixel)
    flat += cover[:, None] * (colour - flat)
    return _film_curve(image.reshape(height, width, 3))


def _film_curve(linear: Array) -> Array:
    """Narkowicz's fit of the ACES curve: deeper shadows, highlights that roll off."""
    x = 0.72 * linear.clip(0)
    return np.asarray(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), np.float32)


def _camera(elevation: float, zoom: float, height: int, width: int) -> tuple[Array, Array]:
    distance = 4.2
    target = np.array([0, 0.47, 0], np.float32)
    origin = target + distance * np.array([0, np.sin(elevation), np.cos(elevation)], np.float32)
    forward = (target - origin) / distance
    right = np.array([1, 0, 0], np.float32)
    up = np.cross(right, forward)
    scale = 0.275 * zoom / min(height, width) * 2
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) * scale
    y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) * scale
    rays = forward + y[:, None, None] * up * 0.82 + x[None, :, None] * right * 0.82
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return origin.astype(np.float32), rays.reshape(-1, 3).astype(np.float32)


def _room(product: Product, origin: Array, rays: Array, angle: float) -> Array:
    """Wall, table and the product's soft shadow on it; (H * W, 3)."""
    wall, light = (np.array(c, np.float32) for c in product.backdrop)
    # The sweep: wall and table are one sheet of paper, so brightness is a smooth function of the view alone.
    lift = np.exp(-(((rays[:, 1] + 0.28) / 0.22) ** 2))
    halo = np.exp(-((rays[:, 0] / 0.30) ** 2 + ((rays[:, 1] + 0.12) / 0.26) ** 2))
    image = 0.75 * wall + (0.8 * light - 0.75 * wall) * (0.22 * lift + 0.70 * halo).clip(0, 1)[:, None]
    down = rays[:, 1] < -1e-3
    t = np.where(down, -origin[1] / np.where(down, rays[:, 1], -1.0), 0.0)
    x, z = origin[0] + rays[:, 0] * t, origin[2] + rays[:, 2] * t
    radius = np.hypot(x, z)
    disc = down * _smooth(1.0, 0.975, radius)
    tone = 0.96 + 0.07 * np.cos(2 * (np.arctan2(z, x) - angle)) ** 8  # brushed metal: a light that turns with it
    image *= (1 + disc * (tone * 1.06 - 1))[:, None]
    rim = down * np.exp(-(((radius - 0.985) / 0.012) ** 2))
    image += (0.35 * rim)[:, None] * light
    shadow = 0.72 * np.exp(-((radius / 0.40) ** 3)) + 0.30 * np.exp(-(((x + 0.32) ** 2 + (z + 0.1) ** 2) / 0.30))
    image *= (1 - down * shadow.clip(0, 0.85))[:, None]
    return np.asarray(image, np.float32)


def _trace(product: Product, origin: Array, rays: Array, angle: float, pixel: float) -> tuple[Array, Array, Array]:
    """Colour, coverage and height above the table of what each ray meets; coverage 0 where it meets nothing."""
    n = len(rays)
    colour, cover, above = np.zeros((n, 3), np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
    # Only rays that pass the ball around the product are followed.
    centre = np.array([0, 0.5, 0], np.float32)
    to_centre = centre - origin
    along = np.einsum("ij,ij->i", to_centre, rays)
    miss2 = np.einsum("ij,ij->i", to_centre, to_centre) - along**2
    idx = np.flatnonzero((miss2 < 0.66**2) & (along > -0.66))
    if not len(idx):
        return colour, cover, above
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
    start, ray = origin[idx] @ turn, rays[idx] @ turn
    t = np.maximum(along[idx] - 0.68, 0.0).astype(np.float32)
    nearest, best = np.full(len(idx), 9.0, np.float32), t.copy()
    live = np.arange(len(idx))
    for _ in range(40):
        p = start[live] + ray[live] * t[live, None]
        d = product.distance(p[:, 0], p[:, 1], p[:, 2])
        closer = d < nearest[live]
        nearest[live] = np.where(closer, d, nearest[live])
        best[live] = np.where(closer, t[live], best[live])
        t[live] += 0.9 * d
        live = live[(d > 0.002) & (t[live] < along[idx[live]] + 0.7)]
        if not len(live):
            break
    hit = np.flatnonzero(nearest < pixel)
    p = start[hit] + ray[hit] * best[hit, None]
    cover[idx[hit]] = (1 - (nearest[hit] - 0.002) / pixel).clip(0, 1)
    above[idx[hit]] = p[:, 1].clip(0)
    colour[idx[hit]] = _shade(product, p, ray[hit], turn)
    return colour, cover, above


def _shade(product: Product, p: Array, ray: Array, turn: Array) -> Array:
    x, y, z = p[:, 0], p[:, 1], p[:, 2]
    e = np.float32(0.004)
    slopes = [product.distance(x + e * a, y + e * b, z + e * c) for a, b, c in _TETRAHEDRON]
    normal = sum(s[:, None] * np.array(k, np.float32) for s, k in zip(slopes, _TETRAHEDRON, strict=True))
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    share = product.pattern(x, y, z)[:, None]
    body, detail = (np.array(c, np.float32) for c in product.paint)
    paint = body + share * (detail - body)
    # Lights stand still in the room; the product turns under them.
    normal, ray = normal @ turn.T, ray @ turn.T
    key = (normal @ _unit(-0.55, 0.75, 0.62)).clip(0)
    fill = (normal @ _unit(0.8, 0.25, 0.5)).clip(0)
    sky = 0.5 + 0.5 * normal[:, 1]
    ground = np.exp(-y / 0.16) * 0.35  # less light reaches the foot
    colour = paint * ((0.85 * key + 0.28 * fill + 0.30 * sky) * (1 - ground))[:, None]
    mirror = ray - 2 * np.einsum("ij,ij->i", ray, normal)[:, None] * normal
    fresnel = 0.05 + 0.95 * (1 - np.abs(np.einsum("ij,ij->i", ray, normal))).clip(0, 1) ** 5
    strength = product.gloss * (0.25 + 0.75 * fresnel)
    colour += (strength * 2.6 * _softbox(mirror, -0.75, 0.55, 0.30, 0.42))[:, None]
    colour += (strength * 1.1 * _softbox(mirror, 0.95, 0.35, 0.10, 0.55))[:, None]
    wall, light = (np.array(c, np.float32) for c in product.backdrop)
    surround = wall + (light - wall) * (0.5 + 0.5 * mirror[:, 1:2]).clip(0, 1)
    colour += (product.gloss * fresnel * 0.8)[:, None] * surround
    return np.asarray(colour, np.float32)


def _softbox(mirror: Array, azimuth: float, elevation: float, wide: float, high: float) -> Array:
    """A rectangular lamp seen in the mirror direction, with soft edges."""
    a = np.arctan2(mirror[:, 0], mirror[:, 2]) - azimuth
    b = np.arcsin(mirror[:, 1].clip(-1, 1)) - elevation
    return np.asarray(_smooth(wide, wide * 0.6, np.abs(a)) * _smooth(high, high * 0.7, np.abs(b)), np.float32)


_TETRAHEDRON = ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1))


def _unit(x: float, y: float, z: float) -> Array:
    v = np.array([x, y, z], np.float32)
    return np.asarray(v / np.linalg.norm(v), np.float32)


def _smooth(edge0: float, edge1: float, x: Array) -> Array:
    t = ((x - edge0) / (edge1 - edge0)).clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _box(x: Array, y: Array, z: Array, a: float, b: float, c: float, round_: float) -> Array:
    qx, qy, qz = np.abs(x) - a + round_, np.abs(y) - b + round_, np.abs(z) - c + round_
    outside = np.sqrt(qx.clip(0) ** 2 + qy.clip(0) ** 2 + qz.clip(0) ** 2)
    return np.asarray(outside + np.maximum(np.maximum(qx, qy), qz).clip(None, 0) - round_, np.float32)


def _cylinder(radius_at: Array | float, y: Array, r: Array, low: float, high: float, round_: float) -> Array:
    qr, qy = r - radius_at + round_, np.abs(y - (low + high) / 2) - (high - low) / 2 + round_
    inside = np.maximum(qr, qy).clip(None, 0)
    return np.asarray(np.sqrt(qr.clip(0) ** 2 + qy.clip(0) ** 2) + inside - round_, np.float32)


def _blend(a: Array, b: Array, k: float) -> Array:
    h = (0.5 + 0.5 * (b - a) / k).clip(0, 1)
    return np.asarray(b + (a - b) * h - k * h * (1 - h), np.float32)


def _flacon(x: Array, y: Array, z: Array) -> Array:
    glass = _box(x, y - 0.34, z, 0.30, 0.34, 0.15, 0.07)
    neck = _cylinder(0.09, y, np.hypot(x, z), 0.6, 0.78, 0.01)
    cap = _box(x, y - 0.86, z, 0.14, 0.12, 0.11, 0.025)
    return np.minimum(_blend(glass, neck, 0.05), cap)


def _flacon_paint(x: Array, y: Array, z: Array) -> Array:
    cap = _smooth(0.72, 0.73, y)
    label = _smooth(0.19, 0.185, np.abs(x)) * _smooth(0.12, 0.115, np.abs(y - 0.32)) * (np.abs(z) > 0.12)
    line = _smooth(0.010, 0.006, np.abs(np.abs(y - 0.32) - 0.05)) * _smooth(0.13, 0.125, np.abs(x))
    return np.maximum(cap, label * (1 - 0.8 * line))


def _bottle(x: Array, y: Array, z: Array) -> Array:
    r = np.hypot(x, z)
    body = _cylinder(0.26, y, r, 0.0, 0.62, 0.07)
    neck = _cylinder(0.085, y, r, 0.5, 0.95, 0.015)
    cap = _cylinder(0.11, y, r, 0.90, 1.02, 0.02)
    return np.minimum(_blend(body, neck, 0.16), cap)


def _bottle_paint(x: Array, y: Array, z: Array) -> Array:
    turn = np.arctan2(x, z)
    band = _smooth(0.17, 0.165, np.abs(y - 0.32))
    waves = _smooth(0.035, 0.02, np.abs((y - 0.32) - 0.07 * np.sin(3 * turn)))
    return np.maximum(band * (0.25 + 0.75 * (1 - waves)), _smooth(0.885, 0.895, y))


def _mug(x: Array, y: Array, z: Array) -> Array:
    r = np.hypot(x, z)
    wall = np.maximum(_cylinder(0.34, y, r, 0.0, 0.74, 0.04), -_cylinder(0.295, y, r, 0.06, 1.2, 0.04))
    ring = np.hypot(np.hypot(x - 0.36, (y - 0.38) * 0.85) - 0.19, z) - 0.042
    return _blend(wall, np.maximum(ring, 0.30 - r), 0.03)


def _mug_paint(x: Array, y: Array, z: Array) -> Array:
    turn = np.arctan2(z, x)
    dots = np.hypot(((turn / (np.pi / 4)) % 1 - 0.5) * 0.27, (y - 0.37) % 0.26 - 0.13)
    return _smooth(0.075, 0.068, dots) * (np.hypot(x, z) > 0.315) * (np.hypot(x, z) < 0.36)


def _speaker(x: Array, y: Array, z: Array) -> Array:
    body = _box(x, y - 0.47, z, 0.30, 0.47, 0.26, 0.05)
    cone = np.maximum(np.hypot(x, y - 0.33) - 0.20, np.abs(z - 0.26) - 0.05)
    tweeter = np.maximum(np.hypot(x, y - 0.72) - 0.09, np.abs(z - 0.26) - 0.03)
    body = np.maximum(body, -np.minimum(cone, tweeter))
    dome = np.sqrt(x**2 + (y - 0.33) ** 2 + (z - 0.19) ** 2) - 0.085
    return np.asarray(np.minimum(body, dome), np.float32)


def _speaker_paint(x: Array, y: Array, z: Array) -> Array:
    front = z > 0.15
    ring = _smooth(0.215, 0.205, np.hypot(x, y - 0.33)) + _smooth(0.105, 0.097, np.hypot(x, y - 0.72))
    return np.asarray(np.minimum(ring, 1) * front, np.float32)


def _vase(x: Array, y: Array, z: Array) -> Array:
    r, turn = np.hypot(x, z), np.arctan2(x, z) + 1.6 * y
    profile = 0.20 + 0.13 * np.sin(np.pi * (0.12 + 0.92 * y.clip(0, 1)) ** 1.15) ** 2 - 0.06 * _smooth(0.5, 0.95, y)
    facets = profile * (1 - 0.045 * np.cos(8 * turn))
    outer = _cylinder(facets, y, r, 0.0, 0.96, 0.02)
    return np.maximum(outer, -_cylinder(0.09, y, r, 0.5, 1.2, 0.02)) * 0.8


def _vase_paint(x: Array, y: Array, z: Array) -> Array:
    turn = np.arctan2(x, z) + 1.6 * y
    return _smooth(0.55, 0.75, np.cos(8 * turn + np.pi)) * _smooth(0.08, 0.2, y) * _smooth(0.95, 0.8, y)


def _ring(x: Array, y: Array, z: Array) -> Array:
    band = np.hypot(np.hypot(x, y - 0.36) - 0.30, z * 0.7) - 0.045
    gx, gy, gz = np.abs(x), np.abs(y - 0.80), np.abs(z)
    stone = (gx + gy * 1.15 + gz - 0.20) * 0.56
    stone = np.maximum(stone, y - 0.88)
    return _blend(band, stone, 0.02)


def _ring_paint(x: Array, y: Array, z: Array) -> Array:
    return _smooth(0.665, 0.675, y)


PRODUCTS: tuple[Product, ...] = (
    Product(_flacon, ((0.66, 0.10, 0.16), (0.90, 0.66, 0.30)), _flacon_paint,
            ((0.24, 0.05, 0.09), (0.98, 0.44, 0.40)), 0.22, 1.0, 0.26),
    Product(_bottle, ((0.01, 0.16, 0.11), (0.90, 0.82, 0.64)), _bottle_paint,
            ((0.02, 0.12, 0.12), (0.26, 0.70, 0.58)), 0.25, 0.95, 0.22),
    Product(_mug, ((0.90, 0.84, 0.74), (0.88, 0.16, 0.04)), _mug_paint,
            ((0.40, 0.13, 0.02), (1.0, 0.56, 0.14)), 0.20, 0.55, 0.38),
    Product(_speaker, ((0.03, 0.04, 0.08), (0.90, 0.46, 0.14)), _speaker_paint,
            ((0.02, 0.04, 0.14), (0.18, 0.36, 0.86)), 0.18, 0.8, 0.24),
    Product(_vase, ((0.04, 0.16, 0.56), (0.90, 0.92, 0.95)), _vase_paint,
            ((0.30, 0.22, 0.16), (0.98, 0.88, 0.74)), 0.16, 0.9, 0.30),
    Product(_ring, ((1.00, 0.60, 0.16), (0.25, 0.75, 1.00)), _ring_paint,
            ((0.05, 0.01, 0.09), (0.42, 0.12, 0.56)), 0.22, 1.3, 0.20),
)
