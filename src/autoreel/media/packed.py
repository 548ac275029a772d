"""What a PNG file carries packed beside its picture: FFmpeg unpacks all of it, and a megabyte can be a gigabyte.

Runs in the jailed child, before FFmpeg sees the file; see `reader.py`.
"""

from __future__ import annotations

import os
import struct
import zlib

from autoreel.errors import MediaError

MAX_UNPACKED_BYTES = 16 << 20  # texts and colour profiles together; a profile has a few kilobytes, rarely megabytes
_MAX_CHUNKS = 100_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PACKED = (b"zTXt", b"iTXt", b"iCCP")
_READ_BYTES = 1 << 16


def check_packed(descriptor: int) -> None:
    """Refuse a PNG file whose texts or colour profile unpack to too much; other files pass.

    Args:
        descriptor: open for reading; its place is not changed.

    Raises:
        MediaError: it does.
    """
    if os.pread(descriptor, len(_SIGNATURE), 0) != _SIGNATURE:
        return
    place, total = len(_SIGNATURE), 0
    for _ in range(_MAX_CHUNKS):
        head = os.pread(descriptor, 8, place)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if kind in _PACKED:
            begin = place + 8 + _start(kind, os.pread(descriptor, min(length, _READ_BYTES), place + 8))
            total += _unpacked_bytes(descriptor, begin, place + 8 + length, MAX_UNPACKED_BYTES - total)
            if total > MAX_UNPACKED_BYTES:
                raise MediaError(f"its texts or colours unpack to more than {MAX_UNPACKED_BYTES >> 20} MiB")
        place += 12 + length
    raise MediaError(f"it has more than {_MAX_CHUNKS} parts")


def _start(kind: bytes, data: bytes) -> int:
    """Where the packed part of a chunk begins (PNG specification, 11.3): after names that end in a zero.

        zTXt, iCCP   name 0 method             packed
        iTXt         name 0 flag method language 0 translated name 0 packed
    """
    begin = data.find(b"\0") + 2
    if kind == b"iTXt":
        begin = data.find(b"\0", data.find(b"\0", begin + 1) + 1) + 1
    return begin


def _unpacked_bytes(descriptor: int, place: int, end: int, most: int) -> int:
    """Size after unpacking, counted up to a little more than `most`; where it is damaged, up to there."""
    unpacker, size = zlib.decompressobj(), 0
    try:
        while place < end and size <= most and not unpacker.eof:
            data = os.pread(descriptor, min(_READ_BYTES, end - place), place)
            if not data:
                break
            place += len(data)
            while data and size <= most:
                size += len(unpacker.decompress(data, 1 << 20))
                data = unpacker.unconsumed_tail
    except zlib.error:
        pass  # what came before the damage counts
    return size
