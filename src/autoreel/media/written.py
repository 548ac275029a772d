"""What GIF and PNG files say of themselves in text, read without a decoder: each piece tells its own length."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from autoreel.media.jail import open_untrusted
from autoreel.media.limits import MAX_TEXT, TEXTS

_GIF, _PNG = b"GIF8", b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES, _TAIL_BYTES = 1 << 18, 1 << 16


def written_texts(path: Path) -> dict[str, str]:
    """Comments of a GIF file, text of a PNG file; nothing for others, or where there is none.

    Args:
        path: any file, trusted or not.

    Returns:
        As `MediaInfo.texts`.

    Raises:
        MediaError: it cannot be opened.
    """
    descriptor = open_untrusted(path)
    try:
        size_bytes = os.fstat(descriptor).st_size
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        tail = os.pread(descriptor, _TAIL_BYTES, max(0, size_bytes - _TAIL_BYTES))
    finally:
        os.close(descriptor)
    if head.startswith(_GIF):
        found = _gif_comments(tail)
    elif head.startswith(_PNG):
        found = _png_texts(head)
    else:
        return {}
    return {key: found[key][:MAX_TEXT] for key in TEXTS if key in found}


def _gif_comments(tail: bytes) -> dict[str, str]:
    """The comment extensions (GIF89a, section 24) right before the end of a file."""
    texts: dict[str, str] = {}
    at = tail.rfind(b"\x21\xfe")
    while at >= 0:
        text, after = b"", at + 2
        while after < len(tail) and tail[after]:
            text += tail[after + 1 : after + 1 + tail[after]]
            after += 1 + tail[after]
        if tail[after + 1 : after + 2] not in (b"\x21", b"\x3b"):
            return texts  # not a comment: bytes of a picture that look like one
        key, colon, rest = text.decode("utf-8", "replace").partition(": ")
        named = bool(colon) and key.lower() in TEXTS
        texts[key.lower() if named else "comment"] = rest if named else key + colon + rest
        at = tail.rfind(b"\x21\xfe", 0, at)
    return texts


def _png_texts(head: bytes) -> dict[str, str]:
    """The text chunks before the picture (PNG, 11.3.3): tEXt, and iTXt that is not compressed."""
    texts: dict[str, str] = {}
    at = len(_PNG)
    while at + 8 <= len(head):
        length, kind = struct.unpack(">I4s", head[at : at + 8])
        body = head[at + 8 : at + 8 + length]
        if kind in (b"IDAT", b"IEND") or len(body) < length:
            break
        key, _, rest = body.partition(b"\0")
        if kind == b"tEXt":
            texts[key.decode("latin-1").lower()] = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            texts[key.decode("latin-1").lower()] = rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
        at += 12 + length
    return texts
