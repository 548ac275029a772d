"""Pictures without sound: GIF files and folders of PNG files."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from autoreel.clip import Frames
from autoreel.errors import translate_os_error

MAX_GIF_RATE_HZ = 50  # browsers show a picture of less than two hundredths of a second for ten
_GIF_TRAILER = b"\x3b"


def gif_step(rate: Fraction) -> int:
    """One of how many pictures a GIF shows: all up to 50 a second, of more every second, third and so on."""
    return math.ceil(rate / MAX_GIF_RATE_HZ)


class PngSink:
    """Numbered PNG files.

    Args:
        pattern: folder and name with one %d.
        metadata: written into every file as text.
    """

    def __init__(self, pattern: Path, metadata: Mapping[str, str]) -> None:
        self._pattern = pattern
        self._num_frames = 0
        self._info = PngInfo()
        for key, value in metadata.items():
            self._info.add_itxt(key.capitalize(), value)

    def write(self, frames: Frames) -> None:
        """One file per picture."""
        for picture in frames:
            path = self._pattern.parent / (self._pattern.name % self._num_frames)
            Image.fromarray(np.ascontiguousarray(picture)).save(path, pnginfo=self._info)
            self._num_frames += 1

    def finish(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """The folder is thrown away by whoever made it."""


class GifSink:
    """A GIF with one palette for the whole clip, and ordered dither, which does not flicker and packs well.

    The palette is known only at the end, so the pictures wait in an unnamed file on disk, not in memory.

    Args:
        part: the file that is written.
        final: its later name, for messages.
        size: (height, width).
        rate: pictures per second; of more than 50 `gif_step` tells which are kept. GIF counts in hundredths of a
            second, each picture's time is rounded to them.
        metadata: written as comments.
    """

    def __init__(
        self, part: Path, final: Path, size: tuple[int, int], rate: Fraction, metadata: Mapping[str, str]
    ) -> None:
        self._metadata = dict(metadata)
        self._part, self._final, self._size = part, final, size
        self._step, self._num_given = gif_step(rate), 0
        self._rate = rate / self._step
        self._waiting = tempfile.TemporaryFile(dir=part.parent)  # noqa: SIM115 - closed by finish and abandon
        self._num_frames = 0
        self._palette = av.filter.Graph()
        self._palette.threads = 1
        self._palette.link_nodes(
            self._source(self._palette, "rgb24"),
            self._palette.add("palettegen", "reserve_transparent=0:stats_mode=full"),
            self._palette.add("buffersink"),
        ).configure()  # fmt: skip

    def _source(self, graph: av.filter.Graph, pixel_format: str, size: tuple[int, int] | None = None) -> Any:
        height, width = size or self._size
        return graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(pixel_format), time_base=1 / self._rate
        )

    def write(self, frames: Frames) -> None:
        """Count colours and put the pictures aside."""
        for picture in frames[-self._num_given % self._step :: self._step]:
            picture = np.ascontiguousarray(picture)
            self._palette.vpush(self._frame(picture, self._num_frames))
            self._waiting.write(picture.tobytes())
            self._num_frames += 1
        self._num_given += len(frames)

    def _frame(self, picture: Any, index: int) -> Any:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / self._rate
        return frame

    def finish(self) -> None:
        """Make the palette, then paint every picture with it."""
        try:
            self._paint()
            self._comment()
        except av.error.FFmpegError as error:
            plain = error if isinstance(error, OSError) else OSError(0, str(error))
            raise translate_os_error(plain, self._final) from error
        finally:
            self._waiting.close()

    def _paint(self) -> None:
        self._palette.vpush(None)
        palette: Any = self._palette.vpull()
        graph = av.filter.Graph()
        graph.threads = 1
        pictures, colours = self._source(graph, "rgb24"), self._source(graph, palette.format.name, (16, 16))
        painter = graph.add("paletteuse", "dither=bayer:bayer_scale=3:diff_mode=rectangle")
        pictures.link_to(painter, 0, 0)
        colours.link_to(painter, 0, 1)
        painter.link_to(graph.add("buffersink"))
        graph.configure()
        with av.open(f"file:{self._part.absolute()}", mode="w", format="gif") as container:
            stream: Any = container.add_stream("gif", rate=self._rate)
            stream.height, stream.width = self._size
            stream.pix_fmt = "pal8"
            stream.codec_context.time_base = 1 / self._rate
            graph.push(palette, at=1)
            colours.push(None)
            self._waiting.seek(0)
            size_bytes = self._size[0] * self._size[1] * 3
            for index in range(self._num_frames):
                picture = np.frombuffer(self._waiting.read(size_bytes), np.uint8).reshape(*self._size, 3)
                graph.push(self._frame(picture, index), at=0)
                self._encode_ready(graph, stream, container)
            pictures.push(None)
            self._encode_ready(graph, stream, container)
            container.mux(stream.encode(None))

    def _comment(self) -> None:
        """Put comment extensions before the byte that ends the file (GIF89a, section 24); FFmpeg writes none."""
        texts = [text if key == "comment" else f"{key.capitalize()}: {text}" for key, text in self._metadata.items()]
        with self._part.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != _GIF_TRAILER:
                raise AssertionError("a GIF ends with its trailer")
            file.seek(-1, os.SEEK_END)
            for text in texts:
                data = text.encode()
                blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
                file.write(b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0")
            file.write(_GIF_TRAILER)

    def _encode_ready(self, graph: av.filter.Graph, stream: Any, container: Any) -> None:
        while True:
            try:
                frame: Any = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            container.mux(stream.encode(frame))

    def abandon(self) -> None:
        """Let go of the waiting pictures; that the last of them find no room does not matter any more."""
        with contextlib.suppress(OSError):
            self._waiting.close()
