"""The video codecs that can be written: which encoder makes each, with which settings, in which files.

    h264    plays everywhere                    .mp4 .m4v .mov .mkv
    h265    half the size, on newer devices     .mp4 .m4v .mov .mkv
    av1     smaller still, free of fees         .mp4 .mkv .webm
    vp9     free of fees                        .webm .mkv
    prores  large, for editing programs         .mov .mkv
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import av

from autoreel.errors import UsageError

Codec = Literal["auto", "h264", "h265", "av1", "vp9", "prores"]
Quality = Literal["draft", "good", "best"]
Options = Mapping[str, str]
PIXEL_FORMAT = "yuv420p"


@dataclass(frozen=True)
class Encoder:
    """One encoder of FFmpeg.

    Args:
        name: FFmpeg's.
        options: its settings for a factor.
        pixel_format: that it takes.
    """

    name: str
    options: Callable[[int], dict[str, str]]
    pixel_format: str = PIXEL_FORMAT


@dataclass(frozen=True)
class VideoCodec:
    """How one codec is written.

    Args:
        software: its encoder, the same on every machine.
        hardware: encoders of graphics chips, tried in this order when they are asked for.
        factors: of the qualities; lower is better.
        top: the largest factor.
        even: whether sizes must be even.
        tag: what the file calls it, where a player insists.
    """

    software: Encoder
    factors: dict[Quality, int]
    top: int
    hardware: tuple[Encoder, ...] = ()
    even: bool = True
    tag: str | None = None


def _chips(name: str, shift: int = 0) -> tuple[Encoder, ...]:
    """The encoders of graphics chips; their scales lie `shift` above the software's."""
    return (
        Encoder(f"{name}_nvenc", lambda q: {"rc": "vbr", "cq": str(q + shift), "preset": "p5"}),
        Encoder(f"{name}_qsv", lambda q: {"global_quality": str(q + shift)}, "nv12"),
        Encoder(f"{name}_videotoolbox", lambda q: {"q:v": str(max(1, 100 - 2 * q)), "allow_sw": "0"}),
        Encoder(f"{name}_amf", lambda q: {"rc": "cqp", "qp_i": str(q + shift), "qp_p": str(q + shift)}, "nv12"),
    )


_SAME = "cpu-independent=1"
COARSE = 24  # factors of quality from here on leave little of a faint mark


def _x264(factor: int) -> dict[str, str]:
    """Between the presets veryfast and superfast: the one's look ahead and finer motion, the other's fewer partitions.

    Beside veryfast this takes 20 to 40 % less time for the same bytes, and loses 0.1 to 0.3 dB, which a factor lower by
    0.4 gives back. Where quality is low it is veryfast, with even quality from frame to frame (no macroblock tree) at a
    factor 3 higher, which is 8 % more bytes: else the mark of small films is lost in the frames that nobody refers to.
    High profile and 4:2:0 is what browsers, phones and televisions play.

    Its look ahead reads memory that nobody wrote where it has AVX-512, so that the same pictures became another file
    once in ten times; `cpu-independent` leaves that code out (3 % slower).
    """
    if factor >= COARSE:
        even = f"{_SAME}:mbtree=0"
        return {"crf": str(min(51, factor + 3)), "preset": "veryfast", "profile": "high", "x264-params": even}
    fine = f"{factor - 0.4:g}" if factor > 1 else str(factor)
    params = f"{_SAME}:mbtree=1:rc-lookahead=10:subme=2"
    return {"crf": fine, "preset": "superfast", "profile": "high", "x264-params": params}


CODECS: dict[str, VideoCodec] = {
    "h264": VideoCodec(
        Encoder("libx264", _x264),
        {"draft": 26, "good": 18, "best": 12}, 51, _chips("h264", 2),
    ),
    "h265": VideoCodec(
        Encoder("libx265", lambda q: {"crf": str(q), "preset": "fast", "x265-params": "log-level=error:pools=4"}),
        {"draft": 30, "good": 22, "best": 15}, 51, _chips("hevc", 2), tag="hvc1",
    ),
    "av1": VideoCodec(
        Encoder("libsvtav1", lambda q: {"crf": str(q), "preset": "8"}),
        {"draft": 45, "good": 30, "best": 18}, 63, _chips("av1"),
    ),
    "vp9": VideoCodec(
        Encoder("libvpx-vp9", lambda q: {"crf": str(q), "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"}),
        {"draft": 40, "good": 28, "best": 18}, 63, even=False,
    ),
    # Profiles, not factors: 422 proxy, 422 and 422 HQ.
    "prores": VideoCodec(
        Encoder("prores_ks", lambda q: {"profile": str(3 - min(3, q)), "vendor": "apl0"}, "yuv422p10le"),
        {"draft": 3, "good": 1, "best": 0}, 3,
    ),
}  # fmt: skip

CONTAINER_SUFFIXES: dict[str, tuple[str, ...]] = {  # the first is taken when nothing is said
    ".mp4": ("h264", "h265", "av1"), ".m4v": ("h264", "h265"), ".mov": ("h264", "h265", "prores"),
    ".mkv": ("h264", "vp9", "h265", "av1", "prores"), ".webm": ("vp9", "av1"),
}  # fmt: skip


def factor_of(quality: Quality | int, codec: str) -> int:
    """The encoder's factor for a quality.

    Raises:
        UsageError: no quality, or a number outside the codec's range.
    """
    known = CODECS[codec]
    if isinstance(quality, int):
        if not 0 <= quality <= known.top:
            raise UsageError(f"quality is {quality}; give draft, good, best or a factor from 0 (best) to {known.top}")
        return quality
    if quality not in known.factors:
        raise UsageError(f"quality is {quality!r}; give draft, good, best or a number")
    return known.factors[quality]


def encoder_for(codec: str, hardware: bool) -> Encoder:
    """The software encoder; or the first of a graphics chip that works on this machine, when one does."""
    if hardware:
        for encoder in CODECS[codec].hardware:
            if works(encoder.name, encoder.pixel_format):
                return encoder
    return CODECS[codec].software


@lru_cache
def works(name: str, pixel_format: str) -> bool:
    """Whether an encoder takes a picture on this machine; that FFmpeg knows it says nothing about that."""
    if name not in av.codecs_available:
        return False
    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = 256, 256, pixel_format
        context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
        context.encode(av.VideoFrame(256, 256, pixel_format))
        context.encode(None)
    except (av.error.FFmpegError, OSError, ValueError, TypeError):
        return False
    return True
