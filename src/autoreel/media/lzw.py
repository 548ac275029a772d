"""Whether the pictures of a GIF unpack to as many pixels as they have; FFmpeg stops when it has enough.

A code stands for a run of earlier pixels. A changed one often stands for a run of another length, and so do the codes
built on it; then the picture's count of pixels at its end code is another. Where it is not, few pixels are. Encoders
that count in their own way do so in most of their pictures; therefore only a minority counts as damage.

Runs in the jailed child, before FFmpeg sees the file; see `reader.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from autoreel.errors import MediaError

_MAX_BYTES = 64 << 20  # of a file that is looked at
_MAX_BITS = 12
_SIGNATURES = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE = 0x21, 0x2C


def check_lzw(descriptor: int) -> None:
    """Refuse a GIF in which a few pictures have another number of pixels than their size; other files pass.

    Args:
        descriptor: open for reading; it is left at its end.

    Raises:
        MediaError: it has.
    """
    if os.pread(descriptor, 6, 0) not in _SIGNATURES:
        return
    size = os.lseek(descriptor, 0, os.SEEK_END)  # the jail has no fstat
    if size > _MAX_BYTES:
        return
    right = [count_pixels(packed, bits, area) == area for area, bits, packed in _images(_content(descriptor, size))]
    wrong = right.count(False)
    if 0 < wrong < len(right) - wrong:
        raise MediaError(f"damaged: picture {right.index(False) + 1} of {len(right)} has another number of pixels")


def count_pixels(packed: bytes, bits: int, enough: int) -> int:
    """How many pixels an image's data stand for, up to their end code (GIF89a, appendix F).

    Args:
        packed: the data, without the lengths of their blocks.
        bits: of the pixels' codes.
        enough: counting stops when it is passed.

    Returns:
        The number; -1 where a code stands for nothing.
    """
    clear, end = 1 << bits, (1 << bits) + 1
    fresh = [1] * clear + [0, 0]  # pixels by code
    lengths, width, before, total = fresh.copy(), bits + 1, 0, 0
    held = num_held = 0  # bits that are read and not used
    for byte in packed:
        held |= byte << num_held
        num_held += 8
        while num_held >= width:
            code = held & ((1 << width) - 1)
            held >>= width
            num_held -= width
            if code == clear:
                lengths, width, before = fresh.copy(), bits + 1, 0
                continue
            if code == end:
                return total
            if before and len(lengths) < 1 << _MAX_BITS:
                lengths.append(before + 1)
                if len(lengths) == 1 << width and width < _MAX_BITS:
                    width += 1
            if code >= len(lengths):
                return -1
            before = lengths[code]
            total += before
            if total > enough:
                return total
    return total


def _content(descriptor: int, size: int) -> bytes:
    parts, place = [], 0
    while place < size and (part := os.pread(descriptor, size - place, place)):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def _images(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(pixels, bits of their codes, packed data) of each image, up to where the file ends or is no GIF any more."""
    place = 13 + _palette_bytes(content[10:11])
    while place < len(content):
        kind = content[place]
        if kind == _EXTENSION:
            _, place = _blocks(content, place + 2)
        elif kind == _IMAGE and place + 10 < len(content):
            width, height = (int.from_bytes(content[place + at : place + at + 2], "little") for at in (5, 7))
            begin = place + 10 + _palette_bytes(content[place + 9 : place + 10])
            packed, place = _blocks(content, begin + 1)
            if begin < len(content) and 1 <= content[begin] <= 11:
                yield width * height, content[begin], packed
        else:
            return


def _palette_bytes(flags: bytes) -> int:
    """Of the table of colours that these flags announce."""
    return 3 << (1 + (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


def _blocks(content: bytes, place: int) -> tuple[bytes, int]:
    """The data of blocks that begin with their length, and where what follows them stands."""
    parts = []
    while place < len(content) and (length := content[place]):
        parts.append(content[place + 1 : place + 1 + length])
        place += 1 + length
    return b"".join(parts), place + 1
