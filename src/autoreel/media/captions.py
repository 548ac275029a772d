"""Captions: read from SubRip files, written as a track that players can show or hide.

    1
    00:00:01,000 --> 00:00:03,500
    Text of one or
    several lines
"""

from __future__ import annotations

import heapq
import io
import itertools
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from autoreel.bounded import read_bounded_bytes
from autoreel.errors import MediaError
from autoreel.runs import atomic_write_text

MAX_BYTES = 4 << 20
MAX_CAPTIONS = 20_000
MAX_LETTERS = 2_000
MAX_TOGETHER = 8  # captions that a track of one at a time joins: with more of them it grows with their square
MAX_SAMPLE_BYTES = 65_535  # of text, 3GPP TS 26.245, 5.17
_TIME = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?")
_TAG = re.compile(r"</?[a-zA-Z][^>]{0,80}>|\{\\[^}]{0,80}\}")
_CODECS = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
_TICKS = 1000
# 3GPP TS 26.245, 5.16: white letters at the bottom's middle, in a font called Sans-Serif.
_STYLE = (
    struct.pack(">IBbI4h", 0, 1, -1, 0, 0, 0, 0, 0) + struct.pack(">HHHBBI", 0, 0, 1, 0, 18, 0xFFFFFFFF)
    + struct.pack(">I4sHHB", 8 + 2 + 3 + 10, b"ftab", 1, 1, 10) + b"Sans-Serif"
)  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A text with its times.

    Args:
        start_s, end_s: when it is shown.
        text: lines, without marks of style.
    """

    start_s: float
    end_s: float
    text: str


def read_captions(path: Path) -> list[Caption]:
    """Read a SubRip file (.srt).

    Returns:
        The captions by time. Marks of style (<i>, {an8}) are left out.

    Raises:
        MediaError: absent, too large, or not SubRip; names the line.
    """
    try:
        data = read_bounded_bytes(path, MAX_BYTES)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise MediaError(f"{path}: holds no captions, it is {error}") from None
    captions = parse_captions(_decoded(data, path), str(path))
    if not captions:
        raise MediaError(f"{path}: has no captions; each has a number, a line 00:00:01,000 --> 00:00:03,500, and text")
    return captions


def _decoded(data: bytes, path: Path) -> str:
    name = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        raise MediaError(f"{path}: is not text in UTF-8; save it in that encoding") from None


def parse_captions(text: str, where: str) -> list[Caption]:
    """The captions of a SubRip text.

    Raises:
        MediaError: as `read_captions`.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    captions: list[Caption] = []
    at = 0
    while at < len(lines):
        if "-->" not in lines[at]:
            if lines[at].strip() and not lines[at].strip().isdigit():
                raise MediaError(f"{where}: line {at + 1} is {_short(lines[at])}; there should be a number or a time")
            at += 1
            continue
        start_s, end_s = _times(lines[at], f"{where}: line {at + 1}")
        begin = at = at + 1
        while at < len(lines) and lines[at].strip() and "-->" not in lines[at]:
            at += 1
        said = lines[begin:at]
        if at < len(lines) and "-->" in lines[at] and said and said[-1].strip().isdigit():
            said = said[:-1]  # the number of the next caption, with no empty line before it
        words = "\n".join(filter(None, (_TAG.sub("", line).strip() for line in said)))
        if len(words) > MAX_LETTERS:
            raise MediaError(f"{where}: line {begin + 1}: a caption of {len(words)} letters; it can have {MAX_LETTERS}")
        if words:
            captions.append(Caption(start_s, end_s, words))
        if len(captions) > MAX_CAPTIONS:
            raise MediaError(f"{where}: more than {MAX_CAPTIONS} captions")
    return sorted(captions, key=lambda caption: caption.start_s)


def _times(line: str, where: str) -> tuple[float, float]:
    found = [_TIME.match(part.strip()) for part in line.split("-->", 1)]
    if found[0] is None or found[1] is None:
        raise MediaError(f"{where} is {_short(line)}; a time is written 00:00:01,000 --> 00:00:03,500")
    start_s, end_s = (
        int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int((thousandths or "0").ljust(3, "0")) / 1000
        for hours, minutes, seconds, thousandths in (match.groups() for match in found if match is not None)
    )
    if end_s <= start_s:
        raise MediaError(f"{where}: the caption ends at {end_s:g} s, but begins at {start_s:g} s; exchange the two")
    return start_s, end_s


def _short(line: str) -> str:
    return repr(line.strip()[:40])


@lru_cache
def _styled() -> bytes:
    """An MP4 file of one caption whose track has the style that players ask for; PyAV has no other way to give it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_mux_stream("mov_text")
        stream.time_base = Fraction(1, _TICKS)
        packet: Any = av.Packet(b"\0\1x")
        packet.stream, packet.time_base = stream, Fraction(1, _TICKS)
        packet.pts, packet.dts, packet.duration = 0, 0, 100
        container.mux(packet)
    data = bytearray(file.getvalue())
    # The style stands at the end of the tx3g box; all boxes around it grow with it.
    inner = data.index(b"tx3g") - 4
    end = inner + struct.unpack_from(">I", data, inner)[0]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"tx3g"):
        at = data.index(name) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(_STYLE))
    data[end:end] = _STYLE
    return bytes(data)


def write_captions(path: Path, captions: Sequence[Caption]) -> None:
    """Write a SubRip file, which `read_captions` reads.

    Raises:
        OutputError: it cannot be written.
    """
    texts = [
        f"{number}\n{_clock(caption.start_s)} --> {_clock(caption.end_s)}\n{caption.text}\n"
        for number, caption in enumerate(captions, start=1)
    ]
    atomic_write_text(path, "\n".join(texts))


def _clock(at_s: float) -> str:
    minutes, thousandths = divmod(round(at_s * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{thousandths // 1000:02d},{thousandths % 1000:03d}"


def one_at_a_time(captions: Sequence[Caption]) -> list[Caption]:
    """The same texts at the same times, for tracks that show one caption at a time.

        before   |----- a -----|            after   |- a -|- a, b -|- b -|
                       |----- b -----|

    Args:
        captions: by time; what is shown together is joined in their order.
    """
    edges = sorted({round(at * _TICKS) for caption in captions for at in (caption.start_s, caption.end_s)})
    found: list[Caption] = []
    waiting, shown = list(captions), list[Caption]()
    for begin, end in itertools.pairwise(edges):
        while waiting and round(waiting[0].start_s * _TICKS) <= begin:
            shown.append(waiting.pop(0))
        shown = [caption for caption in shown if round(caption.end_s * _TICKS) > begin]
        if shown:
            text = "\n".join(caption.text for caption in shown)
            found.append(Caption(begin / _TICKS, end / _TICKS, text))
    return found


def check_track(path: Path, captions: Sequence[Caption]) -> None:
    """See that the track of a file takes the captions that are shown together.

    Args:
        path: of the file.
        captions: by time.

    Raises:
        MediaError: there are too many at once, or their text is too long.
    """
    if _CODECS.get(path.suffix.lower()) != "mov_text":
        return
    shown: list[tuple[int, int]] = []  # when each ends, and its bytes with a line's end
    for caption in captions:
        while shown and shown[0][0] <= round(caption.start_s * _TICKS):
            heapq.heappop(shown)
        heapq.heappush(shown, (round(caption.end_s * _TICKS), len(caption.text.encode()) + 1))
        if len(shown) > MAX_TOGETHER or sum(size for _, size in shown) - 1 > MAX_SAMPLE_BYTES:
            raise MediaError(
                f"{path}: {len(shown)} captions are shown together at {caption.start_s:g} s; its track takes up to "
                f"{MAX_TOGETHER}, with {MAX_SAMPLE_BYTES} bytes of text; end some earlier, or write .mkv or .webm"
            )


class CaptionTrack:
    """Writes captions in step with the pictures.

    Args:
        container: an open PyAV container.
        captions: by time.
        suffix: of its file.
    """

    def __init__(self, container: Any, captions: Sequence[Caption], suffix: str) -> None:
        self._container, self._codec = container, _CODECS[suffix]
        if self._codec == "mov_text":
            with av.open(io.BytesIO(_styled())) as template:
                self._stream = container.add_stream_from_template(template.streams[0])
        else:
            self._stream = container.add_mux_stream(self._codec)
        self._stream.time_base = Fraction(1, _TICKS)
        # MP4 has no overlapping samples: what begins too early would be shortened to nothing, or moved.
        self._waiting = one_at_a_time(captions) if self._codec == "mov_text" else list(captions)

    def write_until(self, time_s: Fraction) -> None:
        """Write the captions that begin before a time."""
        while self._waiting and self._waiting[0].start_s < time_s:
            self._write(self._waiting.pop(0))

    def _write(self, caption: Caption) -> None:
        data = caption.text.encode()
        if self._codec == "mov_text":
            data = struct.pack(">H", len(data)) + data
        packet: Any = av.Packet(data)
        packet.stream, packet.time_base = self._stream, Fraction(1, _TICKS)
        packet.pts = packet.dts = round(caption.start_s * _TICKS)
        packet.duration = max(1, round((caption.end_s - caption.start_s) * _TICKS))
        self._container.mux(packet)
