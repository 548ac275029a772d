"""Small files whose right answer is known, made on the spot."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Pictures = Sequence[NDArray[np.uint8]]


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write pictures losslessly enough with PyAV alone: nothing of autoreel's own writer is in the way of the test."""

    def make(
        name: str,
        pictures: Pictures,
        *,
        rate: Fraction = Fraction(25),
        times: Sequence[int] | None = None,
        time_base: Fraction | None = None,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        options: dict[str, str] | None = None,
        prepare: Callable[[Any], None] | None = None,
    ) -> Path:
        path = tmp_path / name
        options = {"crf": "1", "preset": "ultrafast"} if options is None else options
        with av.open(str(path), mode="w") as container:
            stream: Any = container.add_stream(codec, rate=rate, options=options)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = time_base or 1 / rate
            if prepare is not None:
                prepare(stream)
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts = index if times is None else times[index]
                frame.time_base = time_base or 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def corners() -> NDArray[np.uint8]:
    """64x96 with red above left, green above right, blue below left, white below right."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48], picture[:32, 48:] = (255, 0, 0), (0, 255, 0)
    picture[32:, :48], picture[32:, 48:] = (0, 0, 255), (255, 255, 255)
    return picture


@pytest.fixture
def name_corners() -> Callable[[NDArray[np.uint8]], str]:
    """The four corners of a picture, row by row, as letters."""

    def name(picture: NDArray[np.uint8]) -> str:
        height, width = picture.shape[:2]
        letters = ""
        for y in (height // 4, 3 * height // 4):
            for x in (width // 4, 3 * width // 4):
                bright = "".join(str(int(v) // 128) for v in picture[y, x])
                letters += {"100": "r", "010": "g", "001": "b", "111": "w", "000": "-"}[bright]
        return letters

    return name
