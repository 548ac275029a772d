"""Pictures and sound out of files nobody has looked at yet; every byte is decoded in the jail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Clip, Frames, Sound
from autoreel.errors import MediaError, UsageError
from autoreel.media import jail
from autoreel.media.geometry import Fit
from autoreel.media.limits import Limits
from autoreel.media.probe import probe

__all__ = [
    "IMAGE_SUFFIXES", "MEDIA_SUFFIXES", "SOUND_SUFFIXES", "FrameChunk", "Limits", "decode", "decode_images",
    "first_frame", "read_clip", "read_sound", "sound_blocks",
]  # fmt: skip

MEDIA_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".flv", ".wmv",
    ".asf", ".ogv", ".3gp", ".3g2", ".mxf", ".dv", ".vob", ".gif", ".apng", ".y4m", ".ivf",
})  # fmt: skip
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
SOUND_SUFFIXES = frozenset({
    ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".ac3", ".caf",
})  # fmt: skip

_CHUNK_BYTES = 8 << 20
_CHUNK_FRAMES = 64


@dataclass(frozen=True)
class FrameChunk:
    """Some pictures that follow each other.

    Args:
        frames: uint8 (n, H, W, 3), sRGB; planar ones (n, H * 3 / 2, W) as `yuv420.py` lays them out.
        pts_s: float64 (n,), the time of each in seconds from the file's start.
    """

    frames: Frames
    pts_s: NDArray[np.float64]


def decode(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    rate: Fraction | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    limits: Limits | None = None,
    planar: bool = False,
) -> Iterator[FrameChunk]:
    """Decode a video (or one image) in the jail, in order of presentation, as it is meant to be seen.

    Turned and mirrored by its display matrix, with square pixels, deinterlaced, high dynamic range brought to standard,
    alpha over black, resized by area averaging.

    Args:
        path: any file, trusted or not.
        size: (height, width) of the result in pixels; None for the size as shown.
        fit: `crop` fills the size and cuts what stands over, `letterbox` keeps all and adds black, `stretch` does
            neither and ignores aspect.
        rate: pictures per second of the result; None for the file's own times.
        start_s, end_s: only what is shown in [start_s, end_s), in seconds from the file's start.
        limits: what it may cost.
        planar: give pictures in the layout of `yuv420.py`; needs a `size` of even sides.

    Returns:
        Chunks of 1 to 64 pictures; the whole is never in memory. Closing the iterator ends the child process.

    Raises:
        MediaError: at the place where the file is damaged, or passes a limit; what came before was whole.
        JailError: this machine has no jail.
    """
    limits = limits or Limits()
    _check(size, rate, start_s, end_s, limits)
    if planar and (size is None or size[0] % 2 or size[1] % 2):
        raise UsageError(f"size is {size}; planar pictures have even sides")
    return _decode(path, size, fit, rate, start_s, end_s, limits, first_only=False, planar=planar)


def _check(
    size: tuple[int, int] | None, rate: Fraction | None, start_s: float, end_s: float | None, limits: Limits
) -> None:
    if size is not None and not (min(size) >= 1 and size[0] * size[1] <= limits.max_pixels):
        raise UsageError(
            f"size is {size}; give (height, width) of at least 1, at most {limits.max_pixels} pixels in all"
        )
    if rate is not None and not 0 < rate <= 1000:
        raise UsageError(f"rate is {rate}; give pictures per second above 0 and up to 1000")
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise UsageError(f"from {start_s} s to {end_s} s is no span; give a start of at least 0 and an end after it")


def _decode(
    path: str | os.PathLike[str], size: tuple[int, int] | None, fit: Fit, rate: Fraction | None, start_s: float,
    end_s: float | None, limits: Limits, first_only: bool, planar: bool = False,
) -> Iterator[FrameChunk]:  # fmt: skip
    request: dict[str, Any] = {
        "size": size, "fit": fit, "rate": None if rate is None else Fraction(rate).as_integer_ratio(),
        "start_s": start_s, "end_s": end_s, "first_only": first_only, "planar": planar,
    }  # fmt: skip
    num_frames = 0
    for found in jail.run(path, "pictures", request, limits, _slot_bytes(size, limits)):
        if not isinstance(found, jail.Chunk) or found.array.ndim != 4 or not _is_asked_for(found.array, size, planar):
            raise MediaError(f"{jail.show(path)}: its decoder was taken over or broke down")
        num_frames += len(found.array)
        if num_frames > limits.max_frames:  # the child counts too; this does not trust it
            raise MediaError(f"{jail.show(path)}: more than {limits.max_frames} pictures")
        yield FrameChunk(found.array[..., 0] if planar else found.array, found.times_s)


def _is_asked_for(frames: NDArray[Any], size: tuple[int, int] | None, planar: bool) -> bool:
    """Whether pictures have the shape that was asked for; the child is not trusted."""
    if planar:
        return size is not None and frames.shape[1:] == (size[0] * 3 // 2, size[1], 1)
    return frames.shape[3] == 3 and (size is None or frames.shape[1:3] == size)


def _slot_bytes(size: tuple[int, int] | None, limits: Limits) -> int:
    """Room for a chunk. Memory is only taken when touched, so that room for the largest picture costs nothing."""
    if size is None:
        return max(_CHUNK_BYTES, 3 * limits.max_pixels)
    frame_bytes = size[0] * size[1] * 3
    return max(1, min(_CHUNK_FRAMES, _CHUNK_BYTES // frame_bytes)) * frame_bytes


def first_frame(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, fit: Fit = "crop", at_s: float = 0.0,
    limits: Limits | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """The first picture of a video, or an image.

    Args:
        at_s: the picture on show at this time instead.

    Returns:
        uint8 (H, W, 3).

    Raises:
        MediaError, JailError: as `decode`.
    """
    limits = limits or Limits()
    _check(size, None, at_s, None, limits)
    for chunk in _decode(path, size, fit, None, at_s, None, limits, first_only=True):
        frame: NDArray[np.uint8] = chunk.frames[0]
        return frame
    raise MediaError(f"{jail.show(path)}: it has no picture")


def decode_images(
    paths: Sequence[str | os.PathLike[str]], *, rate: Fraction, size: tuple[int, int] | None = None, fit: Fit = "crop",
    limits: Limits | None = None,
) -> Iterator[FrameChunk]:  # fmt: skip
    """Images as the pictures of a video, in the order given.

    Args:
        paths: image files, each decoded in a child of its own.
        rate: pictures per second.
        size, fit: as `decode`; without a size the first image's counts.

    Raises:
        MediaError, JailError: as `decode`.
    """
    limits = limits or Limits()
    _check(size, rate, 0, None, limits)
    frames: list[NDArray[np.uint8]] = []
    for index, path in enumerate(paths):
        frame = first_frame(path, size=size, fit=fit, limits=limits)
        size = size or (frame.shape[0], frame.shape[1])
        frames.append(frame)
        if len(frames) == max(1, min(_CHUNK_FRAMES, _CHUNK_BYTES // frame.size)) or index == len(paths) - 1:
            begin = index + 1 - len(frames)
            yield FrameChunk(np.stack(frames), np.array([float(i / rate) for i in range(begin, index + 1)]))
            frames = []


def read_clip(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, fit: Fit = "crop",
    rate: Fraction | None = None, start_s: float = 0.0, end_s: float | None = None, with_sound: bool = False,
    limits: Limits | None = None,
) -> Clip:  # fmt: skip
    """A whole video in memory.

    Args:
        with_sound: its sound too, from the first picture's time on; a file without sound gives None.
        size, fit, rate, start_s, end_s, limits: as `decode`; without a rate the clip has the file's own.

    Raises:
        MediaError, JailError: as `decode`.
    """
    chunks = list(decode(path, size=size, fit=fit, rate=rate, start_s=start_s, end_s=end_s, limits=limits))
    frames, pts_s = np.concatenate([c.frames for c in chunks]), np.concatenate([c.pts_s for c in chunks])
    sound = None
    info = probe(path, limits) if with_sound or rate is None else None
    if with_sound and info is not None and info.has_sound:
        sound = read_sound(path, start_s=float(pts_s[0]), end_s=end_s, limits=limits)
    if rate is None:
        rate = _own_rate(info.rate if info is not None else None, pts_s)
    return Clip(frames, rate, sound, pts_s)


def _own_rate(declared: Fraction | None, pts_s: NDArray[np.float64]) -> Fraction:
    """By the median step of the times, as long as there are steps; containers say wrong things."""
    steps = np.diff(pts_s)
    if len(steps) == 0 or np.median(steps) <= 0:
        return declared or Fraction(25)
    measured = 1 / float(np.median(steps))
    if declared is not None and abs(float(declared) / measured - 1) < 0.05:
        return declared
    return Fraction(measured).limit_denominator(1001)


def read_sound(
    path: str | os.PathLike[str], sample_rate_hz: int = 48000, channels: int = 2, start_s: float = 0.0,
    end_s: float | None = None, limits: Limits | None = None,
) -> Sound:  # fmt: skip
    """The sound of a file, decoded in the jail and resampled.

    Args:
        path: any file, trusted or not.
        sample_rate_hz: of the result, 8000 to 192000.
        channels: 1 or 2; more are mixed down, one is doubled.
        start_s, end_s: only what sounds in [start_s, end_s), in seconds from the file's start; where the sound begins
            later there is silence, where it ends earlier the result is shorter.
        limits: what it may cost.

    Raises:
        MediaError: no sound, or damaged.
        JailError: this machine has no jail.
    """
    blocks = list(sound_blocks(path, sample_rate_hz, channels, start_s, end_s, limits))
    if not blocks:
        raise MediaError(f"{jail.show(path)}: it has no sound from {start_s} s on")
    return Sound(np.concatenate(blocks), sample_rate_hz)


def sound_blocks(
    path: str | os.PathLike[str], sample_rate_hz: int = 48000, channels: int = 2, start_s: float = 0.0,
    end_s: float | None = None, limits: Limits | None = None,
) -> Iterator[NDArray[np.float32]]:  # fmt: skip
    """`read_sound` as blocks (n, channels) that follow each other, in memory that does not grow; none is no error."""
    limits = limits or Limits()
    if not 8000 <= sample_rate_hz <= 192000 or channels not in (1, 2):
        raise UsageError(f"{sample_rate_hz} Hz in {channels} channels; give 8000 to 192000 Hz in 1 or 2")
    _check(None, None, start_s, end_s, limits)
    request = {"sample_rate_hz": sample_rate_hz, "channels": channels, "start_s": start_s, "end_s": end_s}
    num_samples = 0
    for found in jail.run(path, "sound", request, limits, 1 << 20):
        if not isinstance(found, jail.Chunk) or found.array.ndim != 2 or found.array.shape[1] != channels:
            raise MediaError(f"{jail.show(path)}: its decoder was taken over or broke down")
        num_samples += len(found.array)
        if num_samples > (limits.max_duration_s + 1) * sample_rate_hz:
            raise MediaError(f"{jail.show(path)}: its sound is longer than {limits.max_duration_s:g} s")
        yield found.array
