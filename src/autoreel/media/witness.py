"""Second decoders, whose pictures are not used: they notice damage that FFmpeg's first one does not.

    VP8, VP9    libvpx looks whether the bits end where the picture does
    HEVC        the same decoder once more, painting into memory that held something else. Where a flipped bit has ended
                a picture early, what is not painted shows what lay there: the two differ

The first decoder stays the one that paints: it knows what the container says of colours and of turned pictures. Runs in
the jailed child; see `reader.py`.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

from autoreel.errors import MediaError
from autoreel.media.limits import CODECS, Limits

_STRICT = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_EIGHT_BITS = ("yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva420p", "gbrp")  # libvpx is often built for no more
_KEPT = 3  # pictures of the twin, so that it paints over others than the first decoder does
_NOISE = 8  # pieces of its memory that are filled before it begins; new memory is zero otherwise, for both
_MAX_TWICE_PIXELS = 4096 * 2304  # two decoders of larger pictures need more memory than a file may take


class Strict:
    """Another decoder of the same codec; only its errors are of use.

    Args:
        name: of the decoder.
        limits: of the first.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._context = _context(name, limits)

    def check(self, packet: Any, frames: Sequence[Any], started: bool) -> None:
        """Decode a packet.

        Raises:
            FFmpegError: what it does not take.
        """
        if started and packet.size:
            self._context.decode(packet)


class Twin:
    """The same decoder with other memory; its pictures must be the same.

    Args:
        context: the first decoder's.
        limits: of it.
    """

    def __init__(self, context: Any, limits: Limits) -> None:
        self._context = _context(context.codec.name, limits)
        if context.extradata:
            self._context.extradata = context.extradata
        self._kept: deque[Any] = deque(maxlen=_KEPT)
        self._begun = False

    def check(self, packet: Any, frames: Sequence[Any], started: bool) -> None:
        """Decode what the first decoder was given; the last packet, which is empty, too.

        Args:
            packet: of the stream.
            frames: what the first decoder made of it.
            started: whether errors matter by now.

        Raises:
            MediaError: the pictures differ.
        """
        try:
            if not self._begun:
                self._begun = True
                self._spoil_memory(packet)
            again = self._context.decode(packet)
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            again = []  # the first decoder has met the same, and decides what becomes of it
        self._kept.extend(again)
        if started and (len(again) != len(frames) or not all(map(_are_same, again, frames))):
            raise MediaError("a picture is not painted whole")


    def _spoil_memory(self, packet: Any) -> None:
        """Make the decoder take memory, by decoding the first picture again and again, and give it back filled."""
        if not packet.is_keyframe:
            return
        taken = []
        for _ in range(_NOISE):
            taken += self._context.decode(packet) + self._context.decode(None)
            self._context.flush_buffers()  # it knows of none of these pictures any more
        for number, frame in enumerate(taken):
            # In the range of samples of any depth: decoders look values up in tables.
            kind = np.uint8 if frame.format.components[0].bits <= 8 else np.uint16
            for plane in frame.planes:
                np.frombuffer(plane, kind)[:] = (37 * number + 85) % 256


def second_decoder(stream: Any, limits: Limits) -> Strict | Twin | None:
    """What looks at a stream a second time, or None where that would find nothing.

    Args:
        stream: its own decoder is set up.
        limits: of the file.
    """
    context = stream.codec_context
    name = context.codec.canonical_name
    if name in _STRICT:
        known = _STRICT[name] in av.codecs_available and context.pix_fmt in _EIGHT_BITS
        return Strict(_STRICT[name], limits) if known else None
    small = context.width * context.height <= _MAX_TWICE_PIXELS
    return Twin(context, limits) if name == "hevc" and limits.twice and small else None


def _context(name: str, limits: Limits) -> Any:
    context: Any = av.CodecContext.create(name, "r")
    context.options = {"max_pixels": str(limits.max_pixels), "codec_whitelist": CODECS}
    context.thread_count = 1
    context.thread_type = "NONE"
    return context


def _are_same(one: Any, other: Any) -> bool:
    if (one.width, one.height, one.format.name) != (other.width, other.height, other.format.name):
        return False
    size = 1 if one.format.components[0].bits <= 8 else 2
    return all(
        np.array_equal(_shown(a, size), _shown(b, size)) for a, b in zip(one.planes, other.planes, strict=True)
    )


def _shown(plane: Any, size: int) -> Any:
    """The bytes of a plane without what only fills its lines up."""
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return lines[:, : plane.width * size]
