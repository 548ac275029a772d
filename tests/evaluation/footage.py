"""A small store of footage in a folder: discs that move over plain backgrounds, one colour and place per person."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np

from autoreel.clip import Frames
from autoreel.config import DataConfig
from autoreel.data.split import Side
from autoreel.data.store import SHARDS_NAME, FootageStore, Shot, write_index

LABELS = ("across", "down")


def moving_disc(label: str, person: int, num_frames: int = 48, size: int = 32) -> Frames:
    """uint8 (T, size, size, 3): a disc that goes back and forth across, or down and up."""
    random = np.random.default_rng(person)
    ground, disc = random.uniform(20, 120, 3), random.uniform(130, 250, 3)
    middle, phase = random.uniform(0.4, 0.6) * size, random.uniform(0, 6)
    y, x = np.mgrid[:size, :size]
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    for t, frame in enumerate(frames):
        moved = 0.5 * size + 0.3 * size * np.sin(phase + t / 4)
        place = (middle, moved) if label == "across" else (moved, middle)
        inside = np.clip(4.5 - np.hypot(y - place[0], x - place[1]), 0, 1)[..., None]
        frame[:] = ground * (1 - inside) + disc * inside
    return frames


def make_store(path: Path, persons: int = 8, num_frames: int = 48, size: int = 32) -> FootageStore:
    """Persons who each do both: the first are for training, the last for validation and for the test."""
    (path / SHARDS_NAME).mkdir(parents=True)
    shots, shards = [], {}
    for person in range(persons):
        side: Side = "test" if person == persons - 1 else "validation" if person == persons - 2 else "train"
        for label in LABELS:
            frames = moving_disc(label, person, num_frames, size)
            digest = hashlib.sha256(frames.tobytes()).hexdigest()
            (path / SHARDS_NAME / f"{digest}.u8").write_bytes(frames.tobytes())
            shards[digest] = {"num_frames": num_frames, "sha256": digest}
            shots.append(Shot(
                id=f"{label}-{person}", source=f"{label}-{person}.mp4", source_hash=digest, label=label, split=side,
                num_frames=num_frames, group=f"person{person}", start_s=0.0, offset=0,
            ))  # fmt: skip
    write_index(
        path, key="made by hand", config=DataConfig(height=size, width=size), rate=Fraction(25), shots=shots,
        shards=shards, how_split="by persons", num_rejects=0,
    )  # fmt: skip
    return FootageStore.open(path)
