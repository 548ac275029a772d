"""What only a second decoder notices."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from autoreel.errors import MediaError
from autoreel.media.decode import decode
from autoreel.media.limits import Limits

ONCE, TWICE = Limits(), Limits(twice=True)


def write(path: Path, options: str = "", pixel_format: str = "yuv420p", num_frames: int = 12) -> bytes:
    """A film of moving noise in HEVC."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 160, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.options = {"x265-params": f"keyint=6:log-level=none:pools=none:{options}"}
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, number : number + 96]), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def said(path: Path, limits: Limits) -> str:
    try:
        return f"{sum(len(chunk.frames) for chunk in decode(path, limits=limits))} pictures"
    except MediaError as error:
        return str(error).partition(": ")[2]


@pytest.mark.parametrize(
    ("name", "options", "pixel_format"),
    [("a.mp4", "bframes=4", "yuv420p"), ("b.ts", "open-gop=1:bframes=3", "yuv420p10le"), ("c.mkv", "hash=1", "gray")],
)
def test_whole_films_pass(tmp_path: Path, name: str, options: str, pixel_format: str) -> None:
    write(tmp_path / name, options, pixel_format)
    assert said(tmp_path / name, TWICE) == "12 pictures"


@pytest.mark.parametrize(("place", "bit"), [(13356, 0), (20723, 3), (13993, 2)])
def test_a_picture_that_is_painted_in_part_is_noticed(hostile: Path, tmp_path: Path, place: int, bit: int) -> None:
    damaged = bytearray((hostile / "h265_10bits.mp4").read_bytes())
    damaged[place] ^= 1 << bit
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    assert said(tmp_path / "damaged.mp4", ONCE) == "30 pictures"
    assert "is not painted whole" in said(tmp_path / "damaged.mp4", TWICE)


def test_a_film_whose_first_picture_is_damaged_is_refused(tmp_path: Path) -> None:
    """What follows builds on it, and would be accepted as a stream that was cut out of a longer one."""
    content = bytearray(write(tmp_path / "a.mkv"))
    with av.open(str(tmp_path / "a.mkv")) as container:
        place = content.find(bytes(next(container.demux(video=0))))
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "a.mkv").write_bytes(content)
    assert said(tmp_path / "a.mkv", ONCE).startswith("no picture can be decoded from its start on")


def test_bits_of_av1_that_do_not_end_where_the_picture_does_are_noticed(hostile: Path, tmp_path: Path) -> None:
    content = (hostile / "av1-clearkey-cbcs-video.mp4").read_bytes()
    for place in (4000, 6000, 8000):
        damaged = bytearray(content)
        damaged[place] ^= 4
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        assert "pictures" not in said(tmp_path / "damaged.mp4", ONCE), place
