"""Small clips written by the tests themselves, and stores made from plain arrays."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.config import DataConfig
from autoreel.data.split import Side
from autoreel.data.store import SHARDS_NAME, FootageStore, Shot, write_index

Frames = NDArray[np.uint8]
WriteClip = Callable[..., Path]
MakeScene = Callable[..., Frames]
MakeStore = Callable[..., FootageStore]


@pytest.fixture
def write_clip() -> WriteClip:
    """Write frames losslessly to a video file."""

    def write(path: Path, frames: Frames, rate: int = 10) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=Fraction(rate))
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "bgr0"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def make_scene() -> MakeScene:
    """A textured background that stands still, and a bright square (the "hand") that moves over it."""

    def make(seed: int, num_frames: int = 20, size: int = 64, hand: int = 10) -> Frames:
        random = np.random.default_rng(seed)
        coarse = random.integers(30, 200, (4, 4, 3), np.uint8)
        background = np.kron(coarse, np.ones((size // 4, size // 4, 1), np.uint8))
        frames = np.repeat(background[None], num_frames, axis=0)
        for i, frame in enumerate(frames):
            x = int((size - hand) * (0.5 + 0.5 * np.sin(seed + i / 3)))
            frame[size // 3 : size // 3 + hand, x : x + hand] = 240
        return frames

    return make


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A store of shots given as (label, side, frames): red tells the shot, green the frame, blue the column."""

    def make(shots: Sequence[tuple[str | None, Side, int]], size: tuple[int, int] = (16, 24)) -> FootageStore:
        path = tmp_path / "store"
        (path / SHARDS_NAME).mkdir(parents=True)
        table, shards = [], {}
        for number, (label, side, count) in enumerate(shots):
            frames = np.zeros((count, *size, 3), np.uint8)
            frames[..., 0] = number
            frames[..., 1] = np.arange(count)[:, None, None]
            frames[..., 2] = np.arange(size[1])
            name = f"{number:064x}"
            (path / SHARDS_NAME / f"{name}.u8").write_bytes(frames.tobytes())
            shards[name] = {"num_frames": count, "sha256": "0" * 64}
            table.append(Shot(f"shot{number}", f"{number}.mp4", name, label, side, count, None, 0.0, 0))
        config = DataConfig(height=size[0], width=size[1])
        write_index(
            path,
            key="k",
            config=config,
            rate=Fraction(25),
            shots=table,
            shards=shards,
            how_split="as told",
            num_rejects=0,
        )
        return FootageStore.open(path)

    return make
