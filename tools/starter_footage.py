"""Footage for the starter codec: crops of freely licensed clips at many scales and speeds, and rendered scenes.

    LICENCES.md   | file | size | fps | seconds | sound | from | licence | tier |   rows of tier A are taken

    a crop        a square of any side from the model's up to the whole picture, resized by area, every first, second or
                  third frame
    a scene       a camera over a plane of shapes, with shapes that move before it: leaves, stripes, text, clouds, noise
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from autoreel.clip import Frames
from autoreel.config import DataConfig
from autoreel.data.loader import there_and_back
from autoreel.data.sample import KINDS, sample_frames
from autoreel.data.store import INDEX_NAME, SHARDS_NAME, FootageStore, Shot, store_key, write_index
from autoreel.media.decode import decode
from autoreel.media.probe import probe
from autoreel.runs import atomic_path

LEFT_OUT = ("asl_gestures", "talking_face", "traffic", "actions_lab")  # what the starter is tried on
FRAMES = 33  # of a clip
WINDOW_S = 4.0  # decoded at a time
WINDOWS = 12  # of a file, at most
FLAT = 6.0  # deviation, of 255, below which a crop shows nothing
HELD_OUT = 20  # one clip in so many is for validation
RATE = Fraction(25)
PLANE = 256  # pixels of the plane that a camera moves over
Report = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A clip and the terms it may be used under."""

    path: Path
    origin: str
    licence: str


def tier_a(footage: Path) -> list[Source]:
    """The clips whose licence is stated for the media itself, less those that the starter is tried on."""
    found = []
    for line in (footage / "LICENCES.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 8 or cells[-1] != "A" or cells[0].split("/")[0] in LEFT_OUT:
            continue
        path = footage / cells[0]
        if path.is_file():
            found.append(Source(path, cells[5], " | ".join(cells[6:-1])))
    return found


def build_store(
    footage: Path, place: Path, *, side: int, clips: int, scenes: int, seed: int, report: Report
) -> FootageStore:
    """Cut and render everything into a store; what is there already stays.

    Args:
        footage: the folder with LICENCES.md.
        place: the store's folder.
        side: of its frames, pixels.
        clips: crops of each file.
        scenes: rendered ones.
        seed: of all that is drawn.
        report: told about each part.
    """
    data, sources = DataConfig(height=side, width=side), tier_a(footage)
    parts: dict[str, Callable[[np.random.Generator], Iterator[Frames]]] = {}
    for source in sources:
        parts[str(source.path.relative_to(footage))] = partial(crops, source.path, clips, side)
    parts["rendered/scenes"] = partial(rendered, scenes, side)
    for kind in KINDS:
        parts[f"rendered/{kind}"] = partial(samples, kind, max(1, scenes // 12), side)
    drawn = f"{side}/{clips}/{scenes}/{seed}"
    said = [(hashlib.sha256(f"{name}/{drawn}".encode()).hexdigest(), None, None) for name in parts]
    key = store_key(data, said)
    if (place / INDEX_NAME).exists():
        return FootageStore.open(place)
    (place / SHARDS_NAME).mkdir(parents=True, exist_ok=True)
    shots, shards = list[Shot](), dict[str, dict[str, object]]()
    for number, ((name, make), (digest, _, _)) in enumerate(zip(parts.items(), said, strict=True)):
        file = place / SHARDS_NAME / f"{digest}.u8"
        if not file.exists():
            with atomic_path(file) as part, part.open("wb") as out:
                for clip in make(np.random.default_rng([seed, number])):
                    out.write(np.ascontiguousarray(clip).tobytes())
        count = file.stat().st_size // (FRAMES * side * side * 3)
        report(f"{name}: {count} clips")
        with file.open("rb") as whole:
            shards[digest] = {
                "num_frames": count * FRAMES, "sha256": hashlib.file_digest(whole, "sha256").hexdigest()
            }  # fmt: skip
        for index in range(count):
            shots.append(Shot(
                id=f"{digest[:12]}-{index:05d}", source=name, source_hash=digest, label=None,
                split="validation" if index % HELD_OUT == HELD_OUT - 1 else "train", num_frames=FRAMES, group=None,
                start_s=0.0, offset=index * FRAMES,
            ))  # fmt: skip
    write_index(
        place, key=key, config=data, rate=RATE, shots=shots, shards=shards,
        how_split=f"one clip in {HELD_OUT} for validation", num_rejects=0,
    )  # fmt: skip
    return FootageStore.open(place)


def crops(path: Path, count: int, side: int, random: np.random.Generator) -> Iterator[Frames]:
    """Crops of one file, from places all over it."""
    length_s = probe(path).duration_s or 0.0
    windows = max(1, min(WINDOWS, int(length_s / 2)))
    for window in range(windows):
        start = (length_s - WINDOW_S) * window / max(1, windows - 1) if length_s > WINDOW_S else 0.0
        end = start + WINDOW_S if length_s > WINDOW_S else None
        frames = np.concatenate([chunk.frames for chunk in decode(path, start_s=start, end_s=end)])
        for _ in range(-(-count // windows)):
            found = _crop(frames, side, random)
            if found is not None:
                yield found


def _crop(frames: Frames, side: int, random: np.random.Generator) -> Frames | None:
    """One crop that shows something; None where that is not found."""
    most = min(frames.shape[1:3])
    for _ in range(10):
        step = int(random.integers(1, 4))
        room = len(frames) - (FRAMES - 1) * step
        if room < 1:
            chosen = there_and_back(len(frames), FRAMES)
        else:
            chosen = np.arange(FRAMES) * step + int(random.integers(room))
        size = min(most, int(np.exp(random.uniform(np.log(min(side, most)), np.log(most + 1)))))
        top, left = (int(random.integers(extent - size + 1)) for extent in frames.shape[1:3])
        cut = frames[chosen, top : top + size, left : left + size]
        if float(cut[len(cut) // 2].std(axis=(0, 1)).mean()) < FLAT:
            continue
        return _to_frames(_resized(torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float(), side))
    return None


def samples(kind: str, count: int, side: int, random: np.random.Generator) -> Iterator[Frames]:
    """Clips of the program's own sample footage."""
    for variant in range(count):
        seed = int(random.integers(2**31))
        yield np.concatenate(list(sample_frames(kind, variant, seed, FRAMES, (side, side))))


def rendered(count: int, side: int, random: np.random.Generator) -> Iterator[Frames]:
    """Scenes, one after the other."""
    for _ in range(count):
        yield scene(side, random)


def scene(side: int, random: np.random.Generator) -> Frames:
    """A camera over a plane, and up to three shapes that move before it."""
    speed = float(random.choice([0.1, 0.4, 1.0], p=[0.3, 0.4, 0.3]))
    view = _camera(_plane(random), side, speed, random)
    across = torch.linspace(-1, 1, 2 * side)
    for _ in range(int(random.integers(0, 4))):
        x, y = (_path(0.8 * speed, random) + random.uniform(-0.7, 0.7) for _ in range(2))
        radius, shape = random.uniform(0.12, 0.5), random.uniform(0.5, 2.0)
        distance = ((across[None, None] - x[:, None, None]) ** 2 * shape
                    + (across[None, :, None] - y[:, None, None]) ** 2 / shape).sqrt()  # fmt: skip
        inside = torch.sigmoid((radius - distance) * random.uniform(15, 80))[:, None]
        view = torch.lerp(view, _camera(_plane(random), side, speed, random), inside)
    view = F.avg_pool2d(view, 2)
    if random.random() < 0.3:  # light that changes
        view = view * (1 + 0.2 * _path(1.0, random)[:, None, None, None])
    if random.random() < 0.2:  # a noisy sensor
        noise = torch.from_numpy(random.normal(0, random.uniform(1, 8), view.shape).astype(np.float32))
        view = view + noise
    return _to_frames(view)


def _plane(random: np.random.Generator) -> Tensor:
    """A picture (1, 3, PLANE, PLANE), 0 to 255: overlapping shapes over clouds, with the muted colours of footage."""
    base = random.integers(20, 235, 3)
    picture = Image.new("RGB", (PLANE, PLANE), tuple(int(c) for c in base))
    draw = ImageDraw.Draw(picture)
    spread = float(random.choice([15, 40, 80]))

    def colour() -> tuple[int, int, int]:
        r, g, b = np.clip(base + random.normal(0, spread, 3), 0, 255)
        return int(r), int(g), int(b)

    if random.random() < 0.2:  # stripes and checks, fine and coarse
        step = int(random.integers(3, 40))
        for place in range(0, PLANE, 2 * step):
            draw.rectangle([place, 0, place + step, PLANE], fill=colour())
            if random.random() < 0.5:
                draw.rectangle([0, place, PLANE, place + step], fill=colour())
    for _ in range(int(random.integers(20, 400))):  # dead leaves: sizes as in natural pictures, few large, many small
        radius = min(0.6 * PLANE, 4 / (random.random() ** 0.7 + 0.03))
        x, y = random.uniform(0, PLANE, 2)
        kind = random.integers(3)
        if kind == 0:
            draw.ellipse([x - radius, y - radius * random.uniform(0.4, 1), x + radius, y + radius], fill=colour())
        elif kind == 1:
            angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 7)))
            draw.polygon([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles], fill=colour())
        else:
            end = (x + random.normal(0, 40), y + random.normal(0, 40))
            draw.line([(x, y), end], fill=colour(), width=int(random.integers(1, 6)))
    if random.random() < 0.25:
        for _ in range(int(random.integers(1, 6))):
            word = "".join(chr(c) for c in random.integers(48, 123, random.integers(3, 12)))
            font = ImageFont.load_default(size=int(random.integers(10, 60)))
            draw.text(tuple(random.uniform(0, 0.8 * PLANE, 2)), word, fill=colour(), font=font)
    values = np.asarray(picture).astype(np.float32)
    if random.random() < 0.7:
        values += _clouds(random)[..., None] * random.uniform(3, 35) * (1 + 0.3 * random.normal(size=3))
    grey = values.mean(-1, keepdims=True)
    values = (grey + random.uniform(0.08, 0.6) * (values - grey)) * random.normal(1, 0.08, 3)
    values = (values - values.mean()) * random.uniform(0.5, 1) + values.mean()
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.float32)).permute(2, 0, 1)[None]


def _clouds(random: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose spectrum falls as that of natural pictures; deviation one."""
    frequency = np.fft.fftfreq(PLANE)
    radius = np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2) + 1 / PLANE
    field = np.fft.ifft2(np.fft.fft2(random.normal(size=(PLANE, PLANE))) / radius ** random.uniform(0.8, 1.8)).real
    return np.asarray(field / field.std())


def _path(amount: float, random: np.random.Generator) -> Tensor:
    """A smooth way in time, (FRAMES,)."""
    time = np.linspace(0, 1, FRAMES)
    swing = random.normal(0, 0.6) * np.sin(2 * np.pi * (random.uniform(0.3, 2) * time + random.random()))
    return torch.from_numpy((amount * (random.normal() * (time - 0.5) + swing)).astype(np.float32))


def _camera(plane: Tensor, side: int, speed: float, random: np.random.Generator) -> Tensor:
    """The plane as a camera sees it that pans, turns and zooms: (FRAMES, 3, 2 * side, 2 * side)."""
    scale = random.uniform(0.2, 0.6)
    angle = _path(0.25 * speed, random) + (random.uniform(0, 2 * np.pi) if random.random() < 0.3 else 0.0)
    zoom = _path(0.2 * speed, random).exp() * scale
    x, y = (_path(0.7 * speed * scale, random) + random.uniform(-0.4, 0.4) for _ in range(2))
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack([torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)], 1)
    grid = F.affine_grid(matrix, [FRAMES, 3, 2 * side, 2 * side], align_corners=False)
    seen = plane.expand(FRAMES, -1, -1, -1)
    return F.grid_sample(seen, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _resized(pictures: Tensor, side: int) -> Tensor:
    """By area where they get smaller, which is what preparation does."""
    if pictures.shape[-1] == side:
        return pictures
    if pictures.shape[-1] > side:
        return F.interpolate(pictures, (side, side), mode="area")
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _to_frames(pictures: Tensor) -> Frames:
    """(T, 3, H, W), 0 to 255, to uint8 (T, H, W, 3)."""
    return pictures.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def attributions(sources: Sequence[Source], footage: Path) -> str:
    """One line for each clip, for the model card."""
    return "\n".join(f"- `{s.path.relative_to(footage)}`: {s.origin}; {s.licence}" for s in sources)
