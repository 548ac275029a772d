"""What the jailed child does with a font file that somebody named: set a text in it. See `titles.py`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from autoreel.errors import MediaError
from autoreel.media.titles import lacking, set_text
from autoreel.media.typeface import Face

MAX_FONT_BYTES = 64 << 20  # the largest in use, of all Chinese letters in all weights, have 40


def letter(descriptor: int, request: dict[str, Any]) -> Iterator[dict[str, Any] | NDArray[np.uint8]]:
    """Set a text.

    Args:
        descriptor: of the font, open for reading.
        request: text; layer: None, or what `set_text` is told.

    Yields:
        {"missing": letters that the font lacks}; when there are none and a layer is wanted, its place and two pictures
        (H, W, 3): its colours, and how much of them is seen.

    Raises:
        MediaError: it is no font.
    """
    try:
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_FONT_BYTES + 1)
        if len(content) > MAX_FONT_BYTES:
            raise MediaError(f"larger than {MAX_FONT_BYTES >> 20} MiB")

        def load(pixels: int) -> Face:
            return Face((ImageFont.truetype(io.BytesIO(content), pixels),))

        missing = lacking(load, request["text"])
        yield {"missing": missing[:64]}
        if missing or request["layer"] is None:
            return
        layer = set_text(request["text"], load, **request["layer"])
    except OSError as error:
        raise MediaError(str(error)) from error
    yield {"left": layer.left, "top": layer.top, "text_box": layer.text_box}
    alpha = layer.image.getchannel("A")
    yield np.asarray(layer.image.convert("RGB"))
    yield np.asarray(Image.merge("RGB", (alpha, alpha, alpha)))


def warm_up() -> None:
    """Load what setting a text takes, for nothing can be loaded later."""
    from importlib import resources

    from autoreel.media.titles import BUNDLED_FONTS

    descriptor = os.memfd_create("font", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, (resources.files("autoreel.media") / "fonts" / BUNDLED_FONTS[0]).read_bytes())
        os.lseek(descriptor, 0, os.SEEK_SET)
        how = {"size": (32, 64), "scale": 0.3, "place": "center", "color": "#ffffff"}
        if len(list(letter(descriptor, {"text": "Ab\u05d0", "layer": how}))) != 4:
            raise AssertionError("a text is a layer")
    finally:
        os.close(descriptor)
