"""Pictures and sound into files: complete or not at all.

.mp4 .mov .mkv   H.264 and AAC, plays everywhere; H.265, AV1 and ProRes as `encoders.py` says
.webm            VP9 or AV1, and Opus
.gif             a palette made for the whole clip; at most 50 pictures a second
frames/          PNG files 00000.png, 00001.png and so on; or a pattern such as frames/%05d.png
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Frames, Sound
from autoreel.errors import UsageError
from autoreel.media.captions import Caption, check_track
from autoreel.media.containers import ContainerSink
from autoreel.media.encoders import CODECS, CONTAINER_SUFFIXES, PIXEL_FORMAT, Codec, Quality, encoder_for, factor_of
from autoreel.media.stills import GifSink, PngSink, gif_step
from autoreel.media.tracks import SoundStream
from autoreel.media.yuv420 import Planar, to_rgb
from autoreel.runs import atomic_path, scratch_path

Seal = Callable[[Path, Path], None]  # takes a finished file, writes it with its signature into another

METADATA_KEYS = frozenset(  # what every container keeps under its own name for it
    {"title", "artist", "album", "comment", "description", "date", "genre", "copyright", "composer"}
)
_PATTERN = re.compile(r"^[^%]*%0?\d*d[^%]*\.png$")


class Sink(Protocol):
    """Something that takes pictures and becomes a file."""

    def write(self, frames: Frames) -> None:
        """Take pictures (n, H, W, 3)."""

    def finish(self) -> None:
        """Write what is left and close; the file is complete after this."""

    def abandon(self) -> None:
        """Close without finishing; the file is thrown away."""


class VideoWriter:
    """Write a video as a context manager; the file has its name only once the block has ended well.

    Args:
        path: its ending chooses the format; a folder (no ending, or a slash at the end) takes PNG files.
        size: (height, width) in pixels; H.264 has even sizes only, an odd one repeats its last row or column.
        rate: pictures per second.
        quality: `draft`, `good`, `best`, or the encoder's own factor, where 0 is best (H.264 and H.265 to 51, AV1 and
            VP9 to 63; ProRes 0 to 3 are its profiles from HQ to proxy).
        sound: whole, or at 48000 Hz as it is made; cut or padded with silence to the length of the pictures; GIF and
            PNG files hold none and leave it out.
        metadata: title, artist, album, comment, description, date, genre, copyright, composer.
        codec: `auto`, `h264`, `h265`, `av1`, `vp9` or `prores`, as far as the ending takes it.
        captions: text with times that players can show; GIF and PNG files leave it out.
        hardware: encode on a graphics chip where one can; what it writes differs from machine to machine.
        seal: signs the finished file before it gets its name; where that fails, nothing stands under it.

    Raises:
        UsageError: an ending, size, rate or codec that cannot be meant.
        MediaError: more captions at once than a track of that ending takes.
        OutputError: on entering, writing or leaving: no permission, disk full; nothing stands under the name then.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], rate: Fraction | int, *, quality: Quality | int = "good",
        sound: Sound | SoundStream | None = None, metadata: Mapping[str, str] | None = None,
        codec: Codec = "auto", captions: Sequence[Caption] = (), hardware: bool = False, seal: Seal | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.size = (int(size[0]), int(size[1]))
        self.rate = Fraction(rate)
        self.num_frames = 0
        if min(self.size) < 1 or max(self.size) > 16384:
            raise UsageError(f"size is {self.size}; give (height, width) of 1 to 16384 pixels each")
        if not 0 < self.rate <= 1000:
            raise UsageError(f"rate is {self.rate}; give pictures per second above 0 and up to 1000")
        self._pattern = _png_pattern(path)
        self._codec = _codec_for(self.path, codec) if self._pattern is None else "png"
        self._factor = factor_of(quality, self._codec) if self._codec in CODECS else 0
        self._sound, self._metadata = sound, dict(metadata or {})
        self._captions, self._hardware = tuple(captions), hardware
        check_track(self.path, self._captions)
        unknown = sorted(set(self._metadata) - METADATA_KEYS)
        if unknown:
            raise UsageError(f"metadata {', '.join(unknown)} cannot be kept; use {', '.join(sorted(METADATA_KEYS))}")
        if seal is not None and self._pattern is not None:
            raise UsageError(f"{path}: single pictures are not signed; choose a file")
        self._seal = seal
        self._stack = ExitStack()
        self._sink: Sink | None = None
        self._place = self._unsealed = self.path  # the unfinished file, and the one that is sealed into it

    @property
    def codec(self) -> str:
        """Of the pictures: a key of `encoders.CODECS`, `gif` or `png`."""
        return self._codec

    @property
    def takes_planar(self) -> bool:
        """Whether planar pictures lose nothing here: the codec halves the colour anyway."""
        known = CODECS.get(self._codec)
        return known is not None and known.software.pixel_format == PIXEL_FORMAT and not any(s % 2 for s in self.size)

    @property
    def written_rate(self) -> Fraction:
        """Pictures per second that the file shows: of a GIF at most 50, every second or third of what it is given."""
        return self.rate / gif_step(self.rate) if self._codec == "gif" else self.rate

    def without_chip(self) -> str | None:
        """Why it is not encoded on a graphics chip though that was asked for; None where it is, or was not asked."""
        if not self._hardware:
            return None
        chips = [encoder.name for encoder in CODECS[self._codec].hardware] if self._codec in CODECS else []
        if not chips:
            return f"{self._codec} is encoded on no graphics chip"
        if encoder_for(self._codec, True).name in chips:
            return None
        return f"no graphics chip of this machine encodes {self._codec} (tried {', '.join(chips)})"

    @property
    def duration_s(self) -> Fraction:
        """Length of what has been written so far."""
        return self.num_frames / self.rate

    def __enter__(self) -> Self:
        pattern = self._pattern
        if pattern is not None:
            self._place = self._stack.enter_context(atomic_path(pattern.parent, folder=True))
            self._sink = PngSink(self._place / pattern.name, self._metadata)
            return self
        part = self._place = self._stack.enter_context(atomic_path(self.path))
        if self._seal is not None:
            part = self._unsealed = self._stack.enter_context(scratch_path(self.path))
        if self._codec == "gif":
            self._sink = GifSink(part, self.path, self.size, self.rate, self._metadata)
        else:
            self._sink = ContainerSink(
                part, self.path, self._codec, self.size, self.rate, self._factor, self._sound, self._metadata,
                self._captions, self._hardware,
            )
        return self

    def write(self, frames: Frames | Planar) -> None:
        """Add pictures.

        Args:
            frames: uint8 (n, H, W, 3) of the writer's size, sRGB; or one picture (H, W, 3); or one that is planar.
        """
        if self._sink is None:
            raise UsageError("the writer is not open; use it in a with statement")
        fits = isinstance(frames, Planar) and self.takes_planar and frames.size == (self.size[1], self.size[0])
        if isinstance(frames, Planar) and fits and isinstance(self._sink, ContainerSink):
            self._sink.write_planar(frames)
            self.num_frames += 1
            return
        if isinstance(frames, Planar):
            frames = to_rgb(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.dtype != np.uint8 or frames.shape[1:] != (*self.size, 3):
            wanted = f"uint8 (n, {self.size[0]}, {self.size[1]}, 3)"
            raise UsageError(f"frames are {frames.dtype} {frames.shape}; this file takes {wanted}")
        if len(frames):
            self._sink.write(frames)
            self.num_frames += len(frames)

    def complete(self) -> Path:
        """Finish the file and seal it; it gets its name when the block ends, which may have more to do until then.

        Returns:
            Where it lies until then.

        Raises:
            UsageError: not one picture was written.
            OutputError: it cannot be written.
        """
        sink, self._sink = self._sink, None
        if sink is None:
            return self._place
        if self.num_frames == 0:
            sink.abandon()
            raise UsageError(f"{self.path}: not one picture was written")
        sink.finish()
        if self._seal is not None:
            self._seal(self._unsealed, self._place)
        return self._place

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sink, self._sink = self._sink, None
            if sink is not None:
                sink.abandon()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self.complete()


def _png_pattern(path: str | Path) -> Path | None:
    """Where PNG files go as folder/pattern, or None for a single file."""
    name = str(path)
    if name.endswith(".png"):
        if not _PATTERN.match(Path(name).name):
            raise UsageError(f"{name}: pictures need many files; give a folder, or a pattern such as frames/%05d.png")
        return Path(name)
    if name.endswith("/") or not Path(name).suffix:
        return Path(name) / "%05d.png"
    return None


def _codec_for(path: Path, codec: str) -> str:
    suffix = path.suffix.lower()
    if suffix == ".gif":
        if codec != "auto":
            holds = ", ".join(end for end, codecs in CONTAINER_SUFFIXES.items() if codec in codecs)
            raise UsageError(f"{path}: a .gif has an encoding of its own, not {codec}; choose {holds}, or no encoder")
        return "gif"
    allowed = CONTAINER_SUFFIXES.get(suffix)
    if allowed is None:
        known = ", ".join([*CONTAINER_SUFFIXES, ".gif"])
        raise UsageError(f"{path}: '{suffix}' is no ending that can be written; use {known}, or a folder for PNG files")
    if codec == "auto":
        return allowed[0]
    if codec not in allowed:
        raise UsageError(f"{path}: {suffix} files hold {' or '.join(allowed)}, not {codec}")
    return codec


def write_strip(path: str | Path, frames: Frames, columns: int | None = None, gap: int = 2) -> None:
    """Pictures beside each other as one PNG, to look at.

    Args:
        path: ends in .png.
        frames: uint8 (n, H, W, 3).
        columns: pictures in a row; None for all in one row.
        gap: black pixels between them.

    Raises:
        OutputError: it cannot be written.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UsageError(f"frames must be uint8 (n, H, W, 3) with n of at least 1, not {frames.dtype} {frames.shape}")
    num, height, width, _ = frames.shape
    columns = num if columns is None else max(1, min(columns, num))
    rows = -(-num // columns)
    sheet: NDArray[np.uint8] = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    with atomic_path(Path(path)) as part:
        Image.fromarray(sheet).save(part, format="PNG")
