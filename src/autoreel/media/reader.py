"""What the jailed child does with one file: open it without a name, and find out what it is. Never called on untrusted
files outside the jail (`jail.py`).

FFmpeg opens other files and addresses when an input has a name that leads there. Here an input has none: a file object
with only read, seek and tell, no protocol, and a list of the containers and codecs that may be opened.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import av.container
import av.logging
import av.video.stream

from autoreel.errors import MediaError
from autoreel.media.geometry import Orientation, display_size, orientation_of, sane_aspect
from autoreel.media.limits import CODECS, CONTAINERS, MAX_TEXT, TEXTS, Limits, PassingError
from autoreel.media.lzw import check_lzw
from autoreel.media.packed import check_packed

# What escapes PyAV on damaged files, beside its own errors: missing streams and codec contexts (IndexError,
# AttributeError, TypeError), text that is not UTF-8, sizes that cannot be allocated, times that overflow.
DAMAGE = (
    av.error.FFmpegError, IndexError, AttributeError, TypeError, UnicodeError, ValueError, MemoryError, OverflowError,
    ZeroDivisionError, AssertionError, NotImplementedError, RuntimeError, OSError, EOFError, KeyError,
)  # fmt: skip


class NamelessFile:
    """An open file of which FFmpeg learns nothing but its bytes.

    Args:
        descriptor: open for reading; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes.

        Raises:
            PassingError: the disk cannot give them; FFmpeg hands it through.
        """
        try:
            return os.read(self._descriptor, size if size >= 0 else 1 << 20)
        except OSError as error:
            raise PassingError(f"cannot be read: {error.strerror}") from error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """The byte that comes next."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


@contextmanager
def opened(descriptor: int, limits: Limits) -> Iterator[tuple[av.container.InputContainer, list[tuple[int, str, str]]]]:
    """Open a container; whatever goes wrong while it is open becomes a MediaError with a reason of one line.

    Returns:
        The container, and what FFmpeg has logged while opening it: it reads far ahead, and complains only once.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": CONTAINERS,
        "codec_whitelist": CODECS,
        "max_pixels": str(limits.max_pixels),
        "max_streams": "64",
    }
    with av.logging.Capture() as log:
        try:
            try:
                check_packed(descriptor)
                if limits.twice:
                    check_lzw(descriptor)
            except OSError as error:  # the disk's fault, not the file's
                raise PassingError(f"cannot be read: {error.strerror}") from error
            os.lseek(descriptor, 0, os.SEEK_SET)
            container: Any = av.open(
                NamelessFile(descriptor), mode="r", options=options, metadata_errors="replace", buffer_size=1 << 17
            )
        except MediaError:
            raise
        except DAMAGE as error:
            raise MediaError(f"cannot be opened: {reason_of(error)}") from error
        try:
            yield container, list(log)
        except MediaError:
            raise
        except DAMAGE as error:
            raise MediaError(f"cannot be decoded: {reason_of(error)}") from error
        finally:
            container.close()


def reason_of(error: BaseException) -> str:
    """One line about an error, without the file's name: FFmpeg's own words where it has any."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "it needs more memory than is allowed"
    if isinstance(error, av.error.FFmpegError):
        log: Any = error.log
        said = printable(log[2]) if log else ""
        return _PLAIN.get(said, said or printable(error.strerror or type(error).__name__))
    return printable(f"{type(error).__name__}: {error}")


_PLAIN = {
    "moov atom not found": "it has no index (moov atom); it is cut off or no video",
    "EBML header parsing failed": "it has no Matroska header",
}


def printable(text: str, limit: int = 200) -> str:
    """Text from a file on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:limit].strip()


def video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The stream that holds the video; cover pictures are not video.

    Raises:
        MediaError: there is none, or its codec is unknown or not allowed.
    """
    streams = [s for s in container.streams.video if not s.disposition & _COVER]
    if not streams:
        raise MediaError("it has no video")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise MediaError("its video codec is unknown")
    first: av.video.stream.VideoStream = known[0]
    return first


_COVER = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def sound_stream(container: av.container.InputContainer) -> Any:
    """The first stream of sound with a known codec, or None."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def restrict(stream: Any, limits: Limits) -> None:
    """Bound a stream's decoder; what `av.open` is told reaches only probing."""
    # Of AV1 the decoder looks whether the bits end where the picture does only when it is told to be strict.
    strict = {"strict": "1"} if stream.codec_context.codec.name == "libdav1d" else {}
    stream.codec_context.options = {"max_pixels": str(limits.max_pixels), "codec_whitelist": CODECS, **strict}
    stream.codec_context.thread_count = limits.threads
    if limits.threads == 1:
        stream.codec_context.thread_type = "NONE"


def pixel_aspect(stream: av.video.stream.VideoStream) -> Fraction:
    """A pixel's width over its height, from the container or else the codec."""
    return sane_aspect(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def orientation(frame: av.VideoFrame) -> Orientation:
    """How a decoded frame is to be turned."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows fewer kinds of side data than FFmpeg, and reading one reads them all
        quarters = frame.rotation // 90 % 4  # anticlockwise
        return (Orientation(), Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True))[
            quarters
        ]
    return orientation_of(None if matrix is None else bytes(matrix))


def nominal_rate(stream: av.video.stream.VideoStream) -> Fraction | None:
    """Pictures per second as the container says, None when it says nothing credible."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 300:
            return Fraction(rate)
    return None


def start_time(container: av.container.InputContainer) -> Fraction | None:
    """The time that counts as zero: the container's start, when it says one."""
    if container.start_time is None:
        return None
    return Fraction(container.start_time, av.time_base)


def inspect(descriptor: int, limits: Limits) -> dict[str, Any]:
    """What a file is; one picture is decoded, because only pictures say how they are turned.

    Returns:
        Plain values, the fields of `MediaInfo`.

    Raises:
        MediaError: neither video nor sound can be read.
    """
    with opened(descriptor, limits) as (container, _):
        sound = sound_stream(container)
        found: dict[str, Any] = {
            "container": container.format.name,
            "has_sound": sound is not None,
            "sound_rate_hz": int(sound.codec_context.sample_rate or 0) if sound is not None else None,
            "channels": int(sound.codec_context.channels or 0) if sound is not None else None,
            "duration_s": _duration_s(container, None),
            "texts": _texts(container.metadata),
            "codec": None, "width": 0, "height": 0, "rate": None, "rotation_deg": 0,
        }  # fmt: skip
        try:
            stream = video_stream(container)
        except MediaError:
            if sound is None:
                raise
            return found
        restrict(stream, limits)
        frame = _first_picture(container, stream)
        check_pixels(frame, limits)
        turn = orientation(frame)
        height, width = display_size(frame.height, frame.width, pixel_aspect(stream), turn)
        rate = nominal_rate(stream)
        found.update(
            codec=stream.codec_context.codec.canonical_name, width=width, height=height, rotation_deg=turn.rotation_deg,
            rate=[rate.numerator, rate.denominator] if rate else None, duration_s=_duration_s(container, stream),
        )  # fmt: skip
        return found


def _texts(metadata: dict[str, str]) -> dict[str, str]:
    """What a file says of itself, as far as it is of use and fits into a message."""
    said = {str(key).lower(): str(value)[:MAX_TEXT] for key, value in metadata.items()}
    return {key: said[key] for key in TEXTS if key in said}


def check_pixels(frame: av.VideoFrame, limits: Limits) -> None:
    """Raises MediaError for a picture that is too large."""
    if frame.width * frame.height > limits.max_pixels:
        raise MediaError(f"its pictures are {frame.width}x{frame.height}; at most {limits.max_pixels} pixels are read")


def _first_picture(container: Any, stream: Any) -> av.VideoFrame:
    failed = ""
    for count, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            failed = f": {reason_of(error)}"
            frames = []
        if frames:
            frame: av.VideoFrame = frames[0]
            return frame
        if count > 600:
            break
    raise MediaError(f"no picture can be decoded{failed}")


def _duration_s(container: Any, stream: Any) -> float | None:
    if stream is not None and stream.duration and stream.time_base:
        value = float(stream.duration * stream.time_base)
    elif container.duration:
        value = container.duration / av.time_base
    else:
        return None
    return value if 0 < value < 1e8 else None
